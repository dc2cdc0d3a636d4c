"""The same promises through Caddy, nginx and Traefik, each as its example has it."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from adbc_driver_flightsql import dbapi
from adbc_driver_manager import OperationalError, ProgrammingError
from pyarrow import flight

from integration.bundle.clients import ROOTS, connect, curl, headers, pyarrow_client, query, read
from integration.bundle.conftest import Start
from integration.bundle.front import Caddy, Front, Nginx, Traefik
from integration.deployment import Deployment
from pondflight.ops.probe import Target, check, watch

CONFIG = {
    "server": {"trusted_proxies": ["127.0.0.1"], "drain_timeout": "2s"},
    "security": {"rate_limit": {"requests_per_minute": 100000, "burst_size": 100000}},
}
SERVICES = ("", "arrow.flight.protocol.FlightService")


@pytest.fixture(scope="module", name="front", params=[Caddy, Nginx, Traefik])
def fixture_front(request: pytest.FixtureRequest, start: Start, deployment: Deployment) -> Front:
    return start(request.param, deployment)


def test_adbc_with_a_token(front: Front) -> None:
    with connect(front) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE t AS SELECT range AS n FROM range(1000)")
        cursor.execute("SELECT sum(n) FROM t WHERE n > ?", (500,))
        assert cursor.fetchall() == [(sum(range(501, 1000)),)]


def test_adbc_with_a_password(front: Front) -> None:
    options = {
        "username": "ada",
        "password": front.deployment.token("ada"),
        ROOTS: front.ca,
    }
    with dbapi.connect(front.uri, db_kwargs=options, autocommit=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 42")
            assert cursor.fetchall() == [(42,)]


def test_pyarrow_alone(front: Front) -> None:
    with pyarrow_client(front) as client:
        table = read(client, "SELECT 42 AS x", headers(front)).read_all()
    assert table.to_pydict() == {"x": [42]}


def test_answers_without_a_body_keep_their_status(front: Front) -> None:
    for _ in range(40):
        with connect(front, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 42")
            assert cursor.fetchall() == [(42,)]


def test_errors_keep_their_status_and_text(front: Front) -> None:
    with pytest.raises(ProgrammingError, match=r"INVALID_ARGUMENT.*syntax error"):
        query(front, "SELEC 1")
    with pyarrow_client(front) as client, pytest.raises(flight.FlightUnauthenticatedError):
        read(client, "SELECT 1", flight.FlightCallOptions(timeout=30))


def test_curl(front: Front) -> None:
    assert curl(front, "/health")[::2] == (200, '{"status": "healthy"}')
    status, _, body = curl(
        front,
        "/query",
        *("-H", f"authorization: Bearer {front.deployment.token('ada')}"),
        *("-H", "content-type: application/json", "--data", '{"sql": "SELECT 42 AS x"}'),
    )
    assert status == 200
    assert "42" in body


@pytest.mark.parametrize("service", SERVICES)
def test_grpc_health_on_the_public_name(front: Front, service: str) -> None:
    target = Target(front.uri.removeprefix("grpc+tls://"), tls=True, ca=front.authority.cert)
    assert check(target, service, 10) == "SERVING"
    assert next(watch(target, service, 10)) == "SERVING"


def test_a_cancelled_statement_stops_in_the_worker(front: Front) -> None:
    marker = f"marker_{time.monotonic_ns()}"
    sql = f"SELECT count(*) AS {marker} FROM range(1000000000000) a(i) WHERE i % 7 = 3"
    with connect(front, autocommit=True) as connection, connection.cursor() as cursor:
        timer = threading.Timer(1, cursor.adbc_cancel)
        timer.start()
        started = time.monotonic()
        with pytest.raises(OperationalError, match=r"CANCELLED|cancel"):
            cursor.execute(sql)
            cursor.fetchall()
        assert time.monotonic() - started < 10
    # A worker that still computes would have no core left for this one.
    assert query(front, "SELECT 42") == [(42,)]


def test_a_slow_reader_gets_all_of_it(front: Front) -> None:
    with pyarrow_client(front) as client:
        stream = read(client, "SELECT i FROM range(20000000) t(i)", headers(front))
        rows = 0
        for number, chunk in enumerate(stream):
            rows += chunk.data.num_rows
            if number < 4:
                time.sleep(0.5)
    assert rows == 20_000_000


def test_who_the_client_is_cannot_be_forged(front: Front) -> None:
    """Ten demo tokens an hour for an address: made-up addresses do not make more of them."""
    statuses = [
        curl(front, "/auth/demo-token", "-X", "POST", "-H", f"X-Forwarded-For: 10.9.8.{n}")[0]
        for n in range(3)
    ]
    assert len(set(statuses)) == 1


def test_health_tells_of_draining_and_of_the_end(front: Front, deployment: Deployment) -> None:
    target = Target(front.uri.removeprefix("grpc+tls://"), tls=True, ca=front.authority.cert)
    seen: list[str] = []
    follow = watch(target, "", 10)
    seen.append(next(follow))
    stopper = threading.Thread(target=deployment.stop)
    with pyarrow_client(front) as client:
        stream = read(client, "SELECT i FROM range(50000000) t(i)", headers(front))
        stream.read_chunk()  # a statement that is running while the server drains
        stopper.start()
        try:
            seen.extend(itertools.islice(follow, 1))
        except Exception as error:
            seen.append(type(error).__name__)
        stream.cancel()
    stopper.join()
    deployment.start()
    assert seen[0] == "SERVING"
    assert seen[1] == "NOT_SERVING"
