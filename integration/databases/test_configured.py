"""What a configuration can enable: writing, SQL at the start, extensions, no sandbox."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from adbc_driver_flightsql import dbapi

from integration.conftest import Deploy
from integration.databases.support import failure, rows
from integration.deployment import PROGRAM, Deployment
from integration.servers import MariaDB, Postgres


@pytest.fixture(name="writable", scope="module")
def fixture_writable(
    deploy: Deploy, postgres: Postgres, mariadb: MariaDB, tmp_path_factory: pytest.TempPathFactory
) -> Deployment:
    folder = tmp_path_factory.mktemp("files")
    postgres.run(f"CREATE DATABASE notes OWNER {postgres.user}")
    mariadb.run(f"CREATE DATABASE notes; GRANT ALL ON notes.* TO {mariadb.user}@'%'")
    (folder / "local.db").touch()
    urls = {
        "pg": ("postgresql", postgres.url("notes")),
        "my": ("mysql", mariadb.url("notes")),
        "lite": ("sqlite", str(folder / "local.db")),
    }
    entries = [
        {"alias": alias, "type": system, "connection_string": url, "read_only": False}
        for alias, (system, url) in urls.items()
    ]
    # As an administrator may write them.
    ways = {
        "pg_ro": ("postgres", postgres.url("shop", sslmode="prefer", application_name="it's")),
        "pg_options": ("postgres", postgres.url("shop", options="-c search_path=pg_catalog")),
        "my_ro": ("mysql", mariadb.url("crm", ssl_mode="disabled")),
    }
    entries += [
        {"alias": alias, "type": system, "connection_string": url}
        for alias, (system, url) in ways.items()
    ]
    init = """
        CREATE TABLE greeting AS SELECT 'hello' AS word; -- a comment; with a semicolon
        CREATE VIEW big_orders AS SELECT * FROM pg_ro.public.orders WHERE o_totalprice > 400000;
        CREATE MACRO in_euros(x) AS x * 0.9;
        SET default_null_order = 'nulls_first'
    """
    return deploy({"duckdb": {"attached_databases": entries, "init_sql": init}})


def _write(connection: dbapi.Connection, alias: str) -> None:
    rows(connection, f"CREATE TABLE {alias}.note (id INTEGER, text VARCHAR)")
    rows(connection, f"INSERT INTO {alias}.note VALUES (1, 'one'), (2, NULL)")
    rows(connection, f"UPDATE {alias}.note SET text = 'two' WHERE id = 2")
    rows(connection, f"DELETE FROM {alias}.note WHERE id = 1")
    assert rows(connection, f"FROM {alias}.note") == [(2, "two")]


@pytest.mark.parametrize("alias", ["pg.public", "my", "lite"])
def test_a_database_that_may_be_written_to(writable: Deployment, alias: str) -> None:
    with writable.connect(autocommit=True) as connection:
        _write(connection, alias)
    with writable.connect("somebody else", autocommit=True) as connection:
        assert rows(connection, f"FROM {alias}.note") == [(2, "two")]


def test_a_duckdb_file_has_one_writer_at_a_time(deploy: Deploy, tmp_path: Path) -> None:
    path = tmp_path / "archive.duckdb"
    duckdb.connect(path).close()
    entry = {"alias": "duck", "type": "duckdb", "connection_string": str(path), "read_only": False}
    deployment = deploy({"duckdb": {"attached_databases": [entry]}})
    with deployment.connect("ada", autocommit=True) as first:
        _write(first, "duck.main")
        # Her worker starts as soon as she connects, so not before the other one has the file.
        with deployment.connect("bea", autocommit=True) as second:
            told = failure(second, "CREATE TABLE duck.main.other (i INTEGER)")
            assert "database 'duck' cannot be opened" in told
            assert "archive.duckdb" not in told
            assert rows(second, "SELECT 1") == [(1,)]


def test_options_of_libpq_reach_the_server(writable: Deployment) -> None:
    with writable.connect(autocommit=True) as connection:
        asked = (
            "SELECT application_name FROM {alias}.pg_catalog.pg_stat_activity"
            " WHERE query LIKE '%pg_stat_activity%' AND state = 'active'"
        )
        assert ("it's",) in rows(connection, asked.format(alias="pg_ro"))
        assert ("pondflight",) in rows(connection, asked.format(alias="pg_options"))
        found = rows(
            connection,
            "SELECT setting FROM pg_options.pg_catalog.pg_settings WHERE name = 'search_path'",
        )
        assert found == [("pg_catalog",)]


def test_sql_of_the_administrator_has_run_before_the_user_comes(writable: Deployment) -> None:
    with writable.connect("new", autocommit=True) as connection:
        assert rows(connection, "FROM greeting") == [("hello",)]
        assert rows(connection, "SELECT count(*) > 0 FROM big_orders") == [(True,)]
        assert rows(connection, "SELECT in_euros(10)") == [(9,)]


def test_sql_of_the_administrator_that_fails_is_named_by_its_number(deploy: Deploy) -> None:
    init = "SELECT 1; SELECT 2;\nSELECT * FROM nowhere WHERE x = 'hidden-in-sql'; SELECT 4"
    deployment = deploy({"duckdb": {"init_sql": init}})
    with deployment.connect(autocommit=True) as connection:
        assert "could not be started" in failure(connection, "SELECT 1")
    assert "duckdb.init_sql: statement 3 failed: Catalog Error" in deployment.log()
    assert "hidden-in-sql" not in deployment.log()


def test_without_the_sandbox_files_are_open_and_the_log_warns(
    deploy: Deploy, tmp_path: Path
) -> None:
    deployment = deploy({"duckdb": {"sandbox": False}})
    (tmp_path / "a.csv").write_text("n\n1\n")
    with deployment.connect(autocommit=True) as connection:
        assert rows(connection, f"FROM read_csv('{tmp_path / 'a.csv'}')") == [(1,)]
    assert 'level=warn msg="Sandbox is switched off"' in deployment.log()


def test_limits_of_a_worker_are_those_of_its_duckdb(deploy: Deploy) -> None:
    deployment = deploy(
        {
            "containers": {"memory_limit": "1g", "cpu_limit": 2},
            "duckdb": {"scratch_limit": "100m"},
        }
    )
    with deployment.connect(autocommit=True) as connection:
        ((threads, memory, size),) = rows(
            connection,
            "SELECT current_setting('threads'), current_setting('memory_limit'),"
            " current_setting('max_temp_directory_size')",
        )
        assert (threads, memory, size) == (2, "819.1 MiB", "100.0 MiB")
        told = failure(
            connection,
            "SELECT count(*) FROM (SELECT range AS i, md5(range::VARCHAR) AS m,"
            " sha256(range::VARCHAR) AS s FROM range(20000000) ORDER BY m, s)",
        )
        assert "max_temp_directory_size" in told
        assert rows(connection, "SELECT 1") == [(1,)]


def _check(folder: Path, config: dict[str, Any], **environ: str) -> tuple[int, str]:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config), "utf-8")
    done = subprocess.run(
        [*PROGRAM, "check", "--config", str(file)],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


BAD = {
    "duckdb": {
        "extensions": ["postgres", "spatial", "httpfs"],
        "storage": "persistent",
        "storage_directory": "/nonexistent/storage",
        "attached_databases": [
            {"alias": "a", "type": "oracle", "connection_string": "oracle://h/d"},
            {"alias": "b", "type": "sqlite", "connection_string": "/nonexistent/b.db"},
            {"alias": "B", "type": "duckdb", "connection_string": "relative.duckdb"},
            {"alias": "pg_catalog", "type": "postgres", "connection_string": "postgresql://h/d"},
            {"alias": "c", "type": "postgres", "connection_string": "postgresql://u:p/w@h/d"},
            {"alias": "d", "type": "mysql", "connection_string": "mysql://u:${NO_SUCH_NAME}@h/d"},
            {"alias": "e", "type": "postgres", "connection_string": "postgresql://h/d?sslmod=x"},
        ],
    }
}


def test_check_and_serve_name_all_mistakes_at_once(tmp_path: Path, deploy: Deploy) -> None:
    code, told = _check(tmp_path, BAD)
    assert code == 2
    for mistake in (
        "duckdb.extensions",
        "spatial",
        "duckdb.attached_databases[0].type",
        "duckdb.attached_databases[1].connection_string: *** is not a file that exists",
        "duckdb.attached_databases[2].connection_string: *** is not an absolute path",
        "duckdb.attached_databases[3].alias",
        "duckdb.attached_databases[4].connection_string: *** is not a URL",
        "NO_SUCH_NAME",
        "did you mean sslmode?",
        "two databases must not have the alias",
    ):
        assert mistake in told, mistake
    with pytest.raises(AssertionError) as caught:
        deploy(BAD)
    for line in told.split("\n"):
        if line.strip().startswith(("duckdb", "- duckdb")) and "config.yaml" not in line:
            assert line.strip() in str(caught.value)


def test_check_names_what_is_not_installed(tmp_path: Path) -> None:
    code, told = _check(
        tmp_path,
        {
            "duckdb": {
                "storage": "persistent",
                "storage_directory": "/nonexistent/storage",
                "allow_network": True,
            }
        },
    )
    assert code == 2
    assert "duckdb.storage_directory: /nonexistent/storage is not a directory" in told
