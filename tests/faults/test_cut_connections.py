"""Connections that break at any byte, on every leg: a result is whole, or it is an error."""

from __future__ import annotations

import csv
import http.client
import io
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow as pa
import pytest
from pyarrow import flight, parquet

from pondflight.flightsql import wire
from pondflight.web.configuration import Configuration
from pondflight.web.process import WebProcess
from pondflight.workers.backends.base import WorkerHandle
from pondflight.workers.backends.process import ProcessBackend
from pondflight.workers.spec import WorkerSpec
from tests.faults.cutter import Cutter, Kind
from tests.flight import Client
from tests.ports import free_ports
from tests.proxy.conftest import Deployment, MakeDeployment
from tests.stack import SECRET, Stack

CUTS = int(os.environ.get("CUTS", "8"))
"""For each of the nine cases; 112 make 1,008."""
ROWS = 40_000
SQL = f"SELECT range AS i, 'row ' || range AS t FROM range({ROWS})"
SUM = ROWS * (ROWS - 1) // 2
_INGEST = wire.pack(
    wire.new(
        "CommandStatementIngest",
        table="t",
        table_definition_options={"if_not_exist": 1, "if_exists": 2},
    )
)


def breaks(seed: str, size: int) -> Iterator[tuple[int, Kind]]:
    """Where and how: from the first byte to a little more than there are."""
    chance = random.Random(seed)
    kinds: list[Kind] = ["close", "reset", "close", "reset", "stall"]
    for _ in range(CUTS):
        yield chance.randrange(int(size * 1.2)), chance.choice(kinds)


class Tally:
    """Whole results and errors; anything else fails."""

    def __init__(self) -> None:
        self.whole = self.errors = 0

    def add(self, get: Callable[[], tuple[int, int]]) -> None:
        try:
            rows, total = get()
        except (flight.FlightError, pa.ArrowException, OSError, http.client.HTTPException):
            self.errors += 1
            return
        assert (rows, total) == (ROWS, SUM), "a result was cut, and looked whole"
        self.whole += 1


def fetch(client: Client) -> tuple[int, int]:
    ticket = client.info(SQL, timeout=3).endpoints[0].ticket
    table = client.flight.do_get(ticket, client.options(3)).read_all()
    return table.num_rows, sum(table["i"].to_pylist())


def upload(client: Client) -> tuple[int, int]:
    table = pa.table({"i": range(ROWS)})
    descriptor = flight.FlightDescriptor.for_command(_INGEST)
    writer, answers = client.flight.do_put(descriptor, table.schema, client.options(3))
    try:
        writer.write_table(table, max_chunksize=2000)
        writer.done_writing()
        answer = answers.read()
        assert answer is not None
    finally:
        writer.close()
    result = wire.message_class("DoPutUpdateResult").FromString(answer.to_pybytes())
    return result.record_count, SUM


def test_between_client_and_proxy_results_are_whole_or_an_error(
    make_deployment: MakeDeployment, user: str
) -> None:
    deployment = make_deployment()
    deployment.client(user).rows("SELECT 1")
    cutter, tally = Cutter(deployment.proxy.port), Tally()
    for after, kind in breaks("client", 800_000):
        client = Client(f"grpc://127.0.0.1:{cutter.port}", deployment.token(user))
        cutter.arm(after, kind)
        tally.add(lambda client=client: fetch(client))  # type: ignore[misc]
        cutter.disarm()
        client.close()
    cutter.close()
    assert tally.errors > 0


def uploads(direct: Client, through: Callable[[], Client], cutter: Cutter, seed: str) -> Tally:
    """Uploads through ``cutter``: an answer means that all rows are there, an error all or none."""
    tally = Tally()
    for after, kind in breaks(seed, 350_000):
        direct.rows("CREATE OR REPLACE TABLE t (i BIGINT)")
        client, before = through(), tally.whole
        cutter.arm(after, kind)
        tally.add(lambda client=client: upload(client))  # type: ignore[misc]
        cutter.disarm()
        client.close()
        ((rows,),) = direct.rows("SELECT count(*) FROM t")
        assert rows in ((ROWS,) if tally.whole > before else (0, ROWS))
    return tally


def test_between_client_and_proxy_an_upload_is_whole_or_an_error(
    make_deployment: MakeDeployment, user: str
) -> None:
    deployment = make_deployment()
    cutter = Cutter(deployment.proxy.port)
    uri = f"grpc://127.0.0.1:{cutter.port}"
    tally = uploads(
        deployment.client(user), lambda: Client(uri, deployment.token(user)), cutter, "upload"
    )
    cutter.close()
    assert tally.errors > 0


