"""The ADBC driver, through the proxy."""

from __future__ import annotations

import base64
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from adbc_driver_flightsql import ConnectionOptions, DatabaseOptions, StatementOptions, dbapi
from adbc_driver_manager import (
    AdbcConnection,
    AdbcDatabase,
    AdbcStatement,
    OperationalError,
    ProgrammingError,
)

from integration.conftest import Deploy
from integration.deployment import Deployment
from tests.waiting import wait_until

CONFIG = {"duckdb": {"statement_timeout": "20s"}}
ENDLESS = "SELECT sum(a.range * b.range) AS s FROM range(10000000) a, range(10000000) b"
DATA = pa.table({"i": [1, 2, 3], "s": ["a", "b", None]})


def fetch(connection: dbapi.Connection, sql: str, *parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, *parameters)
        rows: list[Any] = cursor.fetchall()
        return rows


def test_two_users_at_once_see_nothing_of_each_other(deployment: Deployment) -> None:
    with deployment.connect("ada") as ada, deployment.connect("bob") as bob:
        fetch(ada, "CREATE TABLE mine AS SELECT 1 AS n")
        ada.commit()
        with pytest.raises(ProgrammingError, match="does not exist"):
            fetch(bob, "SELECT * FROM mine")


def test_temporary_tables_settings_and_transactions_stay_in_their_connection(
    deployment: Deployment,
) -> None:
    def work(number: int) -> list[Any]:
        with deployment.connect("ada", autocommit=True) as connection:
            fetch(connection, f"CREATE TEMP TABLE own AS SELECT {number} AS n")
            fetch(connection, f"SET VARIABLE mine = {number}")
            fetch(connection, "BEGIN")
            fetch(connection, "INSERT INTO own VALUES (100)")
            for _ in range(5):
                found = fetch(connection, "SELECT sum(n), getvariable('mine') FROM own")
                assert found == [(number + 100, number)]
            fetch(connection, "ROLLBACK")
            return fetch(connection, "FROM own")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [[(number,)] for number in range(8)]


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_partition_is_read_on_another_connection_of_the_same_user(
    deployment: Deployment, autocommit: bool
) -> None:
    ada, eve = deployment.connect("ada", autocommit=autocommit), deployment.connect("eve")
    with ada, ada.cursor() as cursor, deployment.connect("ada") as other, eve:
        cursor.execute("CREATE TEMP TABLE mine AS FROM range(100_000)")
        (partition,), _ = cursor.adbc_execute_partitions("SELECT sum(range) FROM mine")
        with other.cursor() as reader:
            reader.adbc_read_partition(partition)
            assert reader.fetchall() == [(4_999_950_000,)]
        with eve.cursor() as reader, pytest.raises(dbapi.Error, match="session of this ticket"):
            reader.adbc_read_partition(partition)
            reader.fetchall()


def test_ddl_and_dml_by_execute_take_effect_once(deployment: Deployment) -> None:
    with deployment.connect("ada", autocommit=True) as connection, connection.cursor() as cursor:
        for sql, count in (
            ("CREATE OR REPLACE TABLE once (i INTEGER)", 0),
            ("INSERT INTO once VALUES (1), (2)", 2),
            ("UPDATE once SET i = i + 1", 2),
            ("DELETE FROM once WHERE i = 2", 1),
        ):
            cursor.execute(sql)
            assert cursor.rowcount == count
            assert cursor.fetch_arrow_table().num_rows == 0
        cursor.execute("INSERT INTO once VALUES (7) RETURNING i * 6 AS answer")
        assert cursor.fetchall() == [(42,)]
        cursor.execute("SELECT list(i ORDER BY i) FROM once")
        assert cursor.fetchall() == [([3, 7],)]


def test_dml_without_preparing_takes_effect_once(deployment: Deployment) -> None:
    """The low-level API: a client that knows no is_update asks for a FlightInfo."""
    options = {
        "uri": deployment.flight_uri,
        DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {deployment.token('ada')}",
    }
    import adbc_driver_flightsql  # noqa: PLC0415  for the path of the driver

    with AdbcDatabase(driver=adbc_driver_flightsql._driver_path(), **options) as database:
        with AdbcConnection(database) as connection, AdbcStatement(connection) as statement:
            statement.set_sql_query("CREATE OR REPLACE TABLE low AS SELECT 1 AS i")
            statement.execute_update()
            statement.set_sql_query("INSERT INTO low VALUES (2)")
            stream, _ = statement.execute_query()
            pa.RecordBatchReader._import_from_c(stream.address).read_all()
            statement.set_sql_query("SELECT count(*) AS n FROM low")
            stream, _ = statement.execute_query()
            table = pa.RecordBatchReader._import_from_c(stream.address).read_all()
            assert table.to_pylist() == [{"n": 2}]


