"""Cancelling one's own statements, renewing endpoints, and the statement timeout."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext

import duckdb
import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight.engine.execution import timeouts
from pondflight.engine.execution.cursors import Cursor
from pondflight.engine.execution.sessions import SessionLimits
from pondflight.engine.server import EngineServer
from pondflight.flightsql import wire
from pondflight.flightsql.commands import CancelStatus
from tests.engine.conftest import MakeClient
from tests.flight import Client
from tests.waiting import wait_until

ENDLESS = "SELECT sum(a.range * b.range) AS s FROM range(10000000) a, range(10000000) b"


def cancel(client: Client, info: flight.FlightInfo) -> CancelStatus:
    request = wire.new("CancelFlightInfoRequest")
    request.info.ParseFromString(info.serialize())
    (answer,) = client.act("CancelFlightInfo", request.SerializeToString())
    status = wire.message_class("CancelFlightInfoResult").FromString(answer).status
    return CancelStatus(status)


def fetch(client: Client, info: flight.FlightInfo) -> pa.Table:
    return client.flight.do_get(info.endpoints[0].ticket, client.options()).read_all()


@pytest.mark.parametrize("session", ["", "session-one"])
def test_a_statement_that_runs_is_cancelled_by_another_call(
    engine: EngineServer, make_client: MakeClient, session: str
) -> None:
    client = make_client(session)
    info = client.info(ENDLESS)
    errors: list[Exception] = []

    def run() -> None:
        try:
            fetch(client, info)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: any(one.fetching for one in engine._tickets._tickets.values()))
    started = time.monotonic()
    assert cancel(make_client(session), info) == CancelStatus.CANCELLED
    thread.join(10)
    assert time.monotonic() - started < 5
    assert isinstance(errors[0], flight.FlightCancelledError)
    assert "the statement was cancelled" in str(errors[0])


@pytest.mark.parametrize("sql", ["SELECT 1", "EXPLAIN SELECT 1"])
def test_what_is_not_fetched_yet_cannot_be_fetched_after_that(client: Client, sql: str) -> None:
    info = client.info(sql)
    assert cancel(client, info) == CancelStatus.CANCELLED
    with pytest.raises(flight.FlightCancelledError, match="was cancelled"):
        fetch(client, info)
    assert cancel(client, info) == CancelStatus.CANCELLED
    assert fetch(client, client.info("SELECT 1")).num_rows == 1


def test_what_was_fetched_is_too_late(client: Client) -> None:
    info = client.info("SELECT 1")
    fetch(client, info)
    assert cancel(client, info) == CancelStatus.NOT_CANCELLABLE


def test_the_deprecated_form_cancels_as_well(client: Client) -> None:
    info = client.info("SELECT 1")
    body = wire.pack(wire.new("ActionCancelQueryRequest", info=info.serialize()))
    (answer,) = client.act("CancelQuery", body)
    wrapper = wire.message_class(wire.ANY).FromString(answer)
    assert wire.message_class("ActionCancelQueryResult").FromString(wrapper.value).result == 1
    with pytest.raises(flight.FlightCancelledError):
        fetch(client, info)


def test_a_statement_in_a_transaction_of_a_client_without_session(client: Client) -> None:
    (answer,) = client.act("BeginTransaction", wire.pack(wire.new("ActionBeginTransactionRequest")))
    value = wire.message_class(wire.ANY).FromString(answer).value
    begun = wire.message_class("ActionBeginTransactionResult").FromString(value)
    query = wire.new("CommandStatementQuery", query="SELECT 1", transaction_id=begun.transaction_id)
    assert cancel(client, client.info(wire.pack(query))) == CancelStatus.CANCELLED


def test_only_who_has_the_ticket_cancels(make_client: MakeClient) -> None:
    mine, other = make_client("session-one"), make_client("session-two")
    info = mine.info("SELECT 1")
    handle = b'{"i":"0123456789abcdef","q":"SELECT 1","s":"session-one"}\n'
    ticket = wire.pack(wire.new("TicketStatementQuery", statement_handle=handle))
    never = flight.FlightInfo(
        info.schema, info.descriptor, [flight.FlightEndpoint(ticket, [])], -1, -1
    )
    with pytest.raises(pa.ArrowKeyError, match="not one of yours"):
        cancel(other, never)
    assert fetch(mine, info).num_rows == 1
    info = mine.info("SELECT 1")
    assert cancel(other, info) == CancelStatus.CANCELLED
    with pytest.raises(flight.FlightCancelledError):
        fetch(mine, info)


def test_metadata_and_empty_infos_cannot_be_cancelled(client: Client) -> None:
    with pytest.raises(pa.ArrowInvalid, match="not a list of metadata"):
        cancel(client, client.info(wire.pack(wire.new("CommandGetCatalogs"))))
    empty = client.info(wire.pack(wire.new("CommandStatementQuery", query="CHECKPOINT")))
    with pytest.raises(pa.ArrowInvalid, match="nothing to cancel"):
        cancel(client, flight.FlightInfo(empty.schema, empty.descriptor, [], -1, -1))


def renew(client: Client, ticket: bytes) -> flight.FlightEndpoint:
    request = wire.new("RenewFlightEndpointRequest")
    request.endpoint.ticket.ticket = ticket
    (answer,) = client.act("RenewFlightEndpoint", request.SerializeToString())
    return flight.FlightEndpoint.deserialize(answer)


def test_an_endpoint_is_renewed_while_its_result_is_there(client: Client) -> None:
    for sql in ("SELECT 1", "EXPLAIN SELECT 1", wire.pack(wire.new("CommandGetCatalogs"))):
        ticket = client.info(sql).endpoints[0].ticket
        assert renew(client, ticket.ticket).ticket == ticket
    info = client.info("EXPLAIN SELECT 1")
    fetch(client, info)
    with pytest.raises(pa.ArrowKeyError, match="fetched before"):
        renew(client, info.endpoints[0].ticket.ticket)


def test_savepoints_are_not_offered(client: Client) -> None:
    for kind in ("BeginSavepoint", "EndSavepoint"):
        body = wire.pack(wire.new(f"Action{kind}Request"))
        with pytest.raises(pa.ArrowNotImplementedError, match="savepoint"):
            client.act(kind, body)


# the statement timeout


@pytest.fixture(name="hasty")
def fixture_hasty(engine: EngineServer) -> EngineServer:
    engine._sessions.limits = SessionLimits(statement_timeout=0.4)
    return engine


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("how", ["", "CREATE TABLE t AS ", "EXPLAIN ANALYZE "])
@pytest.mark.parametrize("session", ["", "session-one"])
def test_a_statement_that_takes_too_long_is_interrupted(
    make_client: MakeClient, session: str, how: str
) -> None:
    client = make_client(session)
    started = time.monotonic()
    with pytest.raises(flight.FlightTimedOutError, match=r"longer than its limit of 0\.4 s"):
        client.rows(how + ENDLESS)
    assert time.monotonic() - started < 5
    assert client.rows("SELECT count(*) FROM duckdb_tables()") == [(0,)]


@pytest.mark.usefixtures("hasty")
def test_a_timeout_half_way_through_the_rows_is_an_error_and_not_an_end(client: Client) -> None:
    reader = client.reader("FROM range(100000000000)")
    with pytest.raises(flight.FlightTimedOutError):
        for _ in reader:
            pass


@pytest.mark.parametrize(
    "sql",
    [
        "SET statement_timeout = '300ms'",
        "SET SESSION statement_timeout TO 300",
        'set "statement_timeout" = 300 -- milliseconds',
    ],
)
def test_a_session_lowers_its_timeout_by_sql(make_client: MakeClient, sql: str) -> None:
    client = make_client("session-one")
    client.info(sql)
    with pytest.raises(flight.FlightTimedOutError, match=r"limit of 0\.3 s"):
        client.rows(ENDLESS)
    client.info("RESET statement_timeout")
    assert client.rows("SELECT 1; SET statement_timeout = DEFAULT; SELECT 2") == [(2,)]


@pytest.mark.usefixtures("hasty")
def test_a_session_cannot_raise_it_above_the_servers(make_client: MakeClient) -> None:
    client = make_client("session-one")
    with pytest.raises(pa.ArrowInvalid, match="the server allows 400ms at most"):
        client.info("SET statement_timeout = '1h'")
    with pytest.raises(pa.ArrowInvalid, match="a whole number of milliseconds"):
        client.info("SET statement_timeout = 'soon'")


def test_a_statement_that_cannot_be_interrupted_ends_its_worker(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(timeouts, "end_worker", ended.set)
    monkeypatch.setattr(timeouts, "PATIENCE", 0.1)
    client.info("SET statement_timeout = '200ms'")
    long = "SELECT levenshtein(repeat('a', 30000), repeat('b', 30000) || x) FROM range(1) t(x)"
    with pytest.raises(flight.FlightTimedOutError, match=r"its limit of 0\.2 s"):
        client.rows(long)
    assert ended.is_set()


def test_a_statement_that_is_interrupted_in_time_does_not(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(timeouts, "end_worker", ended.set)
    client.info("SET statement_timeout = '200ms'")
    with pytest.raises(flight.FlightTimedOutError):
        client.rows("SELECT count(*) FROM range(100_000_000) a, range(1000) b")
    assert not ended.is_set()


@pytest.mark.parametrize("commit", [True, False])
def test_an_interrupted_end_of_a_transaction_leaves_none_open(
    engine: EngineServer, *, commit: bool
) -> None:
    cursor = Cursor(InterruptedOnce(engine._database.cursor()), engine.room)  # type: ignore[arg-type]
    expected = pytest.raises(duckdb.InterruptException) if commit else nullcontext()
    cursor.begin()
    with expected:
        cursor.end(commit=commit)
    cursor.begin()
    cursor.connection.execute("CREATE TABLE kept AS SELECT 1 AS i")
    cursor.end(commit=True)
    assert engine._database.execute("FROM kept").fetchall() == [(1,)]
    cursor.close()


class InterruptedOnce:
    """A connection whose first COMMIT or ROLLBACK is interrupted before it is carried out."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._interrupted = False

    def execute(self, sql: str) -> duckdb.DuckDBPyConnection:
        if sql in ("COMMIT", "ROLLBACK") and not self._interrupted:
            self._interrupted = True
            raise duckdb.InterruptException("INTERRUPT Error: Interrupted!")
        return self._connection.execute(sql)

    def close(self) -> None:
        self._connection.close()
