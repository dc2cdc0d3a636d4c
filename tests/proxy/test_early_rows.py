"""Rows that come with a prepared statement, before they are asked for."""

from __future__ import annotations

import json
from datetime import timedelta

import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight import control
from pondflight.flightsql import wire
from pondflight.proxy import early_infos
from pondflight.proxy.early_infos import Promises
from pondflight.telemetry.metrics import REGISTRY
from tests.flight import Client
from tests.proxy.conftest import Deployment
from tests.proxy.test_promises import SCHEMA, command, prepare

TRIES = 300
"""On a busy machine no run may be quick for a while."""


@pytest.fixture(name="no_time_limit", autouse=True)
def fixture_no_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_infos, "SECONDS", 60.0)
    monkeypatch.setattr(early_infos, "ROWS_SECONDS", 60.0)


def asked() -> float:
    """How many results workers have streamed."""
    name = "pondflight_relay_seconds_count"
    return REGISTRY.get_sample_value(name, {"rpc": "do_get"}) or 0.0


def counted() -> float:
    """How many queries have run, as metrics have it."""
    labels = {"kind": "query", "outcome": "ok"}
    return REGISTRY.get_sample_value("pondflight_statements_total", labels) or 0.0


def ticket(client: Client, sql: str) -> flight.Ticket:
    """The ticket of a statement that was prepared, whose FlightInfo is known."""
    return client.info(command(prepare(client, sql))).endpoints[0].ticket


def fetch(client: Client, of: flight.Ticket) -> list[object]:
    table = client.flight.do_get(of, client.options()).read_all()
    found: list[object] = table.column(0).to_pylist()
    return found


def early(deployment: Deployment, client: Client, sql: str) -> flight.Ticket:
    """A ticket whose rows the proxy has already; they were not, until the query had run once."""
    for _ in range(TRIES):
        there = ticket(client, sql)
        if any(key == there.ticket for _, key in deployment.proxy._promises._kept):
            return there
        fetch(client, there)
    raise AssertionError(f"never early: {sql}")


def journal(deployment: Deployment, client: Client, text: str) -> int:
    """How many runs of a statement its worker has in its journal."""
    admin = deployment.tokens.mint("admin", timedelta(hours=1), admin=True)
    headers = [(b"authorization", f"Bearer {admin}".encode())]
    body = json.dumps({"text": "full"}).encode()
    (answer,) = client.flight.do_action(
        flight.Action(control.STATEMENTS, body), flight.FlightCallOptions(headers=headers)
    )
    statements = json.loads(answer.body.to_pybytes())["statements"]
    return sum(one["text"] == text and one["state"] == "done" for one in statements)


def test_a_quick_query_goes_to_the_worker_once(shared: Deployment, user: str) -> None:
    client = shared.client(user)
    client.table("CREATE TABLE t AS SELECT i, 'x' || i AS s FROM range(5) r(i)")
    sql = "SELECT s, sum(i), now_is FROM (SELECT *, 1 AS now_is FROM t) GROUP BY ALL ORDER BY s"
    there = early(shared, client, sql)
    before, statements = asked(), counted()
    table = client.flight.do_get(there, client.options()).read_all()
    assert asked() == before
    assert counted() == statements + 1
    again = client.flight.do_get(there, client.options()).read_all()
    assert asked() == before + 1  # what came early is given once
    assert table.equals(again)
    assert table.schema.equals(again.schema, check_metadata=True)


def test_only_what_was_fetched_is_in_the_journal(shared: Deployment, user: str) -> None:
    client = shared.client(user)
    sql = f"SELECT 1 AS {user.replace('-', '_')}"
    there = early(shared, client, sql)
    runs = journal(shared, client, sql)
    ticket(client, sql)
    assert journal(shared, client, sql) == runs
    fetch(client, there)
    assert journal(shared, client, sql) == runs + 1


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT now()",
        "SELECT current_date",
        "SELECT age(TIMESTAMP '2020-01-01')",
        "SELECT current_localtimestamp()",
        "SELECT random()",
        "SELECT uuid()",
        "SELECT nextval('q')",
        "SELECT current_setting('TimeZone')",
        "SELECT txid_current()",
        "SELECT x FROM clock",
        "SELECT clock_of(1)",
        "SELECT count(*) FROM t WHERE made < now()",
        "SELECT table_name FROM duckdb_tables()",
        "SELECT count(*) FROM information_schema.tables",
        "SELECT i FROM t USING SAMPLE 1",
        "SELECT i FROM 'early.csv'",
        "SELECT i FROM other.t",
    ],
)
def test_what_is_not_steady_is_run_when_it_is_fetched(shared: Deployment, sql: str) -> None:
    client = shared.client("unsteady")
    for statement in (
        "CREATE TABLE IF NOT EXISTS t AS SELECT 1 AS i, TIMESTAMP '2020-01-01' AS made",
        "CREATE SEQUENCE IF NOT EXISTS q",
        "CREATE OR REPLACE VIEW clock AS SELECT now() AS x",
        "CREATE OR REPLACE MACRO clock_of(a) AS now()",
        "COPY t TO 'early.csv'",
        "ATTACH IF NOT EXISTS ':memory:' AS other",
        "CREATE TABLE IF NOT EXISTS other.t AS SELECT 1 AS i",
    ):
        client.table(statement)
    for _ in range(5):
        before = asked()
        fetch(client, ticket(client, sql))
        assert asked() == before + 1


