"""What is asked about a statement after it was promised: through the proxy."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight import control
from pondflight.flightsql import wire
from pondflight.flightsql.commands import CancelStatus
from tests.engine.test_cancel import ENDLESS, cancel, fetch, renew
from tests.engine.test_options import get_options, set_options
from tests.flight import Client
from tests.proxy.conftest import Deployment, MakeDeployment
from tests.waiting import wait_until

COOKIE = "arrow_flight_session_id=0123456789abcdef"


def is_running(deployment: Deployment, user: str) -> bool:
    """Whether the worker of the user runs a statement."""
    (worker,) = (one for view, one in deployment.pool.connections() if view.user == user)
    return any(entry["state"] == "running" for entry in worker.statements("none", timeout=5))


def test_a_running_statement_is_cancelled_by_another_call(shared: Deployment, user: str) -> None:
    client = shared.client(user, cookie=COOKIE)
    info = client.info(ENDLESS)
    errors: list[Exception] = []

    def run() -> None:
        try:
            fetch(client, info)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: is_running(shared, user))
    assert cancel(shared.client(user, cookie=COOKIE), info) == CancelStatus.CANCELLED
    thread.join(10)
    assert isinstance(errors[0], flight.FlightCancelledError)
    assert "the statement was cancelled" in str(errors[0])
    assert client.rows("SELECT 1") == [(1,)]


def test_who_is_cancelled_by_an_operator_is_told_so(shared: Deployment, user: str) -> None:
    client = shared.client(user)
    admin = Client(shared.uri, shared.token("root", admin=True))
    info = client.info(ENDLESS)
    with ThreadPoolExecutor() as executor:
        fetched = executor.submit(fetch, client, info)

        def running() -> list[dict[str, Any]]:
            (answer,) = admin.act(control.STATEMENTS)
            found = json.loads(answer)["statements"]
            return [s for s in found if s["user"] == user and s["state"] == "running"]

        wait_until(running)
        (statement,) = running()
        wanted = {"worker": statement["worker"], "statement": statement["id"]}
        admin.act(control.CANCEL_STATEMENT, json.dumps(wanted).encode())
        with pytest.raises(flight.FlightCancelledError, match="cancelled by an operator"):
            fetched.result(10)
    admin.close()


def test_what_is_not_fetched_yet_is_cancelled_and_renewed(shared: Deployment, user: str) -> None:
    client = shared.client(user, cookie=COOKIE)
    info = client.info("SELECT 1")
    ticket = info.endpoints[0].ticket
    assert renew(client, ticket.ticket).ticket == ticket
    assert cancel(client, info) == CancelStatus.CANCELLED
    with pytest.raises(flight.FlightCancelledError, match="the statement was cancelled"):
        fetch(client, info)


def test_statements_of_others_and_of_nobody_are_equally_unknown(
    shared: Deployment, user: str
) -> None:
    mine, theirs = shared.client(user), shared.client(f"not-{user}")
    info = mine.info("SELECT 1")
    theirs.rows("SELECT 1")  # has a worker
    with pytest.raises(pa.ArrowKeyError, match="not one of yours"):
        cancel(theirs, info)
    assert fetch(mine, info).num_rows == 1


def test_questions_about_what_a_worker_holds_start_none(
    make_deployment: MakeDeployment, user: str
) -> None:
    deployment = make_deployment()
    client = deployment.client(user)
    ticket = wire.pack(wire.new("TicketStatementQuery", statement_handle=b"x"))
    descriptor = flight.FlightDescriptor.for_command(b"SELECT 1")
    info = flight.FlightInfo(pa.schema([]), descriptor, [flight.FlightEndpoint(ticket, [])], -1, -1)
    end = wire.pack(wire.new("ActionEndTransactionRequest", transaction_id=b"x", action=1))
    with pytest.raises(pa.ArrowKeyError, match="your worker has stopped"):
        cancel(client, info)
    with pytest.raises(pa.ArrowKeyError, match="your worker has stopped"):
        client.act("EndTransaction", end)
    closing = wire.new("ActionClosePreparedStatementRequest", prepared_statement_handle=b"x")
    assert client.act("ClosePreparedStatement", wire.pack(closing)) == []
    assert deployment.pool.stats()["total_spawned"] == 0


def test_session_options_and_the_end_of_a_session(shared: Deployment, user: str) -> None:
    client = shared.client(user, cookie=COOKIE)
    client.info("CREATE SCHEMA work")
    assert set_options(client, schema="work", statement_timeout="30s") == {}
    assert get_options(client)["schema"] == "work"
    assert get_options(shared.client(user))["schema"] == "main"
    client.act("CloseSession")
    assert get_options(client)["schema"] == "main"


def test_the_statement_timeout_has_its_own_status(shared: Deployment, user: str) -> None:
    client = shared.client(user, cookie=COOKIE)
    client.info("SET statement_timeout = '300ms'")
    text = r"the statement took longer than its limit of 0\.3 s"
    with pytest.raises(flight.FlightTimedOutError, match=text):
        client.rows(ENDLESS)
    with pytest.raises(flight.FlightTimedOutError, match=text):
        client.info(f"CREATE TABLE t AS {ENDLESS}")


def test_the_first_call_of_a_client_is_a_part_of_the_session_that_it_is_offered(
    shared: Deployment, user: str
) -> None:
    cookies: list[str] = []

    class Jar(flight.ClientMiddleware):
        def received_headers(self, headers: dict[str, list[str]]) -> None:
            cookies.extend(headers.get("set-cookie", []))

        def sending_headers(self) -> dict[str, str]:
            return {"cookie": cookies[0]} if cookies else {}

    class Jars(flight.ClientMiddlewareFactory):
        def start_call(self, info: flight.CallInfo) -> Jar:
            return Jar()

    options = shared.client(user).options()
    with flight.FlightClient(shared.uri, middleware=[Jars()]) as client:
        for sql in (b"CREATE TEMP TABLE t AS SELECT 7 AS n", b"SELECT n FROM t"):
            info = client.get_flight_info(flight.FlightDescriptor.for_command(sql), options)
            table = client.do_get(info.endpoints[0].ticket, options).read_all()
    assert table.to_pylist() == [{"n": 7}]
    assert len(set(cookies)) == 1
    assert shared.client(user).rows("SELECT count(*) FROM duckdb_tables()") == [(0,)]
