"""What survives from call to call, what does not, and transactions."""

from __future__ import annotations

import threading
from contextlib import suppress

import adbc_driver_manager
import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight import control
from pondflight.engine.execution.sessions import SessionLimits
from pondflight.engine.server import EngineServer
from pondflight.flightsql import wire
from tests.engine.conftest import CREDENTIAL, Connect, MakeClient
from tests.flight import Client
from tests.waiting import wait_until


def test_temporary_tables_settings_and_variables_live_in_the_session(
    make_client: MakeClient,
) -> None:
    mine, same, other = make_client("session-one"), make_client("session-one"), make_client("two")
    mine.info("CREATE SCHEMA work")
    mine.info("USE work")
    mine.info("CREATE TEMP TABLE t AS SELECT 7 AS n")
    mine.info("SET VARIABLE v = 5")
    assert same.rows("SELECT n, getvariable('v'), current_schema() FROM t") == [(7, 5, "work")]
    assert other.rows("SELECT getvariable('v'), current_schema()") == [(None, "main")]
    with pytest.raises(pa.ArrowInvalid, match="Table with name t does not exist"):
        other.rows("SELECT n FROM t")


def test_begin_and_commit_as_sql_text(make_client: MakeClient) -> None:
    mine, other = make_client("session-one"), make_client("session-two")
    mine.info("CREATE TABLE t (i INT)")
    mine.info("BEGIN")
    mine.info("INSERT INTO t VALUES (1)")
    assert mine.rows("SELECT count(*) FROM t") == [(1,)]
    assert other.rows("SELECT count(*) FROM t") == [(0,)]
    mine.info("COMMIT")
    assert other.rows("SELECT count(*) FROM t") == [(1,)]


def test_commit_of_an_aborted_transaction_is_an_error(make_client: MakeClient) -> None:
    client = make_client("session-one")
    client.info("CREATE TABLE t (i INT PRIMARY KEY)")
    client.info("BEGIN")
    client.info("INSERT INTO t VALUES (1)")
    with pytest.raises(pa.ArrowInvalid, match="duplicate key"):
        client.info("INSERT INTO t VALUES (1)")
    with pytest.raises(pa.ArrowInvalid, match="transaction is aborted"):
        client.info("COMMIT")
    assert client.rows("SELECT count(*) FROM t") == [(0,)]


@pytest.mark.parametrize("session", ["", "a-session"])
def test_transactions_by_action(connect: Connect, session: str) -> None:
    with connect(f"{session}2", autocommit=True) as reader, connect(session) as connection:
        with reader.cursor() as cursor:
            cursor.execute("CREATE TABLE t (i INT)")
        for end, expected in ((connection.rollback, 0), (connection.commit, 1)):
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO t VALUES (1)")
                cursor.execute("SELECT count(*) FROM t")
                assert cursor.fetchall() == [(1,)]
            end()
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM t")
                assert cursor.fetchall() == [(expected,)]
            connection.rollback()


def test_transactions_of_clients_without_sessions_do_not_meet(connect: Connect) -> None:
    with connect(autocommit=True) as setup, setup.cursor() as cursor:
        cursor.execute("CREATE TABLE t (i INT)")
    with connect() as one, connect() as two:
        with one.cursor() as first, two.cursor() as second:
            first.execute("INSERT INTO t VALUES (1)")
            second.execute("SELECT count(*) FROM t")
            assert second.fetchall() == [(0,)]
        one.commit()
        two.commit()


def test_an_aborted_transaction_cannot_be_committed_by_action(connect: Connect) -> None:
    with connect("s") as connection:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE t (i INT PRIMARY KEY)")
            cursor.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(adbc_driver_manager.ProgrammingError):
                cursor.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="aborted"):
            connection.commit()


def test_an_unknown_transaction_is_not_found(client: Client) -> None:
    for action in (1, 2):
        body = wire.pack(
            wire.new("ActionEndTransactionRequest", transaction_id=b"nope", action=action)
        )
        with pytest.raises(pa.ArrowKeyError, match="unknown transaction"):
            client.act("EndTransaction", body)
    command = wire.pack(wire.new("CommandStatementQuery", query="SELECT 1", transaction_id=b"nope"))
    with pytest.raises(pa.ArrowKeyError, match="unknown transaction"):
        client.info(command)