def test_commit_and_rollback(deployment: Deployment) -> None:
    with deployment.connect("ada") as connection:
        fetch(connection, "CREATE OR REPLACE TABLE tx (i INTEGER)")
        connection.commit()
        for end, count in ((connection.rollback, 0), (connection.commit, 1)):
            fetch(connection, "INSERT INTO tx VALUES (1)")
            end()
            assert fetch(connection, "SELECT count(*) FROM tx") == [(count,)]


def test_ingest_in_every_mode_and_in_a_transaction(deployment: Deployment) -> None:
    with deployment.connect("ada") as connection, connection.cursor() as cursor:
        fetch(connection, "DROP TABLE IF EXISTS loaded")
        fetch(connection, "CREATE SCHEMA IF NOT EXISTS stock")
        connection.commit()
        for mode, count in (
            ("create", 3),
            ("append", 6),
            ("replace", 3),
            ("create_append", 6),
        ):
            assert cursor.adbc_ingest("loaded", DATA, mode=mode) == 3  # type: ignore[arg-type]
            assert fetch(connection, "SELECT count(*) FROM loaded") == [(count,)]
        connection.rollback()
        with pytest.raises(ProgrammingError, match="does not exist"):
            fetch(connection, "FROM loaded")
        connection.rollback()
        cursor.adbc_ingest("loaded", DATA, temporary=True)
        cursor.adbc_ingest("loaded", DATA, temporary=True, mode="append")
        cursor.adbc_ingest("loaded", DATA, catalog_name="memory", db_schema_name="stock")
        sql = "SELECT (SELECT count(*) FROM temp.loaded), (SELECT count(*) FROM stock.loaded)"
        assert fetch(connection, sql) == [(6, 3)]
        connection.rollback()


def test_ingest_of_a_million_rows(deployment: Deployment) -> None:
    batch = pa.record_batch({"n": pa.array(range(100_000)), "s": pa.array(["x"] * 100_000)})
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch] * 10)
    with deployment.connect("ada", autocommit=True) as connection, connection.cursor() as cursor:
        assert cursor.adbc_ingest("million", reader, mode="replace") == 1_000_000
        assert fetch(connection, "SELECT count(*), max(n) FROM million") == [(1_000_000, 99_999)]


