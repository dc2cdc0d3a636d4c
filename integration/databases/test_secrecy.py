"""Looks for planted passwords in everything that users can reach and that we write."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from adbc_driver_flightsql import dbapi
from adbc_driver_manager import Error

from integration.conftest import Deploy
from integration.databases.support import NO_LIMITS, failure, rows
from integration.deployment import PROGRAM, Deployment
from integration.servers import MariaDB, Postgres
from integration.tools import family
from tests.ports import free_ports

WRONG = "planted1wrong2password3"
"""Of logins that the servers refuse."""


@dataclass(frozen=True)
class Planted:
    """A deployment, and the texts that must not be found."""

    deployment: Deployment
    marks: list[str]
    entries: list[dict[str, Any]]

    def assert_absent(self, text: object, where: str) -> None:
        """Fail if a password, or a part of a connection string, is in ``text``."""
        lowered = str(text).lower()
        for mark in self.marks:
            # A port counts only as a number of its own: longer numbers contain any five digits by
            # chance, and a number alone in a row is an object's.
            pattern = rf"(?<!, )(?<!\()\b{mark}\b" if mark.isdigit() else re.escape(mark.lower())
            found = re.search(pattern, lowered)
            assert found is None, f"{mark} is in {where}"


@pytest.fixture(name="planted", scope="module")
def fixture_planted(
    deploy: Deploy, entries: list[dict[str, Any]], postgres: Postgres, mariadb: MariaDB
) -> Planted:
    (closed,) = free_ports(1)
    nobody = f"reader:{WRONG}@127.0.0.1:{closed}"
    more = [
        ("refused", "postgres", postgres.url("shop", password=WRONG)),
        ("refused_too", "mysql", mariadb.url("crm", password=WRONG)),
        ("gone", "postgres", f"postgresql://{nobody}/shop"),
        ("gone_too", "mysql", f"mysql://{nobody}/crm"),
        ("no_such", "postgres", postgres.url("nope")),
        ("no_such_too", "mysql", mariadb.url("nope")),
        ("encrypted", "postgres", postgres.url("shop", sslmode="require")),
        ("encrypted_too", "mysql", mariadb.url("crm", ssl_mode="verify_identity")),
        # Without a gate, the client library connects directly.
        (
            "several",
            "postgres",
            postgres.url("shop").replace("@127.0.0.1", "@127.0.0.1:1,127.0.0.1"),
        ),
        (
            "several_refused",
            "postgres",
            f"postgresql://reader:{WRONG}@127.0.0.1:1,127.0.0.1:{postgres.port}/shop",
        ),
    ]
    all_of_them = entries + [
        {"alias": alias, "type": system, "connection_string": url} for alias, system, url in more
    ]
    # The file has the names of variables, as the documentation has it.
    environ = {
        f"{entry['alias'].upper()}_URL": str(entry["connection_string"]) for entry in all_of_them
    }
    written = [
        entry | {"connection_string": f"${{{entry['alias'].upper()}_URL}}"} for entry in all_of_them
    ]
    init = f"CREATE SECRET theirs (TYPE postgres, PASSWORD '{WRONG}')"
    deployment = deploy(
        {"duckdb": {"attached_databases": written, "init_sql": init}, "security": NO_LIMITS},
        environ,
    )
    marks = [postgres.mark, mariadb.mark, WRONG, str(closed), str(postgres.port)]
    return Planted(deployment, marks, all_of_them)


@pytest.fixture(name="connection", scope="module")
def fixture_connection(planted: Planted) -> Iterator[dbapi.Connection]:
    with planted.deployment.connect(autocommit=True) as connection:
        _wait_for_servers(connection)
        yield connection


def _wait_for_servers(connection: dbapi.Connection) -> None:
    """Wait until all servers are attached: an earlier test may have stopped one."""
    counts = {"shop.public.orders": 3000, "several.public.orders": 3000, "crm.customer": 300}
    deadline = time.monotonic() + 30
    for table, count in counts.items():
        while True:
            try:
                assert rows(connection, f"SELECT count(*) FROM {table}") == [(count,)]
                break
            except Error:
                assert time.monotonic() < deadline, f"{table} does not come back"
                time.sleep(0.2)


def test_the_marks_are_parts_of_what_is_hidden(planted: Planted) -> None:
    with pytest.raises(AssertionError, match="is in the plain text"):
        planted.assert_absent(planted.entries[0]["connection_string"], "the plain text")


def test_no_function_of_the_catalog_tells(planted: Planted, connection: dbapi.Connection) -> None:
    found = rows(
        connection,
        "SELECT DISTINCT schema_name, function_name, function_type FROM duckdb_functions()"
        " WHERE len(parameters) = 0 AND function_type IN ('table', 'pragma', 'scalar')"
        " AND database_name = 'system'",
    )
    told = 0
    for schema, name, kind in found:
        if kind == "scalar":
            sql = f'SELECT system."{schema}"."{name}"()'
        else:
            sql = f'FROM "{name}"()' if kind == "table" else f'PRAGMA "{name}"'
        with connection.cursor() as cursor:
            try:
                cursor.execute(sql)
                text = str(cursor.fetchall())
                told += 1
            except Error as error:
                text = str(error)
        planted.assert_absent(text, sql)
    assert told > 50


def test_no_system_view_tells(planted: Planted, connection: dbapi.Connection) -> None:
    views = rows(
        connection,
        "SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = 'system'",
    )
    assert len(views) > 20
    for schema, view in views:
        sql = f'SELECT * FROM system."{schema}"."{view}"'
        with connection.cursor() as cursor:
            try:
                cursor.execute(sql)
                text = str(cursor.fetchall())
            except Error as error:
                text = str(error)
        planted.assert_absent(text, sql)
    assert rows(connection, "SELECT name FROM duckdb_secrets()") == [("theirs",)]


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN {query}",
        "EXPLAIN ANALYZE {query}",
        "EXPLAIN (FORMAT json) {query}",
        "EXPLAIN (ANALYZE, FORMAT json) {query}",
        "DESCRIBE {query}",
        "SUMMARIZE {query}",
        "SELECT json_serialize_sql('{query}')",
        "SHOW ALL TABLES",
        "SHOW DATABASES",
        "PRAGMA database_list",
        "PRAGMA database_size",
        "FROM which_secret('postgres://', 'postgres')",
        "FROM which_secret('', 'mysql')",
        "FROM duckdb_secrets(redact := false)",
        "SELECT current_setting('allow_unredacted_secrets')",
        "SELECT getenv('SHOP_URL')",
        "SELECT * FROM shop.pg_catalog.pg_stat_activity",
        "SELECT * FROM shop.pg_catalog.pg_roles",
        "SELECT * FROM shop.pg_catalog.pg_shadow",
        "SELECT * FROM crm.information_schema.PROCESSLIST",
        "SELECT * FROM crm.information_schema.USER_PRIVILEGES",
        "FROM read_text('/proc/self/environ')",
        "FROM read_text('/proc/self/cmdline')",
        "FROM read_blob('/proc/self/mem')",
        "FROM glob('/**')",
    ],
)
def test_neither_plans_nor_ways_out_tell(
    planted: Planted, connection: dbapi.Connection, sql: str
) -> None:
    query = (
        "SELECT * FROM shop.public.orders AS o JOIN crm.customer AS c ON c_custkey = o_custkey"
        " JOIN several.public.orders AS s ON s.o_orderkey = o.o_orderkey"
        " JOIN warehouse.part ON p_partkey = s.o_orderkey"
    )
    try:
        text = str(rows(connection, sql.format(query=query)))
    except Error as error:
        text = str(error)
    planted.assert_absent(text, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "FROM {alias}.public.nope",
        "FROM {alias}.nope.nope",
        "FROM {alias}.nope",
        "CREATE TABLE {alias}.nope (i INTEGER)",
        "INSERT INTO {alias}.nope VALUES (1)",
        "USE {alias}.nope",
        "DETACH {alias}",
        "ATTACH OR REPLACE ':memory:' AS {alias}",
        "DROP SECRET {alias}",
        "FROM postgres_query('{alias}', 'SELECT nope')",
        "FROM mysql_query('{alias}', 'SELECT nope')",
        "CALL postgres_execute('{alias}', 'SELECT nope')",
        "FROM sqlite_query('{alias}', 'SELECT nope')",
        "CALL pg_clear_cache(); FROM {alias}.nope",
    ],
)
def test_no_error_tells(planted: Planted, connection: dbapi.Connection, sql: str) -> None:
    for entry in planted.entries:
        text = sql.format(alias=entry["alias"])
        planted.assert_absent(failure(connection, text), text)


@pytest.mark.parametrize(
    "alias", ["refused", "refused_too", "no_such", "no_such_too", "encrypted", "several_refused"]
)
def test_a_refused_login_is_told_by_its_alias_alone(
    connection: dbapi.Connection, alias: str
) -> None:
    told = failure(connection, f"FROM {alias}.public.orders")
    assert f"database '{alias}' cannot be attached" in told
    assert "reader" not in told
    assert "127.0.0.1" not in told


def test_no_metadata_of_flight_sql_tells(planted: Planted, connection: dbapi.Connection) -> None:
    _wait_for_servers(connection)
    objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    planted.assert_absent(objects, "GetObjects")
    planted.assert_absent(connection.adbc_get_info(), "GetInfo")
    schema = connection.adbc_get_table_schema(
        "orders", catalog_filter="shop", db_schema_filter="public"
    )
    planted.assert_absent([(field, field.metadata) for field in schema], "the schema")
    assert {one["catalog_name"] for one in objects} >= {"shop", "crm", "warehouse", "several"}


def test_a_server_that_goes_away_tells_nothing(
    planted: Planted, connection: dbapi.Connection, postgres: Postgres, mariadb: MariaDB
) -> None:
    for server, sql in (
        (postgres, "SELECT count(*) FROM shop.public.orders"),
        (mariadb, "SELECT count(*) FROM crm.customer"),
    ):
        server.stop()
        try:
            for _ in range(3):
                planted.assert_absent(failure(connection, sql), sql)
        finally:
            server.start()


def test_nothing_that_we_write_tells(planted: Planted, connection: dbapi.Connection) -> None:
    rows(connection, "COPY (FROM duckdb_databases()) TO 'databases.csv'")
    deployment = planted.deployment
    assert deployment.process is not None
    planted.assert_absent(deployment.log(), "the log")
    assert "Database cannot be attached" in deployment.log()
    processes = family(deployment.process.pid)
    assert len(processes) > 2
    workers = 0
    for pid in processes:
        planted.assert_absent(_read(pid, "cmdline"), "a command line")
        if pid != deployment.process.pid:  # to which the operator gave the variables
            planted.assert_absent(_read(pid, "environ"), "an environment")
        if "worker" in _read(pid, "cmdline").split("\0"):
            workers += 1
            folder = Path(f"/proc/{pid}/cwd").readlink().parent
            for path in folder.rglob("*"):
                planted.assert_absent(path.name, "a file's name")
                if path.is_file() and not path.is_symlink():
                    planted.assert_absent(path.read_bytes().decode("latin-1"), str(path))
    assert workers == 1
    for url in ("/health", "/ready", "/health/detailed"):
        planted.assert_absent(deployment.get(url), url)


def test_check_prints_no_password(planted: Planted) -> None:
    environ = os.environ | {
        f"{entry['alias'].upper()}_URL": entry["connection_string"] for entry in planted.entries
    }
    command = [*PROGRAM, "check", "--config", str(planted.deployment.config_file)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    planted.assert_absent(done.stdout + done.stderr, "what check prints")
    assert "alias: refused" in done.stdout


def _read(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_bytes().decode("utf-8", "replace")
