"""Who calls, and what happens when they go away."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight.errors import Cancelled, PondflightError, Unauthenticated
from pondflight.flightsql import Call, FlightSqlServer, Handler, ResultStream, calls, wire
from pondflight.flightsql import commands as c
from pondflight.flightsql.calls import CallTable, Headers
from pondflight.flightsql.status import leaf_of
from pondflight.flightsql.streams import Result, to_flight_stream

SCHEMA = pa.schema([("n", pa.int64())])
TICKET = wire.pack(wire.new("TicketStatementQuery", statement_handle=b"x"))


class Door:
    """Lets in ``Bearer open`` and greets."""

    def authenticate(self, method: str, headers: Headers) -> str:
        if headers.get("authorization") != ["Bearer open"]:
            raise Unauthenticated
        return "guest"

    def response_headers(self, method: str, headers: Headers, identity: str) -> Mapping[str, str]:
        return {"x-greeting": f"hello {identity}"}


class Waiting(Handler[str], FlightSqlServer[str]):
    """Sends a batch, then waits until the call is cancelled."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.outcome: list[PondflightError | None] = []
        self.done = threading.Event()
        self.identity: str | None = None
        super().__init__("grpc://127.0.0.1:0", authenticator=Door(), handler=self)

    def _end(self, error: PondflightError | None) -> None:
        self.outcome.append(error)
        self.done.set()

    def get_flight_info_statement(
        self, call: Call[str], command: c.StatementQuery, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        call.on_cancel(self.cancelled.set)
        call.on_done(self._end)
        self.cancelled.wait(10)
        call.raise_if_cancelled()
        raise AssertionError("nobody cancelled")

    def do_get_statement(self, call: Call[str], command: c.StatementTicket) -> Result:
        self.identity = call.identity
        call.on_cancel(self.cancelled.set)
        call.on_done(self._end)

        def batches() -> Iterator[pa.RecordBatch]:
            yield pa.record_batch([pa.array([1])], schema=SCHEMA)
            self.cancelled.wait(10)
            yield pa.record_batch([pa.array([2])], schema=SCHEMA)

        return ResultStream(SCHEMA, batches())


@pytest.fixture(name="waiting")
def fixture_waiting() -> Iterator[Waiting]:
    server = Waiting()
    yield server
    server.close()


def options(token: str = "open", **more: Any) -> flight.FlightCallOptions:
    return flight.FlightCallOptions(
        headers=[(b"authorization", f"Bearer {token}".encode())], **more
    )


@pytest.fixture(name="client")
def fixture_client(waiting: Waiting) -> Iterator[flight.FlightClient]:
    with flight.connect(f"grpc://127.0.0.1:{waiting.port}") as client:
        yield client


def test_every_rpc_is_authenticated_with_one_constant_text(client: flight.FlightClient) -> None:
    descriptor = flight.FlightDescriptor.for_command(b"x")

    def put(wrong: flight.FlightCallOptions) -> None:
        writer, _ = client.do_put(descriptor, SCHEMA, wrong)
        writer.close()

    def exchange(wrong: flight.FlightCallOptions) -> None:
        writer, reader = client.do_exchange(descriptor, wrong)
        reader.read_chunk()
        writer.close()

    for wrong in (options("closed"), flight.FlightCallOptions()):
        for rpc in (
            lambda o: client.get_flight_info(descriptor, o),
            lambda o: client.get_schema(descriptor, o),
            lambda o: client.do_get(flight.Ticket(TICKET), o).read_all(),
            lambda o: list(client.do_action(flight.Action("BeginTransaction", b""), o)),
            lambda o: list(client.list_actions(o)),
            lambda o: list(client.list_flights(b"", o)),
            put,
            exchange,
        ):
            with pytest.raises((flight.FlightUnauthenticatedError, OSError)) as caught:
                rpc(wrong)
            assert Unauthenticated.TEXT in str(caught.value)
            assert "Traceback" not in str(caught.value)


def test_a_client_that_leaves_before_the_first_answer_cancels_the_call(
    waiting: Waiting, client: flight.FlightClient
) -> None:
    with pytest.raises(flight.FlightTimedOutError):
        client.get_flight_info(flight.FlightDescriptor.for_command(b"x"), options(timeout=0.2))
    assert waiting.cancelled.wait(5)
    assert waiting.done.wait(5)


def test_a_client_that_leaves_half_way_cancels_the_call(
    waiting: Waiting, client: flight.FlightClient
) -> None:
    reader = client.do_get(flight.Ticket(TICKET), options())
    assert reader.read_chunk().data.to_pylist() == [{"n": 1}]
    reader.cancel()
    assert waiting.cancelled.wait(5)
    assert waiting.done.wait(5)
    assert waiting.identity == "guest"
    assert len(waiting.calls) == 0


def test_many_calls_come_and_go_without_harm(waiting: Waiting, client: flight.FlightClient) -> None:
    def visit() -> None:
        for _ in range(20):
            reader = client.do_get(flight.Ticket(TICKET), options())
            reader.read_chunk()
            reader.cancel()

    threads = [threading.Thread(target=visit) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deadline = threading.Event()
    for _ in range(100):
        if not len(waiting.calls):
            break
        deadline.wait(0.05)
    assert len(waiting.calls) == 0


def test_response_headers_are_sent_once(waiting: Waiting) -> None:
    seen: list[dict[str, list[str]]] = []

    class Ear(flight.ClientMiddleware):
        def received_headers(self, headers: dict[str, list[str]]) -> None:
            seen.append(headers)

    class Ears(flight.ClientMiddlewareFactory):
        def start_call(self, info: flight.CallInfo) -> Ear:
            return Ear()

    with flight.FlightClient(f"grpc://127.0.0.1:{waiting.port}", middleware=[Ears()]) as client:
        with pytest.raises(pa.ArrowNotImplementedError):
            list(client.do_action(flight.Action("nothing", b""), options()))
    greetings = [h["x-greeting"] for h in seen if "x-greeting" in h]
    assert greetings == [["hello guest"]]


def test_a_callback_that_raises_stops_neither_the_others_nor_the_watcher(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a mistake")

    table = CallTable[None]()
    for _ in range(2):  # the second needs the watcher to have survived the first
        call, told, done = Call("do_get", {}, None), threading.Event(), threading.Event()
        call.on_cancel(fail)
        call.on_cancel(told.set)
        call.on_done(partial(_set, done))
        call.on_done(fail)
        table.enter(call, Context())
        call.cancel()
        assert told.wait(5)
        table.leave(call)
        call.finish(None)
        assert done.is_set()
    table.close()
    assert "a mistake" in caplog.text


def _set(event: threading.Event, _: object) -> None:
    event.set()


class Context:
    """That of a call whose client is still there."""

    def is_cancelled(self) -> bool:
        return False


class Gone:
    """The context of a call whose client has gone away."""

    def is_cancelled(self) -> bool:
        return True


def test_the_table_sleeps_while_no_call_comes_and_notices_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "POLL_SECONDS", 0.001)
    asleep = threading.Event()
    sleep = CallTable._sleep

    def note(table: CallTable[None]) -> None:
        asleep.set()
        sleep(table)

    monkeypatch.setattr(CallTable, "_sleep", note)
    table: CallTable[None] = CallTable()
    try:
        for _ in range(3):
            assert asleep.wait(10)
            call: Call[None] = Call("do_action", {}, None)
            told = threading.Event()
            call.on_cancel(told.set)
            table.enter(call, Gone())
            assert told.wait(10)
            asleep.clear()
            table.leave(call)
    finally:
        table.close()
    assert not table._thread.is_alive()


def test_when_no_call_has_come_for_a_moment_somebody_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "POLL_SECONDS", 0.001)
    told: SimpleQueue[bool] = SimpleQueue()
    table: CallTable[None] = CallTable(lambda: told.put(True))
    assert told.get(timeout=10)
    with pytest.raises(Empty):
        told.get(timeout=0.1)
    call = Call("do_get", {}, None)
    table.enter(call, None)
    table.leave(call)
    assert told.get(timeout=10)
    table.close()


def test_a_stream_that_ends_before_its_last_row_counts_as_cancelled() -> None:
    """gRPC may not know yet that its client went away."""
    table: CallTable[None] = CallTable()
    try:
        call: Call[None] = Call("do_get", {}, None)
        rows = pa.record_batch([pa.array([1], pa.int64())], SCHEMA)
        table.enter(call, Context())
        to_flight_stream(ResultStream(SCHEMA, iter([rows, rows])), call, leaf_of)
        table.leave(call)
        assert isinstance(call.cancelled, Cancelled)
    finally:
        table.close()
