"""One PostgreSQL, one MariaDB and one SQLite file for all suites, with TPC-H's tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.conftest import Deploy
from integration.databases import tpch
from integration.databases.support import NO_LIMITS
from integration.deployment import Deployment
from integration.servers import MariaDB, Postgres


@pytest.fixture(scope="session", name="sqlite_file")
def fixture_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sqlite") / "warehouse.db"


@pytest.fixture(scope="session", name="tpch_servers")
def fixture_tpch_servers(sqlite_file: Path) -> Iterator[tuple[Postgres, MariaDB]]:
    postgres, mariadb = Postgres("log_statement=all"), MariaDB("--general-log")
    try:
        for server in (postgres, mariadb):
            server.start()
        tpch.load(postgres, mariadb, sqlite_file)
        yield postgres, mariadb
    finally:
        postgres.close()
        mariadb.close()


@pytest.fixture(scope="session", name="postgres")
def fixture_postgres(tpch_servers: tuple[Postgres, MariaDB]) -> Postgres:
    """Return a PostgreSQL with the database ``shop``, which logs all statements."""
    return tpch_servers[0]


@pytest.fixture(scope="session", name="mariadb")
def fixture_mariadb(tpch_servers: tuple[Postgres, MariaDB]) -> MariaDB:
    """Return a MariaDB with the database ``crm``, which logs all statements."""
    return tpch_servers[1]


@pytest.fixture(scope="session", name="entries")
def fixture_entries(
    postgres: Postgres, mariadb: MariaDB, sqlite_file: Path
) -> list[dict[str, Any]]:
    """Return the three databases as ``duckdb.attached_databases``."""
    return [
        {"alias": "shop", "type": "postgres", "connection_string": postgres.url("shop")},
        {"alias": "crm", "type": "mysql", "connection_string": mariadb.url("crm")},
        {"alias": "warehouse", "type": "sqlite", "connection_string": str(sqlite_file)},
    ]


@pytest.fixture(scope="module", name="three")
def fixture_three(deploy: Deploy, entries: list[dict[str, Any]]) -> Deployment:
    """Return a deployment with the three databases attached."""
    return deploy({"duckdb": {"attached_databases": entries}, "security": NO_LIMITS})