def test_a_client_that_dies_half_way_leaves_no_table(deployment: Deployment) -> None:
    program = textwrap.dedent(
        f"""
        import os
        import pyarrow as pa
        from adbc_driver_flightsql import DatabaseOptions, dbapi

        def batches():
            batch = pa.record_batch({{"n": list(range(1000))}})
            for number in range(50):
                yield batch
            os.kill(os.getpid(), 9)

        token = "Bearer {deployment.token("ada")}"
        options = {{DatabaseOptions.AUTHORIZATION_HEADER.value: token}}
        schema = pa.schema([("n", pa.int64())])
        uri = "{deployment.flight_uri}"
        with dbapi.connect(uri, db_kwargs=options, autocommit=True) as connection:
            with connection.cursor() as cursor:
                cursor.adbc_ingest("half", pa.RecordBatchReader.from_batches(schema, batches()))
        """
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
        assert done.returncode == -9
    with deployment.connect("ada", autocommit=True) as connection:
        sql = "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'half'"
        assert fetch(connection, sql) == [(0,)]


def test_parameters_and_executemany(deployment: Deployment) -> None:
    rows = [(i, f"row {i}", Decimal(i) / 4) for i in range(1000)]
    with deployment.connect("ada") as connection, connection.cursor() as cursor:
        fetch(connection, "CREATE TEMP TABLE many (i INTEGER, s VARCHAR, d DECIMAL(10,2))")
        cursor.executemany("INSERT INTO many VALUES (?, ?, ?)", rows)
        assert cursor.rowcount == 1000
        assert fetch(connection, "SELECT * FROM many WHERE i = ? AND d > ?", (8, 1.5)) == [rows[8]]
        assert fetch(connection, "SELECT $b - $a", pa.record_batch({"a": [1], "b": [5]})) == [(4,)]
        assert fetch(connection, "SELECT ?, ?", (None, b"\x00\xff")) == [(None, b"\x00\xff")]


def test_objects_at_every_depth(deployment: Deployment) -> None:
    with deployment.connect("eve", autocommit=True) as connection:
        fetch(connection, "CREATE TABLE birds (id INTEGER PRIMARY KEY, price DECIMAL(9,3))")
        fetch(connection, "CREATE VIEW seen AS SELECT id FROM birds")
        found = {
            depth: connection.adbc_get_objects(depth=depth).read_all().to_pylist()
            for depth in ("catalogs", "db_schemas", "tables", "columns", "all")
        }
        assert [c["catalog_name"] for c in found["catalogs"]] == ["memory"]
        (schema,) = found["all"][0]["catalog_db_schemas"]
        tables = {table["table_name"]: table for table in schema["db_schema_tables"]}
        assert {name: table["table_type"] for name, table in tables.items()} == {
            "birds": "TABLE",
            "seen": "VIEW",
        }
        price = tables["birds"]["table_columns"][1]
        assert price["xdbc_type_name"] == "DECIMAL(9,3)"
        assert (price["ordinal_position"], price["xdbc_data_type"]) == (2, 3)
        assert connection.adbc_get_table_schema("birds").names == ["id", "price"]
        assert connection.adbc_get_table_types() == ["TABLE", "VIEW"]
        info = connection.adbc_get_info()
        assert info["vendor_name"] == "pondflight"
        assert info["vendor_version"].startswith("duckdb v")


def test_current_catalog_and_schema_and_session_options(deployment: Deployment) -> None:
    prefix = "adbc.flight.sql.session.option."
    with deployment.connect("olga", autocommit=True) as connection:
        fetch(connection, "CREATE SCHEMA IF NOT EXISTS office")
        connection.adbc_current_db_schema = "office"
        assert connection.adbc_current_db_schema == "office"
        assert connection.adbc_current_catalog == "memory"
        assert fetch(connection, "SELECT current_schema()") == [("office",)]
        low = connection.adbc_connection
        low.set_options(**{f"{prefix}TimeZone": "Europe/Paris"})
        assert low.get_option(f"{prefix}TimeZone") == "Europe/Paris"
        assert fetch(connection, "SELECT current_setting('TimeZone')") == [("Europe/Paris",)]
    with deployment.connect("olga", autocommit=True) as connection:
        assert fetch(connection, "SELECT current_schema()") == [("main",)]


@pytest.mark.parametrize("user", ["token", "ada"])
def test_user_name_and_password(deployment: Deployment, user: str) -> None:
    options = {"username": user, "password": deployment.token("ada")}
    uri = deployment.flight_uri
    with dbapi.connect(uri, db_kwargs=options, autocommit=True) as connection:
        fetch(connection, "CREATE TEMP TABLE boxes AS SELECT 2 AS n")
        assert fetch(connection, "FROM boxes") == [(2,)]


@pytest.mark.parametrize(("user", "password"), [("bob", None), ("token", "wrong"), ("", None)])
def test_wrong_names_and_passwords_are_told_nothing(
    deployment: Deployment, user: str, password: str | None
) -> None:
    options = {"username": user, "password": password or deployment.token("ada")}
    with pytest.raises((ProgrammingError, OperationalError), match="authentication failed"):
        with dbapi.connect(deployment.flight_uri, db_kwargs=options) as connection:
            fetch(connection, "SELECT 1")


def test_basic_on_every_call_padded_or_not(deployment: Deployment) -> None:
    pair = base64.b64encode(f"token:{deployment.token('ada')}".encode()).decode()
    for encoded in (pair, pair.rstrip("=")):
        options = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Basic {encoded}"}
        with dbapi.connect(deployment.flight_uri, db_kwargs=options) as connection:
            assert fetch(connection, "SELECT 42") == [(42,)]


def test_sessions_by_cookie(deployment: Deployment) -> None:
    options = {DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value: "true"}
    connections = [deployment.connect("ada", autocommit=True, db_kwargs=options) for _ in range(2)]
    for number, connection in enumerate(connections):
        fetch(connection, f"CREATE TEMP TABLE crumbs AS SELECT {number} AS n")
    for number, connection in enumerate(connections):
        assert fetch(connection, "FROM crumbs") == [(number,)]
        connection.close()


def test_cancel_stops_the_statement_within_a_second(deployment: Deployment) -> None:
    with deployment.connect("ada", autocommit=True) as connection:
        with connection.cursor() as cursor:
            threading.Timer(0.7, cursor.adbc_cancel).start()
            started = time.monotonic()
            with pytest.raises(OperationalError, match=r"(?i)cancel"):
                cursor.execute(ENDLESS)
                cursor.fetchall()
            assert time.monotonic() - started < 5
        # The session's cursor is free again: the statement has really ended.
        started = time.monotonic()
        assert fetch(connection, "SELECT 1") == [(1,)]
        assert time.monotonic() - started < 2


def test_the_statement_timeout_of_a_session(deployment: Deployment) -> None:
    with deployment.connect("ada", autocommit=True) as connection:
        fetch(connection, "SET statement_timeout = '500ms'")
        with pytest.raises(OperationalError, match=r"longer than its limit of 0\.5 s"):
            fetch(connection, ENDLESS)
        with pytest.raises(OperationalError, match=r"longer than its limit of 0\.5 s"):
            fetch(connection, f"CREATE TABLE never AS {ENDLESS}")
        fetch(connection, "RESET statement_timeout")
        with pytest.raises(ProgrammingError, match="the server allows 20s at most"):
            fetch(connection, "SET statement_timeout = '1h'")
        assert fetch(connection, "SELECT 1") == [(1,)]


def test_the_clients_own_timeouts_end_the_statement(deployment: Deployment) -> None:
    with deployment.connect("ada", autocommit=True) as connection:
        connection.adbc_connection.set_options(
            **{
                ConnectionOptions.TIMEOUT_FETCH.value: 0.5,
                ConnectionOptions.TIMEOUT_QUERY.value: 5.0,
            }
        )
        with pytest.raises(OperationalError):
            fetch(connection, ENDLESS)
        assert fetch(connection, "SELECT 1") == [(1,)]


def test_several_statements_in_one_string(deployment: Deployment) -> None:
    with deployment.connect("ada", autocommit=True) as connection:
        text = (
            "CREATE TEMP TABLE s AS SELECT 1 AS i; INSERT INTO s VALUES (2); SELECT sum(i) FROM s"
        )
        assert fetch(connection, text) == [(3,)]
        with connection.cursor() as cursor:
            cursor.executescript("DELETE FROM s; INSERT INTO s VALUES (7);")
        assert fetch(connection, "FROM s") == [(7,)]


def test_a_dbt_style_incremental_run(deployment: Deployment) -> None:
    with deployment.connect("ada") as connection:
        fetch(connection, "CREATE OR REPLACE TABLE model (id INTEGER, v VARCHAR)")
        fetch(connection, "INSERT INTO model VALUES (1, 'old'), (2, 'old')")
        connection.commit()
        fetch(connection, "CREATE TEMP TABLE model__tmp AS SELECT 2 AS id, 'new' AS v")
        fetch(connection, "DELETE FROM model WHERE id IN (SELECT id FROM model__tmp)")
        fetch(connection, "INSERT INTO model SELECT * FROM model__tmp")
        fetch(connection, "DROP TABLE model__tmp")
        connection.commit()
        assert fetch(connection, "FROM model ORDER BY id") == [(1, "old"), (2, "new")]


def test_statements_prepared_before_a_restart_of_the_worker_still_run(deploy: Deploy) -> None:
    deployment = deploy({"containers": {"idle_timeout": "1s"}})
    with deployment.connect("ada", autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT ? + 1", (1,))
        assert cursor.fetchall() == [(2,)]
        wait_until(lambda: "reason=idle_timeout" in deployment.log(), 30)
        cursor.execute("SELECT ? + 1", (2,))
        assert cursor.fetchall() == [(3,)]


def test_sessions_are_capped_and_end_when_they_are_closed(deploy: Deploy) -> None:
    deployment = deploy({"sessions": {"max_per_user": 2}})
    open_ones = [deployment.connect("ada", autocommit=True) for _ in range(2)]
    for connection in open_ones:
        fetch(connection, "CREATE TEMP TABLE mine (i INT)")
    with deployment.connect("ada", autocommit=True) as third:
        assert fetch(third, "SELECT 1") == [(1,)]
        with pytest.raises(OperationalError, match=r"sessions\.max_per_user"):
            fetch(third, "CREATE TEMP TABLE mine (i INT)")
        open_ones[0].close()
        fetch(third, "CREATE TEMP TABLE mine (i INT)")
    open_ones[1].close()


def test_idle_sessions_end(deploy: Deploy) -> None:
    deployment = deploy({"sessions": {"idle_timeout": "1s"}})
    with deployment.connect("ada", autocommit=True) as connection:
        fetch(connection, "CREATE TEMP TABLE mine (i INT)")
        time.sleep(8)  # longer than the timeout and the interval of the sweep
        with pytest.raises(ProgrammingError, match="does not exist"):
            fetch(connection, "FROM mine")


def test_batches_larger_than_the_clients_limit_are_cut(deployment: Deployment) -> None:
    with deployment.connect("ada") as connection, connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**{StatementOptions.QUEUE_SIZE.value: 2})
        cursor.execute("SELECT repeat('x', 1000000) AS s FROM range(40)")
        assert cursor.fetch_arrow_table().num_rows == 40