def test_a_session_with_a_state_of_its_own_is_asked(shared: Deployment, user: str) -> None:
    with shared.connect(user, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE t AS SELECT 1 AS i")
        for _ in range(5):
            before = asked()
            with connection.cursor() as other:
                other.execute("SELECT i FROM t")
                assert other.fetchall() == [(1,)]
            assert asked() == before + 1


def test_a_session_that_reads_elsewhere_gets_its_own_rows_early(
    shared: Deployment, user: str
) -> None:
    client = shared.client(user)
    connections = [shared.connect(user, autocommit=True) for _ in range(2)]
    for number, connection in enumerate(connections):
        client.table(f"CREATE SCHEMA s{number}")
        client.table(f"CREATE TABLE s{number}.t AS SELECT {number} AS i")
        with connection.cursor() as cursor:
            cursor.execute(f"USE s{number}")
    for number, connection in enumerate(connections):
        for _ in range(TRIES):
            before = asked()
            with connection.cursor() as cursor:
                cursor.execute("SELECT i FROM t")
                assert cursor.fetchall() == [(number,)]
            if asked() == before:
                break
        else:
            raise AssertionError("never early")
        connection.close()


def test_in_a_transaction_nothing_is_run_before_it_is_fetched(
    shared: Deployment, user: str
) -> None:
    with shared.connect(user) as connection:
        for _ in range(5):
            before = asked()
            with connection.cursor() as cursor:
                cursor.execute("SELECT 42")
                assert cursor.fetchall() == [(42,)]
            assert asked() == before + 1


@pytest.mark.parametrize("change", ["INSERT INTO t VALUES (2)", "DELETE FROM t", "DROP TABLE t"])
def test_a_change_ends_what_came_early(shared: Deployment, user: str, change: str) -> None:
    client, other = shared.client(user), shared.client(user)
    client.table("CREATE TABLE t AS SELECT 1 AS i")
    sql = "SELECT count(*) FROM t"
    there = early(shared, client, sql)
    other.table(change)
    if change.startswith("DROP"):
        with pytest.raises(pa.ArrowInvalid, match="does not exist"):
            fetch(client, there)
    else:
        assert fetch(client, there) == [2 if change.startswith("INSERT") else 0]


def test_rows_that_were_put_end_what_came_early(shared: Deployment, user: str) -> None:
    client = shared.client(user)
    client.table("CREATE TABLE t AS SELECT 1 AS i")
    there = early(shared, client, "SELECT count(*) FROM t")
    update = wire.pack(wire.new("CommandStatementUpdate", query="INSERT INTO t VALUES (2)"))
    client.put(update, pa.table({}))
    assert fetch(client, there) == [2]


def test_what_was_cancelled_is_not_given_out(shared: Deployment, user: str) -> None:
    client = shared.client(user)
    early(shared, client, "SELECT 42")
    info = client.info(command(prepare(client, "SELECT 42")))
    request = wire.new("ActionCancelQueryRequest", info=info.serialize())
    client.act("CancelQuery", wire.pack(request))
    with pytest.raises(flight.FlightCancelledError):
        fetch(client, info.endpoints[0].ticket)


def test_nobody_else_gets_them(shared: Deployment, user: str) -> None:
    client = shared.client(user)
    there = early(shared, client, "SELECT 42")
    before = asked()
    asking = shared.client(user, x_pondflight_query_only="1")
    assert fetch(asking, there) == [42]  # the worker has to see what it may do
    assert asked() == before + 1
    assert fetch(shared.client(f"{user}-2"), there) == [42]  # to another worker it is just SQL
    assert asked() == before + 2


def test_a_query_that_has_become_slow_does_not_hold_up_its_preparation(
    shared: Deployment, user: str
) -> None:
    client = shared.client(user)
    client.table("CREATE TABLE t AS SELECT 1 AS i")
    sql = "SELECT count(*) FROM t a, t b, t c WHERE a.i + b.i > c.i"
    early(shared, client, sql)
    client.table("INSERT INTO t SELECT range FROM range(20000)")
    before = asked()
    prepare(client, sql)  # it would take minutes
    assert asked() == before


@pytest.mark.parametrize("running", [True, False])
def test_what_was_asked_before_a_change_is_not_kept(*, running: bool) -> None:
    kept = Promises()
    since = kept.since("w")
    change = kept.changing("w", "s")
    if not running:
        with change:
            pass
    descriptor = flight.FlightDescriptor.for_command(command(b"h"))
    info = flight.FlightInfo(SCHEMA, descriptor, [], -1, -1).serialize()
    assert kept.keep("w", "s", [b"prepared", info], since) == [b"prepared"]
    assert kept.take("w", "s", command(b"h")) is None
    if running:
        kept.keep("w", "s", [b"prepared", info], kept.since("w"))
        assert (
            kept.take("w", "s", command(b"h")) is None
        )  # what it will have changed is not known yet
