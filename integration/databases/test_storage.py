"""Users' own tables in persistent storage: across workers and restarts, up to a limit."""

from __future__ import annotations

import threading
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from adbc_driver_flightsql import dbapi

from integration.conftest import Deploy
from integration.databases.support import NO_LIMITS, eventually, failure, rows, succeeds
from integration.deployment import Deployment


@pytest.fixture(name="directory", scope="module")
def fixture_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(name="kept", scope="module")
def fixture_kept(deploy: Deploy, directory: Path, entries: list[dict[str, Any]]) -> Deployment:
    return deploy(
        {
            "containers": {"idle_timeout": "1s"},
            "security": NO_LIMITS,
            "duckdb": {
                "attached_databases": entries,
                "storage": "persistent",
                "storage_directory": str(directory),
                "storage_limit": "16m",
            },
        }
    )


def _own_tables(connection: dbapi.Connection) -> list[tuple[Any, ...]]:
    return rows(connection, "SELECT table_name FROM duckdb_tables() WHERE database_name = 'home'")


def test_tables_outlive_the_idle_stop_and_the_proxy(kept: Deployment) -> None:
    with kept.connect("ann", autocommit=True) as connection:
        rows(connection, "CREATE TABLE mine AS SELECT c_name FROM crm.customer LIMIT 3")
        rows(connection, "CREATE VIEW ours AS SELECT count(*) AS n FROM shop.public.orders")
        rows(connection, "CREATE TEMP TABLE passing AS SELECT 1")
    stopped = kept.log().count("idle_timeout")
    eventually(lambda: kept.log().count("idle_timeout") > stopped)
    with kept.connect("ann", autocommit=True) as connection:
        assert rows(connection, "SELECT count(*) FROM mine") == [(3,)]
        assert rows(connection, "FROM ours") == [(3000,)]
        assert "does not exist" in failure(connection, "FROM passing")
    kept.stop()
    kept.start()
    with kept.connect("ann", autocommit=True) as connection:
        assert rows(connection, "SELECT count(*) FROM home.mine") == [(3,)]


def test_nobody_sees_the_tables_of_another(kept: Deployment) -> None:
    for user in ("bob", "Bob", "bob/../ann", "../ann", "ann\u0301"):
        with kept.connect(user, autocommit=True) as connection:
            assert _own_tables(connection) == []
            rows(connection, "CREATE TABLE mine AS SELECT 1 AS n")


def test_the_directory_tells_no_name_and_no_password(
    kept: Deployment, directory: Path, entries: list[dict[str, Any]]
) -> None:
    with kept.connect("a-name-to-look-for", autocommit=True) as connection:
        rows(connection, "CREATE TABLE mine AS SELECT 1 AS n")
        rows(connection, "CREATE VIEW ours AS FROM shop.public.orders")
    passwords = [entry["connection_string"].partition("%20")[2][:16] for entry in entries[:2]]
    assert all(passwords)
    for path in directory.rglob("*"):
        assert "a-name-to-look-for" not in str(path)
        if path.is_dir():
            assert path.stat().st_mode & 0o077 == 0
            assert len(path.name) == 64
        else:
            data = path.read_bytes()
            assert not [one for one in passwords if one.encode() in data]


def test_what_is_too_much_is_refused_and_room_can_be_made(kept: Deployment) -> None:
    with kept.connect("greedy", autocommit=True) as connection:
        rows(connection, "CREATE TABLE small AS SELECT 1 AS n")
        big = "SELECT md5(range::VARCHAR) AS m FROM range({rows})"
        told = failure(connection, f"CREATE TABLE big AS {big.format(rows=5_000_000)}")
        assert "your storage is full" in told
        parts = (f"CREATE TABLE part{n} AS {big.format(rows=50_000)}" for n in range(40))
        fitting = len(list(takewhile(partial(succeeds, connection), parts)))
        assert 1 < fitting < 40
        assert rows(connection, "FROM small") == [(1,)]
        told = failure(connection, "INSERT INTO small VALUES (2)")
        assert "your storage is full (16m, duckdb.storage_limit)" in told
        assert rows(connection, "SELECT count(*) FROM part0") == [(50_000,)]
        for other in range(fitting):
            rows(connection, f"DROP TABLE part{other}")
        rows(connection, "INSERT INTO small VALUES (2)")
        assert rows(connection, "SELECT count(*) FROM small") == [(2,)]


def test_memory_is_the_default_and_ends_with_the_worker(deploy: Deploy) -> None:
    deployment = deploy({"containers": {"idle_timeout": "1s"}})
    with deployment.connect("ann", autocommit=True) as connection:
        rows(connection, "CREATE TABLE mine AS SELECT 1 AS n")
    eventually(lambda: "idle_timeout" in deployment.log())
    with deployment.connect("ann", autocommit=True) as connection:
        assert "does not exist" in failure(connection, "FROM mine")


def test_two_connections_share_the_storage(kept: Deployment) -> None:
    with (
        kept.connect("carl", autocommit=True) as one,
        kept.connect("carl", autocommit=True) as two,
    ):
        rows(one, "CREATE TABLE shared (n INTEGER)")

        def insert() -> None:
            for number in range(20):
                rows(two, f"INSERT INTO shared VALUES ({number})")

        thread = threading.Thread(target=insert)
        thread.start()
        for number in range(20):
            rows(one, f"INSERT INTO shared VALUES ({number})")
        thread.join()
        assert rows(one, "SELECT count(*), sum(n) FROM shared") == [(40, 380)]