class ThroughCutters(ProcessBackend):
    """Workers that are reached through a cutter each."""

    def __init__(self) -> None:
        super().__init__()
        self.cutters: list[Cutter] = []

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        handle = super().start(spec)
        self.cutters.append(Cutter(int(handle.location.rsplit(":", 1)[1])))
        return replace(handle, location=f"grpc://127.0.0.1:{self.cutters[-1].port}")


def test_between_proxy_and_worker_results_are_whole_or_an_error(
    make_deployment: MakeDeployment, user: str
) -> None:
    backend = ThroughCutters()
    deployment: Deployment = make_deployment(backend=backend)
    client, tally = deployment.client(user), Tally()
    for after, kind in breaks("worker", 900_000):
        client.rows("SELECT 1")
        backend.cutters[-1].arm(after, kind)
        tally.add(lambda: fetch(client))
        backend.cutters[-1].disarm()
    assert tally.errors > 0


def test_between_proxy_and_worker_an_upload_is_whole_or_an_error(
    make_deployment: MakeDeployment, user: str
) -> None:
    backend = ThroughCutters()
    deployment: Deployment = make_deployment(backend=backend)
    direct = deployment.client(user)
    direct.rows("SELECT 1")
    (cutter,) = backend.cutters
    tally = uploads(direct, lambda: deployment.client(user), cutter, "worker upload")
    assert tally.errors > 0
    assert backend.cutters == [cutter]  # its table would have gone with another worker


FORMS: dict[str, Callable[[bytes], list[int]]] = {
    "application/x-ndjson": lambda body: [json.loads(line)["i"] for line in body.splitlines()],
    "text/csv": lambda body: [int(row["i"]) for row in csv.DictReader(io.StringIO(body.decode()))],
    "application/vnd.apache.arrow.stream": lambda body: (
        pa.ipc.open_stream(body).read_all()["i"].to_pylist()
    ),
    "application/vnd.apache.parquet": lambda body: parquet.read_table(io.BytesIO(body))[
        "i"
    ].to_pylist(),
}


@pytest.fixture(name="stack", scope="module")
def fixture_stack() -> Iterator[Stack]:
    stack = Stack()
    yield stack
    stack.close()


def over_http(port: int, token: str, accept: str, timeout: float = 3) -> tuple[int, int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        headers = {
            "authorization": f"Bearer {token}",
            "content-type": "application/sql",
            "accept": accept,
        }
        connection.request("POST", "/query", SQL, headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise http.client.HTTPException(response.status)
    try:
        found = FORMS[accept](body)
    except (pa.ArrowException, ValueError) as error:
        raise AssertionError("a body was cut, and came to a clean end") from error
    return len(found), sum(found)


def ask(stack: Stack, port: int, accept: str, timeout: float = 3) -> tuple[int, int]:
    return over_http(port, stack.token("ann"), accept, timeout)


@pytest.mark.parametrize("accept", FORMS)
def test_between_client_and_http_results_are_whole_or_an_error(stack: Stack, accept: str) -> None:
    assert ask(stack, stack.port, accept, 60) == (ROWS, SUM)
    cutter, tally = Cutter(stack.port), Tally()
    for after, kind in breaks(f"http {accept}", 900_000):
        cutter.arm(after, kind)
        tally.add(lambda: ask(stack, cutter.port, accept))
        cutter.disarm()
    cutter.close()
    assert tally.errors > 0


def test_between_http_and_proxy_results_are_whole_or_an_error(stack: Stack) -> None:
    cutter, tally = Cutter(stack.proxy.port), Tally()
    (port,) = free_ports(1)
    web = WebProcess(
        Configuration(
            bind=f"127.0.0.1:{port}", proxy=f"grpc://127.0.0.1:{cutter.port}", secret=SECRET
        )
    )
    try:
        web.wait_until_listening()
        for number, (after, kind) in enumerate(breaks("web", 900_000)):
            accept = list(FORMS)[number % len(FORMS)]
            cutter.arm(after, kind)
            tally.add(lambda accept=accept: ask(stack, port, accept))  # type: ignore[misc]
            cutter.disarm()
    finally:
        web.close()
        cutter.close()
    assert tally.errors > 0
