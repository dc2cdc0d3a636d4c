"""What clients are told about the parameters of a statement."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import adbc_driver_manager
import duckdb
import pyarrow as pa
import pytest

from pondflight.engine.sql.inference import parameter_types
from pondflight.engine.sql.statement import parse
from pondflight.flightsql import wire
from tests.engine.conftest import Connect
from tests.flight import Client

DAY = dt.datetime(2020, 1, 2)  # noqa: DTZ001
NIGHT = DAY.replace(hour=3)

TABLES = """
    CREATE TABLE t (i INTEGER, s VARCHAR, d DECIMAL(10,2), ts TIMESTAMPTZ, l INTEGER[], u UUID,
                    e ENUM('a', 'b'), st STRUCT(a INTEGER), j JSON, b BLOB);
    CREATE SCHEMA sc;
    CREATE TABLE sc.x (a BIGINT, b DATE);
"""


@pytest.fixture(name="database", scope="module")
def fixture_database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(TABLES)
        yield connection


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("SELECT * FROM t WHERE i = ? AND s = ?", {"1": "INTEGER", "2": "VARCHAR"}),
        ("SELECT * FROM t WHERE i IN (?, 3) OR d BETWEEN ? AND d", ["INTEGER", "DECIMAL(10,2)"]),
        ("SELECT * FROM t WHERE s LIKE ? AND ts > ?", ["VARCHAR", "TIMESTAMP WITH TIME ZONE"]),
        ("SELECT * FROM t WHERE l = ? OR st.a = ? OR st = ?", None),
        ("SELECT * FROM t WHERE i = $low AND d < $high", {"low": "INTEGER", "high": ...}),
        ("SELECT * FROM t LIMIT ? OFFSET ?", ["BIGINT", "BIGINT"]),
        ("SELECT ?::DATE, CAST(? AS DECIMAL(5,1))", ["DATE", "DECIMAL(5,1)"]),
        ("SELECT i + ?, ? * d FROM t", ["INTEGER", "DECIMAL(10,2)"]),
        ("SELECT CASE WHEN i = ? THEN 1 END FROM t", ["INTEGER"]),
        ("WITH q AS (SELECT i FROM t WHERE i > ?) FROM q WHERE i < ?", ["INTEGER", "INTEGER"]),
        ("SELECT sum(i) FROM t GROUP BY s HAVING count(*) > ?", ["BIGINT"]),
        ("INSERT INTO sc.x VALUES (?, ?)", ["BIGINT", "DATE"]),
        ("INSERT INTO sc.x VALUES (1, ?), (?, NULL)", ["DATE", "BIGINT"]),
        ("INSERT INTO sc.x (b, a) VALUES ($2, $1)", ["BIGINT", "DATE"]),
        ("INSERT INTO sc.x AS q (b) VALUES (?) ON CONFLICT DO NOTHING RETURNING a", ["DATE"]),
        ("INSERT INTO sc.x VALUES (DEFAULT, ?)", ["DATE"]),
        ("INSERT INTO sc.x SELECT i, ? FROM t JOIN sc.x ON a = i WHERE s = ?", ["DATE", "VARCHAR"]),
        ("INSERT INTO sc.x WITH a AS (SELECT 1), b AS (SELECT 2) SELECT ?, ? FROM a", None),
        ("INSERT INTO t (u, i) VALUES (?, ? + 1)", ["UUID", "INTEGER"]),
        ("UPDATE t SET d = d - ?, s = ? WHERE i = ?", ["DECIMAL(10,2)", "VARCHAR", "INTEGER"]),
        ("UPDATE t AS q SET s = x.b FROM sc.x WHERE a = q.i AND q.u = ?", ["UUID"]),
        ("DELETE FROM t WHERE i IN (?, ?)", ["INTEGER", "INTEGER"]),
        ("DELETE FROM sc.x USING t WHERE a = i AND ts < ?", ["TIMESTAMP WITH TIME ZONE"]),
    ],
)
def test_types_come_from_columns_and_casts(
    database: duckdb.DuckDBPyConnection, text: str, types: Any
) -> None:
    (statement,) = parse(database, text)
    found = parameter_types(database, statement)
    expected = {
        "SELECT * FROM t WHERE l": ["INTEGER[]", "INTEGER", 'STRUCT("a" INTEGER)'],
        "INSERT INTO sc.x WITH a": ["BIGINT", "DATE"],
    }
    types = types or next(value for key, value in expected.items() if text.startswith(key))
    if isinstance(types, list):
        types = {str(i): name for i, name in enumerate(types, 1)}
    assert found == {k: found[k] if v is ... else v for k, v in types.items()}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ?",
        "SELECT upper(?), ? + ?",
        "SELECT * FROM range(?)",
        "SELECT * FROM t WHERE e = ? AND j = ?",  # text is what clients have for these
        "SELECT * FROM nope WHERE a = ?",
        "INSERT INTO nope VALUES (?)",
        "INSERT INTO sc.x BY NAME SELECT ? AS b",
        "MERGE INTO t USING (SELECT ? AS i) AS x ON t.i = x.i WHEN MATCHED THEN DELETE",
        "UPDATE t SET (i, s) = (?, ?)",
    ],
)
def test_what_cannot_be_known_is_left_out(database: duckdb.DuckDBPyConnection, text: str) -> None:
    (statement,) = parse(database, text)
    assert statement.parameters
    assert parameter_types(database, statement) == {}


def test_clients_get_them_as_arrow_types_in_order(client: Client) -> None:
    client.info(TABLES)
    sql_text = "INSERT INTO t (e, j, u, d, ts, i) VALUES (?, ?, ?, ?, ?, ?)"
    body = wire.pack(wire.new("ActionCreatePreparedStatementRequest", query=sql_text))
    (created,) = client.act("CreatePreparedStatement", body)
    value = wire.message_class(wire.ANY).FromString(created).value
    prepared = wire.message_class("ActionCreatePreparedStatementResult").FromString(value)
    assert pa.ipc.read_schema(pa.py_buffer(prepared.parameter_schema)) == pa.schema(
        [
            ("1", pa.string()),
            ("2", pa.string()),
            ("3", pa.string()),
            ("4", pa.decimal128(10, 2)),
            ("5", pa.timestamp("ms", "UTC")),
            ("6", pa.int32()),
        ]
    )
    assert prepared.dataset_schema == b""
    assert prepared.is_update


def test_a_null_among_rows_of_parameters_does_not_change_the_type(connect: Connect) -> None:
    with connect() as connection, connection.cursor() as cursor:
        rows = pa.record_batch([pa.array([None, 2**40, None], pa.int64())], names=["0"])
        cursor.execute("SELECT ? AS v", rows)
        assert cursor.fetch_arrow_table().column("v").to_pylist() == [None, 2**40, None]


@pytest.mark.parametrize(
    ("sql", "parameters", "value"),
    [
        ("date_trunc('day', ?)", [NIGHT], DAY),
        ("extract(year FROM ?)", [dt.date(2020, 1, 1)], 2020),
        ("epoch(?)", [DAY], 1577923200.0),
        ("datediff('day', ?, ?)", [dt.date(2020, 1, 1), dt.date(2020, 1, 5)], 4),
        ("octet_length(?)", [b"xy"], 2),
        ("quantile_cont(x, ?) FROM range(5) r(x)", [0.5], 2.0),
        ("count(*) FROM repeat(?, ?)", ["x", 3], 3),
        ("count(*) FROM query(?)", ["SELECT 1"], 1),
        ("x FROM t WHERE x >= date_trunc('month', ?)", [dt.date(2020, 2, 9)], dt.date(2020, 2, 3)),
    ],
)
@pytest.mark.parametrize("stored", [False, True])
def test_a_parameter_that_only_its_value_can_type_does_not_fail_the_call(
    connect: Connect, sql: str, parameters: list[Any], value: object, *, stored: bool
) -> None:
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT DATE '2020-02-03' AS x")
        if stored:
            cursor.execute(f"CREATE TABLE made AS SELECT {sql}", parameters)
            cursor.execute("FROM made")
        else:
            cursor.execute(f"SELECT {sql}", parameters)
        assert cursor.fetchall() == [(value,)]


def test_what_is_wrong_beside_the_parameters_is_told_when_the_statement_runs(
    connect: Connect,
) -> None:
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="nowhere does not exist"):
            cursor.execute("SELECT * FROM nowhere WHERE a = ?", [1])
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="date_trunc"):
            cursor.execute("SELECT date_trunc('day', NULL)")
