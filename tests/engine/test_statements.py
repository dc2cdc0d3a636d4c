"""Statements and prepared statements, over the wire."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from decimal import Decimal

import adbc_driver_manager
import duckdb
import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight import control
from pondflight.engine.sql.statement import parse
from pondflight.flightsql import wire
from tests.bare_grpc import BareClient
from tests.engine.conftest import CREDENTIAL, Connect, MakeClient
from tests.flight import Client


def query(sql: str) -> bytes:
    return wire.pack(wire.new("CommandStatementQuery", query=sql))


def test_a_query_is_run_when_its_rows_are_fetched(client: Client) -> None:
    client.info("CREATE SEQUENCE s")
    info = client.info("SELECT nextval('s') AS n")
    assert client.rows("SELECT nextval('s')") == [(1,)]
    assert client.flight.do_get(
        info.endpoints[0].ticket, client.options()
    ).read_all().to_pylist() == [{"n": 2}]


def test_the_schema_of_a_flight_info_is_that_of_the_stream(client: Client) -> None:
    info = client.info("SELECT 1 AS a, 'x' AS a, NULL AS n, [1.5::DECIMAL(4,1)] AS l")
    table = client.flight.do_get(info.endpoints[0].ticket, client.options()).read_all()
    assert info.schema == table.schema
    assert info.schema.names == ["a", "a", "n", "l"]


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW TABLES",
        "DESCRIBE t",
        "SUMMARIZE t",
        "PRAGMA table_info('t')",
        "PRAGMA version",
        "FROM t",
        "TABLE t",
        "VALUES (1), (2)",
        "WITH x AS (SELECT 1) FROM x",
        "PIVOT t ON s USING sum(i)",
        "SELECT 1 -- with a comment",
        "EXPLAIN SELECT 1",
        "CALL pragma_version()",
        "CHECKPOINT",
    ],
)
def test_everything_that_returns_rows_is_described_and_fetched(client: Client, sql: str) -> None:
    client.info("CREATE TABLE t AS SELECT 1 AS i, 'a' AS s")
    info = client.info(sql)
    table = client.flight.do_get(info.endpoints[0].ticket, client.options()).read_all()
    assert info.schema.equals(table.schema)


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("INSERT INTO t VALUES (7, 'b'), (8, 'c')", 2),
        ("UPDATE t SET s = 'z'", 3),
        ("DELETE FROM t WHERE i = 0", 1),
        ("CREATE TABLE u AS SELECT * FROM range(5)", 5),
        ("CREATE TABLE u (i INT)", 0),
        ("DROP TABLE t", 0),
        ("SET threads = 1", 0),
        ("MERGE INTO t USING (SELECT 0 AS i) AS x ON t.i = x.i WHEN MATCHED THEN DELETE", 1),
        ("SELECT 1; DELETE FROM t", 3),
    ],
)
def test_an_effect_happens_once_however_it_is_asked_for(
    make_client: MakeClient, connect: Connect, sql: str, count: int
) -> None:
    """By plain text, by Flight SQL query, by update, prepared and by ADBC: one run each."""
    fill = "CREATE OR REPLACE TABLE t AS SELECT range::INT AS i, 'a' AS s FROM range(3)"
    client = make_client()
    client.info(fill)
    assert client.rows(sql) == [(count,)]
    for again in (fill, "DROP TABLE IF EXISTS u"):
        client.info(again)
    info = client.info(query(sql))
    assert (info.total_records, info.schema) == (count, pa.schema([]))
    (endpoint,) = info.endpoints
    nothing = client.flight.do_get(endpoint.ticket, client.options()).read_all()
    assert (nothing.num_rows, nothing.schema) == (0, pa.schema([]))
    for again in (fill, "DROP TABLE IF EXISTS u"):
        client.info(again)
    update = wire.pack(wire.new("CommandStatementUpdate", query=sql))
    answer = client.put(update, pa.table({}))
    assert answer is not None
    assert wire.message_class("DoPutUpdateResult").FromString(answer).record_count == count
    for again in (fill, "DROP TABLE IF EXISTS u"):
        client.info(again)
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        assert cursor.rowcount == count


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (7, 'b') RETURNING i + 1 AS next, s",
        "UPDATE t AS x SET i = 6, s = 'b' WHERE x.i = 0 RETURNING x.i + 2 AS next, s",
        "DELETE FROM t WHERE i = 0 RETURNING i + 8 AS next, 'b' AS s -- done",
    ],
)
def test_returning_is_a_query_that_takes_effect_once(
    client: Client, connect: Connect, sql: str
) -> None:
    client.info("CREATE TABLE t AS SELECT 0 AS i, 'a' AS s")
    (created,) = client.act(
        "CreatePreparedStatement",
        wire.pack(wire.new("ActionCreatePreparedStatementRequest", query=sql)),
    )
    value = wire.message_class(wire.ANY).FromString(created).value
    prepared = wire.message_class("ActionCreatePreparedStatementResult").FromString(value)
    dataset = pa.ipc.read_schema(pa.py_buffer(prepared.dataset_schema))
    assert dataset.names == ["next", "s"]
    assert not prepared.is_update
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        assert cursor.fetchall() == [(8, "b")]
    with pytest.raises(pa.ArrowKeyError, match="fetched before"):
        info = client.info("INSERT INTO t VALUES (1, 'x') RETURNING i")
        for _ in range(2):
            client.flight.do_get(info.endpoints[0].ticket, client.options()).read_all()


def test_several_statements_run_in_order_and_the_last_result_is_the_result(client: Client) -> None:
    assert client.rows(
        "CREATE TABLE t (s VARCHAR); INSERT INTO t VALUES ('a;b'); SELECT s || ';' FROM t;"
    ) == [("a;b;",)]


def test_parameters_of_many_types(connect: Connect) -> None:
    values = (
        1,
        2.5,
        "text",
        True,
        b"\x00\xff",
        None,
        Decimal("12.34"),
        dt.date(2024, 2, 29),
        dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC),
        [1, 2],
    )
    marks = ", ".join("?" * len(values))
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {marks}", values)
        assert cursor.fetchall() == [values]


def test_named_parameters_are_bound_by_name_or_by_position(connect: Connect) -> None:
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT $b - $a", pa.record_batch({"a": [1], "b": [5]}))
        assert cursor.fetchall() == [(4,)]
        cursor.execute("SELECT $2 - $1", (1, 5))
        assert cursor.fetchall() == [(4,)]


def test_a_query_with_several_rows_of_parameters_gives_all_results(connect: Connect) -> None:
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT ? * 2 AS d", pa.record_batch({"0": [1, 2, 3]}))
        assert cursor.fetchall() == [(2,), (4,), (6,)]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (?, ?)",
        "INSERT INTO t (i, s) VALUES ($1, $2)",
        "INSERT INTO t VALUES (? + 0, ?)",
        "INSERT INTO t VALUES (?, ?) ON CONFLICT DO NOTHING",
    ],
)
def test_executemany_inserts_every_row(connect: Connect, sql: str) -> None:
    rows = [(i, f"row {i}") for i in range(500)]
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (i INT PRIMARY KEY, s VARCHAR)")
        cursor.executemany(sql, rows)
        assert cursor.rowcount == 500
        cursor.execute("SELECT * FROM t ORDER BY i")
        assert cursor.fetchall() == rows


def test_executemany_is_all_or_nothing(connect: Connect) -> None:
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (i INT)")
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="Conversion Error"):
            cursor.executemany("INSERT INTO t VALUES (?::INT)", [("1",), ("x",)])
        cursor.execute("SELECT count(*) FROM t")
        assert cursor.fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("sql", "values", "text"),
    [
        ("SELECT ?, ?", (1,), "the statement has 2 parameters, but 1 was bound"),
        ("SELECT ?", (1, 2), "the statement has 1 parameter, but 2 were bound"),
        ("SELECT 1", (1,), "the statement has no parameters, but 1 was bound"),
        ("SELECT ?", None, "the statement has 1 parameter, but none was bound"),
        ("SELECT ?; SELECT ?", (1,), "a single statement only"),
    ],
)
def test_a_wrong_number_of_parameters_is_said_in_words(
    connect: Connect, sql: str, values: tuple[int, ...] | None, text: str
) -> None:
    with (
        connect() as connection,
        connection.cursor() as cursor,
        pytest.raises(adbc_driver_manager.ProgrammingError, match=text),
    ):
        cursor.execute(sql, values)
        cursor.fetchall()


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELEC 1", 'Parser Error: syntax error at or near "SELEC"\n\nLINE 1: SELEC 1\n        ^'),
        ("SELECT *\nFROM nope", "Table with name nope does not exist!"),
        ("SELECT *\nFROM nope", "LINE 2: FROM nope\n             ^"),
        ("SELECT 1;\nSELECT nope", "LINE 2: SELECT nope"),
        ("SELECT 'x'::INT", "Conversion Error: Could not convert string 'x' to INT32"),
        ("", "the SQL text has no statement"),
        (" ; -- nothing", "the SQL text has no statement"),
        ("SELECT 'a\0b'", "control character"),
        ("SELECT * FROM client", "Table with name client does not exist"),
    ],
)
def test_sql_errors_are_duckdbs_own_words(client: Client, sql: str, text: str) -> None:
    with pytest.raises(pa.ArrowInvalid) as caught:
        client.rows(sql)
    assert text in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_an_error_half_way_through_the_rows_is_an_error(client: Client) -> None:
    sql = "SELECT (CASE WHEN range > 500000 THEN 'x' ELSE '1' END)::INT FROM range(1000000)"
    with pytest.raises(pa.ArrowInvalid, match="Could not convert string 'x'"):
        client.rows(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT repeat('x', 100000) AS s FROM range(200)",
        "SELECT range(1000) AS l FROM range(2000)",
        f"SELECT {', '.join(f'range AS c{n}' for n in range(1000))} FROM range(3000)",
        "SELECT range AS a, CASE WHEN range % 3 = 0 THEN range END AS b FROM range(1000000)",
    ],
)
def test_batches_are_small_enough_for_every_client(uri: str, client: Client, sql: str) -> None:
    bare = BareClient(uri, CREDENTIAL)
    sizes = list(bare.sizes(client.info(sql).endpoints[0].ticket.ticket))
    assert sum(sizes) > 4 * max(sizes)
    bare.close()


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT {', '.join(f'{n} AS column_{n}' for n in range(8000))}",
        "SELECT CAST(NULL AS ENUM ({})) AS i".format(
            ", ".join(f"'{number:030}'" for number in range(100000))
        ),
    ],
    ids=["many columns", "a long type"],
)
def test_a_schema_is_small_enough_for_every_client(uri: str, client: Client, sql: str) -> None:
    """A message cannot be divided, but what is optional in it can be left out."""
    client.info(f"CREATE TABLE wide AS {sql}")
    info = client.info("FROM wide")
    bare = BareClient(uri, CREDENTIAL)
    assert max(bare.sizes(info.endpoints[0].ticket.ticket)) < 4 << 20
    assert len(info.serialize()) < 4 << 20
    found = client.flight.do_get(info.endpoints[0].ticket, client.options()).read_all().schema
    assert found.equals(info.schema, check_metadata=True)
    assert all(field.metadata is None for field in found)
    command = wire.pack(wire.new("CommandGetTables", include_schema=True))
    ((*_, table),) = client.rows(command)
    assert pa.ipc.read_schema(pa.py_buffer(table)).equals(found, check_metadata=True)
    bare.close()


def test_a_client_that_goes_away_interrupts_its_statement(client: Client) -> None:
    endless = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
    ticket = client.info(endless).endpoints[0].ticket
    started = time.monotonic()
    with pytest.raises(flight.FlightTimedOutError):
        client.flight.do_get(ticket, client.options(timeout=0.3)).read_all()
    with pytest.raises(flight.FlightTimedOutError):
        client.info(f"CREATE TABLE t AS {endless}", timeout=0.3)
    # The default session's lanes are free again, and so is the one thread that was busy.
    assert client.rows("SELECT count(*) FROM duckdb_tables()") == [(0,)]
    assert time.monotonic() - started < 5


def test_statements_of_the_default_session_run_side_by_side(make_client: MakeClient) -> None:
    first, second = make_client(), make_client()
    reader = first.reader("SELECT * FROM range(5000000)")
    count = reader.read_chunk().data.num_rows
    assert second.rows("SELECT 1") == [(1,)]
    count += sum(chunk.data.num_rows for chunk in reader)
    assert count == 5_000_000


def test_a_second_statement_on_a_connection_loses_no_row_of_the_first(
    connect: Connect,
) -> None:
    """DuckDB would end the first stream, and call it complete."""
    with connect("a-session-of-its-own", autocommit=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET VARIABLE x = 1")
        with connection.cursor() as one, connection.cursor() as two:
            one.execute("SELECT range AS n, getvariable('x') AS x FROM range(5000000)")
            reader = one.fetch_record_batch()
            total = reader.read_next_batch().num_rows
            two.execute("SELECT 42")
            assert two.fetchall() == [(42,)]
            total += sum(batch.num_rows for batch in reader)
            assert total == 5_000_000


def test_an_error_among_rows_that_were_set_aside_is_raised_when_due(connect: Connect) -> None:
    with connect("another-session-entirely", autocommit=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET VARIABLE x = 1")
        with connection.cursor() as one, connection.cursor() as two:
            one.execute(
                "SELECT (CASE WHEN range > 3000000 THEN 'x' ELSE '1' END)::INT FROM range(4000000)"
            )
            reader = one.fetch_record_batch()
            reader.read_next_batch()
            two.execute("SELECT 42")
            assert two.fetchall() == [(42,)]
            with pytest.raises(Exception, match="Could not convert string 'x'"):
                for _ in reader:
                    pass


def test_concurrent_statements_of_one_session_take_turns(make_client: MakeClient) -> None:
    client = make_client("one-session-many-threads")
    client.info("CREATE TEMP TABLE t (i INT)")
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                client.info(f"INSERT INTO t VALUES ({number})")
                client.rows("SELECT count(*) FROM t")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert client.rows("SELECT count(*) FROM t") == [(40,)]


@pytest.mark.parametrize("session", ["", "session-one"])
def test_rows_that_were_promised_survive_other_statements(
    make_client: MakeClient, session: str
) -> None:
    client = make_client(session)
    client.info("CREATE TABLE t (i INT)")
    info = client.info("INSERT INTO t VALUES (1), (2) RETURNING i")
    assert client.rows("SELECT count(*) FROM t") == [(2,)]
    client.info("DROP TABLE t")
    table = client.flight.do_get(info.endpoints[0].ticket, client.options()).read_all()
    assert table.column("i").to_pylist() == [1, 2]


@pytest.mark.parametrize(("sql", "keeps"), [("SELECT 1", False), ("SELECT ?", True)])
def test_a_handle_says_whether_anything_is_kept_for_it(
    client: Client, sql: str, *, keeps: bool
) -> None:
    body = wire.pack(wire.new("ActionCreatePreparedStatementRequest", query=sql))
    (created,) = client.act("CreatePreparedStatement", body)
    value = wire.message_class(wire.ANY).FromString(created).value
    prepared = wire.message_class("ActionCreatePreparedStatementResult").FromString(value)
    handle = prepared.prepared_statement_handle
    assert handle.startswith(control.KEEPS_NOTHING) != keeps


@pytest.mark.parametrize("sql", ["CALL tick()", "/* */ CALL tick()", "-- so\n call tick()"])
def test_a_call_runs_once_and_not_while_it_is_described(client: Client, sql: str) -> None:
    client.info("CREATE SEQUENCE s; CREATE MACRO tick() AS TABLE SELECT nextval('s') AS n")
    last = "SELECT last_value FROM duckdb_sequences()"
    client.flight.get_schema(flight.FlightDescriptor.for_command(query(sql)), client.options())
    client.act(
        "CreatePreparedStatement",
        wire.pack(wire.new("ActionCreatePreparedStatementRequest", query=sql)),
    )
    assert client.rows(last) == [(None,)]
    assert client.rows(sql) == [(1,)]
    assert client.rows(last) == [(1,)]


@pytest.mark.parametrize(
    ("sql", "state"),
    [
        ("CREATE TABLE x AS SELECT temp FROM w", False),
        ("CREATE TABLE temporary AS SELECT 1 /* temp */", False),
        ("CREATE TEMP TABLE x (i INT)", True),
        ("create or replace local temporary view x as select 1", True),
        ("CREATE /* no */ TEMP SEQUENCE s", True),
        ("SET threads = 1", True),
        ("SELECT 1", False),
    ],
)
def test_only_what_needs_a_session_takes_one(sql: str, *, state: bool) -> None:
    (statement,) = parse(duckdb.connect(), sql)
    assert statement.session_state == state


@pytest.mark.parametrize(
    "handle",
    [
        {"i": "", "q": "SELECT 1; SELECT 2", "s": ""},
        {"i": "", "q": "CREATE TABLE t (i INT)", "s": ""},
        {"i": "", "q": "", "s": "", "n": 1 << 70},
        {"i": "", "q": "", "s": "", "n": -1},
        {"i": "x", "q": "", "s": "", "r": True},
    ],
)
def test_a_ticket_that_nobody_gave_is_not_found(client: Client, handle: dict[str, object]) -> None:
    data = json.dumps(handle).encode() + b"\n"
    ticket = wire.pack(wire.new("TicketStatementQuery", statement_handle=data))
    with pytest.raises(KeyError, match="unknown"):
        client.flight.do_get(flight.Ticket(ticket), client.options()).read_all()
