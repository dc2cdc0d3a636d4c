"""Bulk loads: every mode, and nothing by halves."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from decimal import Decimal
from pathlib import Path

import adbc_driver_manager
import pyarrow as pa
import pytest
from adbc_driver_flightsql import DatabaseOptions, dbapi

from tests import failing_loads
from tests.engine.conftest import CREDENTIAL, Connect
from tests.flight import Client

DATA = pa.table({"i": [1, 2, 3], "s": ["a", "b", None]})


def count(connection: object, table: str) -> int:
    with connection.cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute(f"SELECT count(*) FROM {table}")
        ((number,),) = cursor.fetchall()
    return int(number)


def test_the_four_modes(connect: Connect) -> None:
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        assert cursor.adbc_ingest("t", DATA, mode="create") == 3
        assert cursor.adbc_ingest("t", DATA, mode="append") == 3
        assert count(connection, "t") == 6
        assert cursor.adbc_ingest("t", DATA, mode="replace") == 3
        assert count(connection, "t") == 3
        assert cursor.adbc_ingest("t", DATA, mode="create_append") == 3
        assert cursor.adbc_ingest("u", DATA, mode="create_append") == 3
        assert (count(connection, "t"), count(connection, "u")) == (6, 3)


@pytest.mark.parametrize(
    ("table", "mode", "text"),
    [
        ("t", "create", "table 't' already exists: use the mode append"),
        ("u", "append", "table 'u' does not exist, and the mode is not to create"),
    ],
)
def test_a_mode_that_does_not_fit_is_said_in_words(
    connect: Connect, table: str, mode: str, text: str
) -> None:
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("t", DATA)
        with pytest.raises(adbc_driver_manager.ProgrammingError, match=text):
            cursor.adbc_ingest(table, DATA, mode=mode)  # type: ignore[arg-type]


def test_columns_are_matched_by_name(connect: Connect) -> None:
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (s VARCHAR, extra INT DEFAULT 7, i BIGINT)")
        cursor.adbc_ingest("t", DATA, mode="append")
        cursor.execute("SELECT i, s, extra FROM t ORDER BY i")
        assert cursor.fetchall() == [(1, "a", 7), (2, "b", 7), (3, None, 7)]


def test_a_schema_that_does_not_match_is_refused_and_nothing_is_kept(connect: Connect) -> None:
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (i BIGINT)")
        with pytest.raises(adbc_driver_manager.ProgrammingError, match='column with name "s"'):
            cursor.adbc_ingest("t", DATA, mode="append")
        assert count(connection, "t") == 0


def test_catalog_schema_and_names_that_need_quotes(connect: Connect) -> None:
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute('CREATE SCHEMA "my ""own"" schema"')
        cursor.adbc_ingest(
            'ta"ble; DROP', DATA, db_schema_name='my "own" schema', catalog_name="memory"
        )
        assert count(connection, 'memory."my ""own"" schema"."ta""ble; DROP"') == 3


def test_temporary_twice_and_only_in_the_session(connect: Connect) -> None:
    with connect("one", autocommit=True) as connection, connect("two") as other:
        with connection.cursor() as cursor:
            cursor.adbc_ingest("t", DATA, temporary=True)
            cursor.adbc_ingest("t", DATA, temporary=True, mode="replace")
            cursor.adbc_ingest("t", DATA, temporary=True, mode="append")
            assert count(connection, "t") == 6
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="does not exist"):
            count(other, "t")


def test_ingest_is_part_of_the_sessions_transaction(connect: Connect) -> None:
    with connect("one") as connection:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE t (i BIGINT, s VARCHAR)")
            cursor.adbc_ingest("t", DATA, mode="append")
            assert count(connection, "t") == 3
        connection.rollback()
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="does not exist"):
            count(connection, "t")


def test_a_million_rows_stream_in(connect: Connect) -> None:
    batch = pa.record_batch({"n": pa.array(range(100_000)), "s": pa.array(["x"] * 100_000)})
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch] * 10)
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        assert cursor.adbc_ingest("t", reader) == 1_000_000
        assert count(connection, "t") == 1_000_000


def test_a_client_that_dies_half_way_leaves_no_table(uri: str, client: Client) -> None:
    """To pyarrow its death looks like the end of the stream."""
    program = textwrap.dedent(
        f"""
        import os
        import pyarrow as pa
        from adbc_driver_flightsql import DatabaseOptions, dbapi

        def batches():
            batch = pa.record_batch({{"n": list(range(1000))}})
            for number in range(100):
                yield batch
            os.kill(os.getpid(), 9)

        options = {{DatabaseOptions.AUTHORIZATION_HEADER.value: "Bearer {CREDENTIAL}"}}
        schema = pa.schema([("n", pa.int64())])
        with dbapi.connect("{uri}", db_kwargs=options, autocommit=True) as connection:
            with connection.cursor() as cursor:
                cursor.adbc_ingest("t", pa.RecordBatchReader.from_batches(schema, batches()))
        """
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], check=False)
        assert done.returncode == -9
        assert client.rows("SELECT count(*) FROM duckdb_tables()") == [(0,)]


def test_values_of_the_wrong_type_are_said_in_words_and_nothing_is_kept(connect: Connect) -> None:
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (i BIGINT, s VARCHAR)")
        wrong = pa.table({"i": ["1", "x"], "s": ["a", "b"]})
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="string 'x' to INT64"):
            cursor.adbc_ingest("t", wrong, mode="append")
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="string 'x' to INT64"):
            cursor.execute("INSERT INTO t VALUES (?, ?)", ("x", "a"))
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="string 'x' to INT64"):
            cursor.execute("SELECT ?::BIGINT", ("x",))
            cursor.fetchall()
        assert count(connection, "t") == 0


def test_a_catalog_or_schema_that_is_not_there_is_said_in_words(connect: Connect) -> None:
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="nope"):
            cursor.adbc_ingest("t", DATA, catalog_name="nope")
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="nope"):
            cursor.adbc_ingest("t", DATA, db_schema_name="nope")


def test_two_columns_of_one_name_are_refused_in_words(connect: Connect) -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        with pytest.raises(
            adbc_driver_manager.ProgrammingError, match="two columns named 'a'"
        ) as e:
            cursor.adbc_ingest("t", twice)
        assert ".pxi" not in str(e.value)


def test_types_that_duckdb_cannot_scan_are_loaded_without_loss(connect: Connect) -> None:
    kind = pa.decimal256(20, 2)
    table = pa.table(
        {
            "h": pa.array([1.5, None], pa.float16()),
            "d": pa.array([Decimal("1.25"), None], kind),
            "w": pa.array([Decimal(10**50), None], pa.decimal256(60, 0)),
            "l": pa.array([[Decimal("2.50")], None], pa.list_(kind)),
            "s": pa.array([{"x": 0.5}, None], pa.struct([("x", pa.float16())])),
        }
    )
    row = (1.5, Decimal("1.25"), str(10**50), [Decimal("2.50")], {"x": 0.5})
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        assert cursor.adbc_ingest("t", table) == 2
        cursor.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", table)
        cursor.execute("FROM t")
        assert cursor.fetchall() == [row, (None,) * 5] * 2


def test_decimals_that_duckdb_lacks_are_converted_at_any_depth(connect: Connect) -> None:
    tens = pa.array([Decimal(9900)], pa.decimal128(2, -2))
    wide = pa.array([Decimal("1.5")], pa.decimal256(20, 2))
    columns = {
        "tens": (tens, Decimal(9900)),
        "of_40_digits": (tens.cast(pa.decimal128(38, -2)), "9.9E+3"),
        "many": (pa.LargeListArray.from_arrays([0, 1], wide), [Decimal("1.50")]),
        "pair": (pa.FixedSizeListArray.from_arrays(tens, 1), [Decimal(9900)]),
        "map": (pa.MapArray.from_arrays([0, 1], pa.array(["k"]), wide), [("k", Decimal("1.50"))]),
        "coded": (pa.DictionaryArray.from_arrays([0], wide), Decimal("1.50")),
    }
    data = pa.table({name: column for name, (column, _) in columns.items()})
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("t", data)
        cursor.execute("FROM t")
        assert cursor.fetch_arrow_table().to_pylist() == [
            {name: value for name, (_, value) in columns.items()}
        ]
        views = pa.ListViewArray.from_arrays([0], [1], wide)
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="convert the column"):
            cursor.adbc_ingest("u", pa.table({"v": views}))


def test_an_insert_of_no_rows_of_parameters_changes_nothing(connect: Connect) -> None:
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (h FLOAT)")
        cursor.execute("INSERT INTO t VALUES (?)", pa.table({"h": pa.array([], pa.float16())}))
        assert cursor.rowcount == 0
        assert count(connection, "t") == 0


@pytest.mark.parametrize(
    ("sql", "column"),
    [
        ("SELECT ? AS a", "a"),
        ("SELECT i FROM t WHERE i = ?", "i"),
        ("INSERT INTO t VALUES (?) RETURNING i", "i"),
    ],
)
def test_no_rows_of_parameters_give_no_rows(connect: Connect, sql: str, column: str) -> None:
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT 1 AS i")
        cursor.execute(sql, pa.table({"p": pa.array([], pa.int64())}))
        table = cursor.fetch_arrow_table()
        assert (table.num_rows, table.column_names) == (0, [column])
        assert count(connection, "t") == 1


def test_failing_ingests_leave_the_worker_alive(tmp_path: Path) -> None:
    """DuckDB's threads may still read the upload when the statement has failed.

    In a process of its own, since reading it too late is a segmentation fault.
    """
    program = textwrap.dedent(
        f"""
        import hashlib
        from pathlib import Path

        from pondflight.engine.duck import open_database
        from pondflight.engine.server import EngineServer

        scratch = Path({str(tmp_path)!r})
        server = EngineServer(
            "grpc://127.0.0.1:0",
            database=open_database(scratch, memory_limit=512 << 20, threads=2),
            credential_sha256=hashlib.sha256({CREDENTIAL!r}.encode()).hexdigest(),
            scratch=scratch,
        )
        print(server.port, flush=True)
        input()
        """
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    uri = f"grpc://127.0.0.1:{int(worker.stdout.readline())}"
    prefix = DatabaseOptions.RPC_CALL_HEADER_PREFIX.value
    options = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {CREDENTIAL}"}
    in_session = options | {f"{prefix}x-pondflight-session": "of-its-own"}
    try:
        with (
            dbapi.connect(uri, db_kwargs=options, autocommit=True) as connection,
            dbapi.connect(uri, db_kwargs=in_session, autocommit=True) as hurried,
        ):
            failing_loads.fail(connection, hurried, 80)
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.communicate()


@pytest.mark.parametrize("schema", [None, "main"])
@pytest.mark.parametrize(
    "beside", ["CREATE TEMP TABLE t (i BIGINT)", "CREATE TEMP VIEW t AS SELECT 1"]
)
def test_a_temporary_table_of_the_same_name_is_left_alone(
    connect: Connect, beside: str, schema: str | None
) -> None:
    rows = DATA.select(["i"])
    with connect("s", autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(beside)
        before = count(connection, "temp.t")
        for mode, expected in (("create", 3), ("append", 6), ("replace", 3), ("create_append", 6)):
            cursor.adbc_ingest("t", rows, mode=mode, db_schema_name=schema)  # type: ignore[arg-type]
            assert count(connection, "memory.main.t") == expected
        assert count(connection, "temp.t") == before


@pytest.mark.parametrize(
    "value",
    [
        pa.array([1500, 2000], pa.timestamp("ns", "UTC")),
        pa.array([(0, 0, 1500), None], pa.month_day_nano_interval()),
        pa.array([1, 2], pa.duration("ns")),
        pa.array([[None, 1500], []], pa.list_(pa.timestamp("ns", "UTC"))),
        pa.array([{"a": 1500}, None], pa.struct([("a", pa.duration("ns"))])),
        pa.array([[("k", (0, 0, 1))], []], pa.map_(pa.string(), pa.month_day_nano_interval())),
        pa.array([1500, 2000], pa.timestamp("ns", "UTC")).dictionary_encode(),
    ],
    ids=lambda value: str(value.type),
)
@pytest.mark.parametrize("way", ["ingest", "executemany"])
def test_nanoseconds_that_cannot_be_kept_are_refused(
    connect: Connect, value: pa.Array, way: str
) -> None:
    rows = pa.table({"v": value})
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (v VARCHAR)")
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="has nanoseconds"):
            if way == "ingest":
                cursor.adbc_ingest("t", rows, mode="append")
            else:
                cursor.executemany("INSERT INTO t VALUES (?)", rows)
        assert count(connection, "t") == 0


def test_nanoseconds_that_fit_are_kept(connect: Connect) -> None:
    rows = pa.table(
        {
            "zoned": pa.array([2000, None], pa.timestamp("ns", "UTC")),
            "plain": pa.array([1500, None], pa.timestamp("ns")),
            "time": pa.array([1500, None], pa.time64("ns")),
            "interval": pa.array([(1, 2, 3000), None], pa.month_day_nano_interval()),
            "sliced": pa.array([1, 2000, None], pa.duration("ns")).slice(1),
        }
    )
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("t", rows)
        cursor.execute("SELECT epoch_us(zoned), epoch_ns(plain), time, interval, sliced FROM t")
        first = cursor.fetch_arrow_table().slice(0, 1)
        assert [column[0].as_py() for column in first.columns[:2]] == [2, 1500]
        assert first["time"][0].value == 1500
        assert first["interval"][0].as_py() == pa.MonthDayNano([1, 2, 3000])