def test_an_end_that_says_neither_is_refused(client: Client) -> None:
    body = wire.pack(wire.new("ActionEndTransactionRequest", transaction_id=b"nope"))
    with pytest.raises(pa.ArrowInvalid, match="neither COMMIT nor ROLLBACK"):
        client.act("EndTransaction", body)


def test_closing_a_session_drops_its_tables_and_rolls_back(make_client: MakeClient) -> None:
    client, other = make_client("session-one"), make_client("session-two")
    client.info("CREATE TABLE t (i INT)")
    client.info("CREATE TEMP TABLE u (i INT)")
    client.info("BEGIN")
    client.info("INSERT INTO t VALUES (1)")
    client.act("CloseSession")
    assert other.rows("SELECT count(*) FROM t") == [(0,)]
    with pytest.raises(pa.ArrowInvalid, match="does not exist"):
        client.rows("FROM u")


def test_idle_sessions_end(engine: EngineServer, make_client: MakeClient) -> None:
    engine._sessions.limits = SessionLimits(idle_timeout=0.0)
    client = make_client("session-one")
    client.info("CREATE TEMP TABLE u (i INT)")
    assert len(engine._sessions) == 1
    engine._sessions.sweep()
    assert len(engine._sessions) == 0


def test_the_sweep_goes_on_after_a_mistake(
    engine: EngineServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        failed.set()
        raise RuntimeError("a mistake")

    failed = threading.Event()
    monkeypatch.setattr("pondflight.engine.server.SWEEP_SECONDS", 0.01)
    make_client("session-one").info("CREATE TEMP TABLE u (i INT)")
    with monkeypatch.context() as broken:
        broken.setattr(engine._sessions, "sweep", fail)
        assert failed.wait(20)  # the pause before the first is as long as ever
    engine._sessions.limits = SessionLimits(idle_timeout=0.0)
    wait_until(lambda: len(engine._sessions) == 0)


def test_over_the_cap_a_session_waits_and_then_is_told_why(
    engine: EngineServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pondflight.engine.execution.sessions._ROOM_SECONDS", 0.2)
    engine._sessions.limits = SessionLimits(max_sessions=2)
    first = make_client("session-1")
    for client in (first, make_client("session-2")):
        client.info("CREATE TEMP TABLE u (i INT)")
    third = make_client("session-3")
    assert third.rows("SELECT 1") == [(1,)]  # without state, no session is needed
    with pytest.raises(flight.FlightUnavailableError, match=r"sessions\.max_per_user"):
        third.info("CREATE TEMP TABLE u (i INT)")
    first.act("CloseSession")
    third.info("CREATE TEMP TABLE u (i INT)")


def test_a_handle_of_another_session_is_refused(make_client: MakeClient) -> None:
    one, two = make_client("session-one"), make_client("session-two")
    request = wire.pack(wire.new("ActionCreatePreparedStatementRequest", query="SELECT 1 AS a"))
    (created,) = one.act("CreatePreparedStatement", request)
    value = wire.message_class(wire.ANY).FromString(created).value
    prepared = wire.message_class("ActionCreatePreparedStatementResult").FromString(value)
    command = wire.pack(
        wire.new(
            "CommandPreparedStatementQuery",
            prepared_statement_handle=prepared.prepared_statement_handle,
        )
    )
    assert one.rows(command) == [(1,)]
    with pytest.raises(pa.ArrowInvalid, match="belongs to another session"):
        two.rows(command)


@pytest.mark.parametrize(
    "handle", [b"", b"nonsense", b"{}\n", b'{"i":1,"q":2,"s":3}\n', b"[" * 9999]
)
def test_an_unknown_handle_is_not_found(client: Client, handle: bytes) -> None:
    command = wire.pack(wire.new("CommandPreparedStatementQuery", prepared_statement_handle=handle))
    with pytest.raises(pa.ArrowKeyError, match="unknown handle"):
        client.info(command)
    ticket = wire.pack(wire.new("TicketStatementQuery", statement_handle=handle))
    with pytest.raises(pa.ArrowKeyError, match="unknown handle"):
        client.flight.do_get(flight.Ticket(ticket), client.options()).read_all()
    closing = wire.new("ActionClosePreparedStatementRequest", prepared_statement_handle=handle)
    assert client.act("ClosePreparedStatement", wire.pack(closing)) == []


def test_only_the_credential_opens_the_worker(uri: str) -> None:
    for token in ("", "wrong", CREDENTIAL + "x"):
        stranger = Client(uri, token)
        with pytest.raises(flight.FlightUnauthenticatedError):
            stranger.info("SELECT 1")
        with pytest.raises(flight.FlightUnauthenticatedError):
            stranger.act(control.STATUS)
        stranger.close()


def test_what_the_first_call_of_a_client_did_is_in_the_session_that_it_was_offered(
    make_client: MakeClient,
) -> None:
    make_client(x_pondflight_offer="session-one").info("CREATE TEMP TABLE t AS SELECT 1 AS i")
    mine = make_client("session-one")
    assert mine.rows("FROM t") == [(1,)]
    with pytest.raises(pa.ArrowInvalid, match="does not exist"):
        make_client().rows("FROM t")
    make_client(x_pondflight_offer="session-two").info("CREATE TEMP TABLE t AS SELECT 2 AS i")
    assert make_client("session-two").rows("FROM t") == [(2,)]
    assert mine.rows("FROM t") == [(1,)]


def test_what_two_clients_share_neither_takes_with_it(make_client: MakeClient) -> None:
    make_client(x_pondflight_offer="session-one").info("CREATE TEMP TABLE t AS SELECT 1 AS i")
    other = make_client(x_pondflight_offer="session-two")
    assert other.rows("FROM t") == [(1,)]
    with pytest.raises(pa.ArrowInvalid, match="does not exist"):
        make_client("session-one").rows("FROM t")
    assert make_client().rows("FROM t") == [(1,)]


def test_a_ticket_of_the_default_session_is_fetched_there(make_client: MakeClient) -> None:
    client = make_client()
    client.info("CREATE TEMP TABLE t AS SELECT 1 AS i")
    ticket = client.info("FROM t").endpoints[0].ticket
    mine = make_client("session-one")
    assert mine.flight.do_get(ticket, mine.options()).read_all().to_pylist() == [{"i": 1}]


def test_a_ticket_is_fetched_in_its_session_by_any_connection(make_client: MakeClient) -> None:
    mine, other = make_client("session-one"), make_client("session-two")
    before = mine.info("SELECT current_setting('TimeZone')").endpoints[0].ticket
    assert fetch(other, before) == [{"current_setting('TimeZone')": "UTC"}]
    mine.info("CREATE TEMP TABLE t AS SELECT range AS i FROM range(5000)")
    mine.info("SET statement_timeout = '1m'")
    rows = mine.info("FROM t").endpoints[0].ticket
    kept = mine.info("INSERT INTO t VALUES (-1) RETURNING i").endpoints[0].ticket
    assert fetch(other, kept) == [{"i": -1}]
    for client in (other, make_client(), mine):
        assert len(fetch(client, rows)) == 5001
    with pytest.raises(pa.ArrowInvalid, match="t does not exist"):
        other.rows("FROM t")


def test_a_ticket_read_elsewhere_ends_with_its_session(
    engine: EngineServer, make_client: MakeClient
) -> None:
    mine, other = make_client("session-one"), make_client("session-two")
    mine.info("SET TimeZone = 'Asia/Tokyo'")
    ticket = mine.info("SELECT current_setting('TimeZone') AS zone").endpoints[0].ticket
    assert fetch(other, ticket) == [{"zone": "Asia/Tokyo"}]
    forged = ticket.ticket.replace(b"session-one", b"session-six")
    with pytest.raises(pa.ArrowKeyError, match="session of this ticket has ended"):
        fetch(other, flight.Ticket(forged))
    mine.act("CloseSession")
    with pytest.raises(pa.ArrowKeyError, match="session of this ticket has ended"):
        fetch(other, ticket)
    mine.info("SET TimeZone = 'Asia/Tokyo'")
    ticket = mine.info("SELECT 1").endpoints[0].ticket
    engine._sessions.limits = SessionLimits(idle_timeout=0.0)
    wait_until(lambda: len(engine._sessions) == 0)
    with pytest.raises(pa.ArrowKeyError, match="session of this ticket has ended"):
        fetch(other, ticket)


def test_a_ticket_of_a_transaction_is_read_by_any_connection(make_client: MakeClient) -> None:
    mine, other = make_client("session-one"), make_client("session-two")
    mine.info("CREATE TABLE t (i INT)")
    first, second = begin(mine), begin(mine)  # the session's, and one of its own
    tickets = []
    for number, transaction in enumerate((first, second)):
        run(mine, f"INSERT INTO t VALUES ({number})", transaction)
        query = wire.new("CommandStatementQuery", query="FROM t", transaction_id=transaction)
        tickets.append(mine.info(wire.pack(query)).endpoints[0].ticket)
        assert fetch(other, tickets[-1]) == [{"i": number}]
    end(mine, first)
    end(mine, second, commit=False)
    assert fetch(other, tickets[0]) == [{"i": 0}]
    with pytest.raises(pa.ArrowKeyError, match="session of this ticket has ended"):
        fetch(other, tickets[1])


def fetch(client: Client, ticket: flight.Ticket) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = (
        client.flight.do_get(ticket, client.options()).read_all().to_pylist()
    )
    return rows


def begin(client: Client) -> bytes:
    (answer,) = client.act("BeginTransaction", wire.pack(wire.new("ActionBeginTransactionRequest")))
    value = wire.message_class(wire.ANY).FromString(answer).value
    result = wire.message_class("ActionBeginTransactionResult").FromString(value)
    transaction: bytes = result.transaction_id
    return transaction


def end(client: Client, transaction: bytes, *, commit: bool = True) -> None:
    body = wire.new(
        "ActionEndTransactionRequest", transaction_id=transaction, action=1 if commit else 2
    )
    client.act("EndTransaction", wire.pack(body))


def run(client: Client, sql: str, transaction: bytes) -> None:
    client.info(wire.pack(wire.new("CommandStatementQuery", query=sql, transaction_id=transaction)))


@pytest.mark.parametrize("session", ["", "session-one"])
def test_a_session_may_have_several_transactions(make_client: MakeClient, session: str) -> None:
    client, other = make_client(session), make_client("another")
    client.info("CREATE TABLE t (i INT)")
    client.info("SET VARIABLE x = 1")
    first, second, third = begin(client), begin(client), begin(client)
    for number, transaction in enumerate((first, second, third), 1):
        run(client, f"INSERT INTO t VALUES ({number})", transaction)
    assert other.rows("FROM t") == []
    end(client, second)
    assert other.rows("FROM t") == [(2,)]
    end(client, third, commit=False)
    run(client, "INSERT INTO t VALUES (4)", first)
    end(client, first)
    assert other.rows("FROM t ORDER BY i") == [(1,), (2,), (4,)]


def test_a_begin_too_many_is_refused_and_harms_nothing(make_client: MakeClient) -> None:
    client, other = make_client("session-one"), make_client("another")
    client.info("CREATE TABLE t (i INT)")
    client.info("BEGIN")
    client.info("INSERT INTO t VALUES (1)")
    with pytest.raises(pa.ArrowInvalid, match="the one that is open goes on"):
        client.info("START TRANSACTION")
    with pytest.raises(pa.ArrowInvalid, match="begun in this session by SQL, and goes on"):
        begin(client)
    client.info("INSERT INTO t VALUES (2)")
    client.info("COMMIT")
    assert other.rows("FROM t ORDER BY i") == [(1,), (2,)]


def test_a_transaction_that_begins_while_its_session_closes_touches_no_other_session(
    engine: EngineServer, make_client: MakeClient
) -> None:
    client, other = make_client("session-one"), make_client("another")
    other.info("CREATE TABLE t (i INT)")
    client.info("SET VARIABLE x = 1")
    for _ in range(50):
        closing = threading.Thread(target=engine._sessions.close, args=("session-one",))
        closing.start()
        transaction = begin(client)
        closing.join()
        with suppress(KeyError):  # it was begun before, and ended with the session
            end(client, transaction)
        client.info("SET VARIABLE x = 1")
    for number in range(20):
        other.info(f"INSERT INTO t VALUES ({number})")
        assert make_client("a-third").rows("SELECT count(*) FROM t") == [(number + 1,)]
