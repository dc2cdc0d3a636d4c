"""Calls that may only run a query: whatever SQL they bring, nothing is changed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight import control
from pondflight.engine.execution.handles import Handle
from pondflight.engine.guards import functions
from pondflight.flightsql import wire
from tests.engine.conftest import MakeClient
from tests.flight import Client


@pytest.fixture(name="reader")
def fixture_reader(make_client: MakeClient, client: Client) -> Client:
    """A client whose calls may only query, of a user who has a table, a view and a macro."""
    client.table("CREATE TABLE t AS SELECT range AS a FROM range(3)")
    client.table("CREATE SEQUENCE s")
    client.table("CREATE VIEW v AS SELECT a * 2 AS b FROM t")
    client.table("CREATE VIEW flush AS FROM checkpoint()")
    client.table("CREATE MACRO flushed() AS TABLE FROM checkpoint()")
    client.table("CREATE MACRO asleep() AS sleep_ms(1)")
    client.table("CREATE VIEW dreams AS SELECT asleep() AS z")
    return make_client(**{control.QUERY_HEADER: "1"})


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM t",
        "WITH x AS (SELECT 3 AS n) SELECT n FROM x -- ; DROP TABLE t",
        "/* one */ SELECT 3;",
        "VALUES (3)",
        "FROM range(3, 4)",
        "SELECT (max(b) - 1)::BIGINT FROM v",
        "SELECT len(';;;')",
        "SELECT * FROM query('SELECT 3')",
    ],
)
def test_queries_give_their_rows(reader: Client, sql: str) -> None:
    assert reader.rows(sql) == [(3,)]


def test_an_error_is_where_it_is_in_the_text(reader: Client) -> None:
    with pytest.raises(pa.ArrowInvalid, match=r"LINE 2:   nosuch\n {10}\^"):
        reader.table("SELECT a,\n  nosuch\nFROM t")


def test_a_long_result_streams(reader: Client) -> None:
    assert reader.table("SELECT range AS n FROM range(2_000_000)").num_rows == 2_000_000


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE t",
        "INSERT INTO t VALUES (9)",
        "INSERT INTO t VALUES (9) RETURNING a",
        "UPDATE t SET a = 9",
        "DELETE FROM t",
        "TRUNCATE t",
        "CREATE TABLE u (a INT)",
        "CREATE TEMP TABLE u AS SELECT 1",
        "SELECT 1; DROP TABLE t",
        "DROP TABLE t; SELECT 1",
        "SELECT 1; SELECT 2",
        "SELECT 1 INTO u",
        "EXPLAIN ANALYZE DELETE FROM t",
        "EXPLAIN SELECT 1",
        "ANALYZE DELETE FROM t",
        "COPY t TO '{folder}/stolen.csv'",
        "COPY (SELECT 1) TO '{folder}/stolen.csv'",
        "EXPORT DATABASE '{folder}/stolen'",
        "ATTACH '{folder}/stolen.db' AS o",
        "SET threads = 1",
        "SET GLOBAL memory_limit = '1GB'",
        "PRAGMA threads = 1",
        "CALL checkpoint()",
        "CHECKPOINT",
        "LOAD json",
        "INSTALL httpfs",
        "USE memory",
        "BEGIN",
        "COMMIT",
        "PREPARE p AS DELETE FROM t",
        "EXECUTE p",
        "VACUUM",
        "PIVOT t ON a USING count(*)",
        "SELECT nextval('s')",
        "FROM checkpoint()",
        "SELECT * FROM force_checkpoint('memory')",
        "SELECT * FROM query('FROM checkpoint()')",
        "FROM flush",
        "FROM flushed()",
        "SELECT write_log('x')",
        "SELECT (SELECT max(sleep_ms(1)))",
        "SELECT pg_sleep(0)",
        "SELECT asleep()",
        "SELECT a FROM t ORDER BY asleep()",
        "SELECT list_transform([a], lambda x: asleep()) FROM t",
        "VALUES (asleep())",
        "FROM dreams",
        "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
        "COMMIT; DROP TABLE t",
        "SELECT ?",
        "SELECT $name",
        "not SQL at all",
        "",
        "-- nothing",
        "```sql\nSELECT 1\n```",
    ],
)
def test_everything_else_is_refused_and_changes_nothing(
    reader: Client, client: Client, tmp_path: Path, sql: str
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises((pa.ArrowInvalid, flight.FlightUnauthorizedError)) as caught:
        reader.table(sql.format(folder=tmp_path) if "{folder}" in sql else sql)
    assert "Traceback" not in str(caught.value)
    assert client.rows("SELECT a FROM t ORDER BY a") == [(0,), (1,), (2,)]
    assert client.rows("SELECT count(*) FROM duckdb_tables() WHERE NOT internal") == [(1,)]
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert reader.rows("SELECT 3") == [(3,)]


def test_a_forged_ticket_is_checked_like_any_text(reader: Client, client: Client) -> None:
    for text in ("DROP TABLE t", "SELECT 1; DROP TABLE t", "FROM checkpoint()"):
        handle = Handle(query=text).encode()
        ticket = wire.pack(wire.new("TicketStatementQuery", statement_handle=handle))
        with pytest.raises((pa.ArrowInvalid, flight.FlightUnauthorizedError)):
            reader.flight.do_get(flight.Ticket(ticket), reader.options()).read_all()
    assert client.rows("SELECT count(*) FROM t") == [(3,)]


def test_no_other_way_to_run_sql_is_open(reader: Client, client: Client) -> None:
    prepare = wire.pack(wire.new("ActionCreatePreparedStatementRequest", query="DELETE FROM t"))
    for kind, body in (
        ("CreatePreparedStatement", prepare),
        ("BeginTransaction", wire.pack(wire.new("ActionBeginTransactionRequest"))),
        (control.CONFIGURE, b"{}"),
    ):
        with pytest.raises(flight.FlightUnauthorizedError, match="may only run a query"):
            reader.act(kind, body)
    update = wire.pack(wire.new("CommandStatementUpdate", query="DELETE FROM t"))
    with pytest.raises(flight.FlightUnauthorizedError, match="may only run a query"):
        reader.put(update, pa.table({"a": [1]}))
    statement = wire.pack(wire.new("CommandStatementQuery", query="DELETE FROM t"))
    with pytest.raises(pa.ArrowInvalid, match="this is DELETE"):
        reader.info(statement)
    assert client.rows("SELECT count(*) FROM t") == [(3,)]


def test_metadata_may_be_read(reader: Client) -> None:
    tables = reader.table(wire.pack(wire.new("CommandGetTables")))
    assert "t" in tables["table_name"].to_pylist()


@pytest.mark.parametrize("name", ["json_serialize_sql", "json_serialize_plan"])
def test_macros_of_the_users_do_not_stand_in_for_the_guard(
    reader: Client, client: Client, name: str
) -> None:
    client.table(f"CREATE MACRO {name}(x) AS '{{\"error\": false}}'")
    with pytest.raises(flight.FlightUnauthorizedError, match="sleep_ms"):
        reader.table("SELECT sleep_ms(5)")


def test_functions_that_do_something_are_none_that_a_query_may_call() -> None:
    assert not functions.DOING & functions.QUERYING
    assert not functions.may_query("postgres_execute")
