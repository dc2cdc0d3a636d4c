"""Every known way out of the sandbox, tried by an ADBC client through the whole product."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from adbc_driver_flightsql import dbapi

from integration.conftest import Deploy
from integration.databases.support import NO_LIMITS, failure, rows, succeeds
from integration.deployment import Deployment
from integration.servers import MariaDB, Postgres
from integration.tools import family
from tests.engine.sandbox_corpus import (
    DATABASES,
    FILES,
    FREE,
    OUTSIDE,
    OUTSIDE_WORLD,
    SETTINGS,
    lines,
)

# {port} and {port_too} are PostgreSQL's and MariaDB's own.
SERVERS = """
INSERT INTO sales.public.orders SELECT * FROM sales.public.orders
UPDATE sales.public.orders SET o_orderstatus = 'X'
DELETE FROM sales.public.orders
DROP TABLE sales.public.orders
CREATE TABLE sales.public.mine (i INTEGER)
CREATE VIEW sales.public.mine AS SELECT 1
CREATE SCHEMA sales.mine
ALTER TABLE sales.public.orders RENAME TO gone
TRUNCATE sales.public.orders
COPY sales.public.orders FROM 'mine.csv'
CREATE INDEX mine ON sales.public.orders (o_custkey)
USE sales; CREATE TABLE mine (i INTEGER)
BEGIN; DELETE FROM sales.public.orders
INSERT INTO crm.customer SELECT * FROM crm.customer
UPDATE crm.customer SET c_name = ''
DELETE FROM crm.customer
DROP TABLE crm.customer
CREATE TABLE crm.mine (i INTEGER)
CREATE SCHEMA crm.mine
DROP SCHEMA crm.crm
CALL postgres_execute('sales', 'DELETE FROM orders')
CALL postgres_execute('sales', 'COMMIT; DELETE FROM orders')
CALL postgres_execute('sales', 'SET TRANSACTION READ WRITE; DELETE FROM orders')
FROM postgres_query('sales', 'SELECT 1')
FROM postgres_query('sales', 'DELETE FROM orders RETURNING 1')
CALL mysql_execute('crm', 'DELETE FROM customer')
FROM mysql_query('crm', 'SELECT LOAD_FILE(''/etc/passwd'')')
FROM postgres_scan('host=127.0.0.1 port={port} user=reader dbname=shop', 'public', 'orders')
CALL postgres_attach('host=127.0.0.1 port={port} user=reader dbname=shop')
ATTACH 'host=127.0.0.1 port={port} user=reader dbname=shop' AS x (TYPE postgres)
ATTACH 'host=127.0.0.1 port={port_too} user=reader database=crm' AS x (TYPE mysql)
ATTACH '' AS x (TYPE postgres)
DETACH sales
DETACH crm
ATTACH ':memory:' AS sales
ATTACH OR REPLACE ':memory:' AS crm
FROM sales.pg_catalog.pg_read_file('/etc/passwd')
SELECT * FROM sales.public.pg_read_file('/etc/passwd')
SET pg_connection_limit = 1000
SET pg_debug_show_queries = true
SET mysql_debug_show_queries = true
SET mysql_session_time_zone = 'UTC'
SELECT * FROM read_csv('http://127.0.0.1:{port}/')
"""


@dataclass(frozen=True)
class Prison:
    """A user in the sandbox, and the places that the statements name."""

    connection: dbapi.Connection
    places: dict[str, Any]
    worker: Path


@pytest.fixture(name="places", scope="module")
def fixture_places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("outside")
    outside, shop = folder / OUTSIDE, folder / "shop.db"
    outside.write_text("a\nsecret\n")
    with closing(sqlite3.connect(shop)) as source, source:
        source.execute("CREATE TABLE goods (id INTEGER)")
        source.execute("INSERT INTO goods VALUES (1)")
    archive = folder / "arch.duckdb"
    with duckdb.connect(archive) as made:
        made.execute("CREATE TABLE goods AS SELECT 1 AS id")
    return {"outside": str(outside), "name": OUTSIDE, "shop": str(shop), "arch": str(archive)}


@pytest.fixture(name="jail", scope="module")
def fixture_jail(
    deploy: Deploy, places: dict[str, Any], postgres: Postgres, mariadb: MariaDB
) -> Deployment:
    entries = [
        {"alias": "shop", "type": "sqlite", "connection_string": places["shop"]},
        {"alias": "arch", "type": "duckdb", "connection_string": places["arch"]},
        {"alias": "sales", "type": "postgres", "connection_string": postgres.url("shop")},
        {"alias": "crm", "type": "mysql", "connection_string": mariadb.url("crm")},
    ]
    return deploy({"duckdb": {"attached_databases": entries}, "security": NO_LIMITS})


@pytest.fixture(name="prison", scope="module")
def fixture_prison(
    jail: Deployment, places: dict[str, Any], postgres: Postgres, mariadb: MariaDB
) -> Iterator[Prison]:
    with jail.connect(autocommit=True) as connection:
        rows(connection, "CREATE TABLE t (i INT)")
        worker = _folder(jail)
        more = {
            "files": str(worker / "files"),
            "port": postgres.port,
            "port_too": mariadb.port,
        }
        yield Prison(connection, places | more, worker)


@pytest.fixture(name="granted", autouse=True, scope="module")
def fixture_granted(postgres: Postgres, mariadb: MariaDB) -> Iterator[None]:
    """Allow the login to write, so that the server is not what keeps the user from it."""
    postgres.run(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {postgres.user}", "shop")
    postgres.run(f"GRANT ALL ON SCHEMA public TO {postgres.user}", "shop")
    mariadb.run(f"GRANT ALL ON crm.* TO {mariadb.user}@'%'")
    yield
    postgres.run(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {postgres.user}", "shop")
    postgres.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {postgres.user}", "shop")
    postgres.run(f"REVOKE ALL ON SCHEMA public FROM {postgres.user}", "shop")
    mariadb.run(f"REVOKE ALL ON crm.* FROM {mariadb.user}@'%'")
    mariadb.run(f"GRANT SELECT ON crm.* TO {mariadb.user}@'%'")


def _go_home(connection: dbapi.Connection) -> None:
    """Undo what a statement may have changed in the session."""
    succeeds(connection, "ROLLBACK")
    rows(connection, "USE memory")


def _folder(deployment: Deployment) -> Path:
    """Return the directory of the only worker."""
    assert deployment.process is not None
    for pid in family(deployment.process.pid):
        if "worker" in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
            return Path(f"/proc/{pid}/cwd").readlink().parent
    raise AssertionError("there is no worker")


@pytest.mark.parametrize(
    "sql",
    [sql for text in (FILES, DATABASES, SETTINGS, OUTSIDE_WORLD, SERVERS) for sql in lines(text)],
)
def test_there_is_no_way_out(prison: Prison, sql: str) -> None:
    before = sorted(path.name for path in prison.worker.iterdir())
    archive = Path(prison.places["arch"]).read_bytes()
    told = failure(prison.connection, sql.format(**prison.places))
    assert "Traceback" not in told
    _go_home(prison.connection)
    assert sorted(path.name for path in prison.worker.iterdir()) == before
    assert not list(Path("/tmp").glob("owned*"))
    assert Path(prison.places["arch"]).read_bytes() == archive
    assert rows(prison.connection, "SELECT * FROM shop.goods") == [(1,)]
    assert rows(prison.connection, "SELECT * FROM arch.goods") == [(1,)]
    assert rows(
        prison.connection,
        "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM sales.public.orders),"
        " (SELECT count(*) FROM crm.customer), current_setting('threads'),"
        " current_setting('memory_limit')",
    ) == [(0, 3000, 300, 1, "409.5 MiB")]


def test_the_servers_were_asked_for_nothing_but_rows(
    prison: Prison, postgres: Postgres, mariadb: MariaDB
) -> None:

    def logs() -> tuple[str, str]:
        general = (mariadb.folder / "general.log").read_text("utf-8", "replace")
        return postgres.log(), general

    before = logs()
    for sql in lines(SERVERS):
        failure(prison.connection, sql.format(**prison.places))
        _go_home(prison.connection)
    asked = "".join(log[len(old) :] for log, old in zip(logs(), before, strict=True))
    assert "mysql_query" not in asked
    assert not re.search(r"DELETE FROM|LOAD_FILE|UPDATE .*SET|DROP TABLE|pg_read_file\(", asked)


@pytest.mark.parametrize("sql", lines(FREE))
def test_ones_own_work_stays_free(jail: Deployment, prison: Prison, sql: str) -> None:
    (prison.worker / "files" / "mine.csv").write_text("i\n1\n")
    with jail.connect(autocommit=True) as connection:
        # Another test's statement may have left something, although it failed or timed out.
        rows(connection, "USE memory; DETACH DATABASE IF EXISTS mine")
        (prison.worker / "files" / "mine.db").unlink(missing_ok=True)
        rows(connection, "DROP SCHEMA IF EXISTS work CASCADE; CREATE SCHEMA work; USE work")
        rows(connection, "CREATE TABLE t (i INT)")
        rows(connection, sql.format(**prison.places))
        assert rows(connection, "SELECT 1") == [(1,)]
