"""What a source is asked for, as its own log has it."""

from __future__ import annotations

import re
import secrets

import pytest

from integration.conftest import Deploy
from integration.databases.support import failure, rows
from integration.deployment import Deployment
from integration.servers import MariaDB, Postgres
from pondflight.engine.databases.pushdown import SETTINGS


def _asked(log: str, mark: str) -> str:
    """What was logged behind the last line with ``mark`` in it."""
    return log[log.rindex(mark) :]


def _run(deployment: Deployment, *queries: str) -> list[tuple[object, ...]]:
    with deployment.connect(autocommit=True) as connection, connection.cursor() as cursor:
        for query in queries:
            cursor.execute(query)
            rows: list[tuple[object, ...]] = cursor.fetchall()
    return rows


def _copies(log: str) -> list[str]:
    return re.findall(r"statement:\s+(COPY .*?TO STDOUT)", log, re.DOTALL)


def test_postgresql_is_asked_for_the_columns_and_rows_that_are_needed(
    three: Deployment, postgres: Postgres
) -> None:
    mark = f"mark_{secrets.token_hex(4)}"
    rows = _run(
        three,
        f"SELECT count(*) FROM shop.public.orders WHERE o_orderstatus = '{mark}'",
        "SELECT o_orderkey, o_totalprice FROM shop.public.orders"
        " WHERE o_orderdate = DATE '1995-01-01' AND o_custkey < 200",
    )
    (copy,) = set(_copies(_asked(postgres.log(), mark)[len(mark) :]))
    assert '"o_orderkey"' in copy
    assert '"o_totalprice"' in copy
    assert '"o_orderstatus"' not in copy
    assert re.search(r"\"o_orderdate\" = '1995-01-01'", copy)
    assert re.search(r"\"o_custkey\" < '?200", copy)
    assert 0 < len(rows) < 10


def test_a_count_asks_postgresql_for_no_column(three: Deployment, postgres: Postgres) -> None:
    mark = f"mark_{secrets.token_hex(4)}"
    assert _run(
        three,
        f"SELECT count(*) FROM shop.public.orders WHERE o_orderstatus = '{mark}'",
        "SELECT count(*) FROM shop.public.orders",
    ) == [(3000,)]
    for copy in _copies(_asked(postgres.log(), mark)[len(mark) :]):
        assert re.search(r"SELECT NULL FROM \"public\"\.\"orders\"", copy)


def test_the_filter_of_a_join_reaches_its_side_of_it(three: Deployment, postgres: Postgres) -> None:
    mark = f"mark_{secrets.token_hex(4)}"
    _run(
        three,
        f"SELECT count(*) FROM shop.public.orders WHERE o_orderstatus = '{mark}'",
        "SELECT c.c_name, o.o_totalprice FROM shop.public.orders AS o"
        " JOIN crm.customer AS c ON c.c_custkey = o.o_custkey"
        " WHERE o.o_orderstatus = 'P' AND c.c_mktsegment = 'MACHINERY'",
    )
    copies = _copies(_asked(postgres.log(), mark)[len(mark) :])
    assert copies
    for copy in copies:
        assert "\"o_orderstatus\" = 'P'" in copy
        assert "o_orderdate" not in copy


def test_mariadb_is_asked_for_the_columns_and_rows_that_are_needed(
    three: Deployment, mariadb: MariaDB
) -> None:
    rows = _run(three, "SELECT c_name FROM crm.customer WHERE c_custkey = 217")
    log = (mariadb.folder / "general.log").read_text("utf-8", "replace")
    asked = [line for line in log.split("\n") if "217" in line]
    assert rows == [("Customer#000000217",)]
    assert any("`c_name`" in line and "`c_custkey` = 217" in line for line in asked), asked
    assert not any("c_comment" in line for line in asked)


def _sent(mariadb: MariaDB) -> list[str]:
    """The queries that MariaDB has been sent for rows of its table."""
    log = (mariadb.folder / "general.log").read_text("utf-8", "replace")
    return re.findall(r"Prepare\s+(SELECT .*? FROM `paths`\.`file`.*)", log)


@pytest.fixture(name="paths", scope="module")
def fixture_paths(deploy: Deploy, mariadb: MariaDB) -> Deployment:
    """A table whose strings have backslashes in them, to read and, by another alias, to write."""
    mariadb.run(
        r"""
        CREATE DATABASE paths CHARACTER SET utf8mb4;
        CREATE TABLE paths.file (id INT PRIMARY KEY, path VARCHAR(100));
        INSERT INTO paths.file VALUES
            (1, 'C:\\new'), (2, 'ends\\'), (3, 'o''hara'), (4, 'plain'), (5, '\\''');
        """
        f"GRANT ALL ON paths.* TO {mariadb.user}@'%'"
    )
    entry = {"type": "mysql", "connection_string": mariadb.url("paths")}
    entries = [entry | {"alias": "paths"}, entry | {"alias": "ours", "read_only": False}]
    return deploy({"duckdb": {"attached_databases": entries}})


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (r"path = 'C:\new'", [1]),
        (r"path = 'C:' || chr(92) || 'new'", [1]),
        (r"path = 'ends\'", [2]),
        (r"path IN ('ends\', 'plain')", [2, 4]),
        (r"path LIKE 'ends\%'", [2]),
        (r"path > 'ends\' AND path < 'q'", [3, 4]),
        (r"path = '\'''", [5]),
        (r"path = '\'' OR 1 = 1 -- '", []),
        (r"path = '\'' UNION SELECT 7, current_user() -- '", []),
        (r"path = chr(92) || ''' OR 1 = 1 -- '", []),
    ],
)
def test_a_backslash_is_no_escape_to_mariadb(
    paths: Deployment, mariadb: MariaDB, condition: str, found: list[int]
) -> None:
    chosen = f"SELECT id FROM paths.file WHERE {condition} ORDER BY id"
    queries = (
        chosen,
        f"SELECT max(id) FROM paths.file WHERE {condition} GROUP BY path ORDER BY 1",
        f"CREATE OR REPLACE VIEW chosen AS {chosen}; FROM chosen",
        f"PREPARE chosen AS {chosen}; EXECUTE chosen",
        f"CREATE OR REPLACE TEMP TABLE copied AS {chosen}; FROM copied",
    )
    before = len(_sent(mariadb))
    with paths.connect(autocommit=True) as connection:
        for query in queries:
            assert rows(connection, query) == [(id_,) for id_ in found], query
        bound = "SELECT id FROM paths.file WHERE path = ?"
        assert rows(connection, bound, ("ends\\",)) == [(2,)]
    asked = _sent(mariadb)[before:]
    assert asked
    assert not any("\\" in query or "OR 1" in query for query in asked)


def test_filters_without_a_backslash_reach_mariadb_after_one_with_it(
    paths: Deployment, mariadb: MariaDB
) -> None:
    with paths.connect(autocommit=True) as connection:
        rows(connection, r"SELECT id FROM paths.file WHERE path = 'ends\'")
        rows(connection, "SELECT count(*) FROM paths.file WHERE path = 'plain' AND id > 3")
    asked = _sent(mariadb)[-1]
    assert asked.startswith("SELECT COUNT(*)")
    assert "`path` = 'plain'" in asked
    assert "`id` > 3" in asked


def test_a_change_with_a_backslash_is_refused_and_not_made_wrongly(
    paths: Deployment, mariadb: MariaDB
) -> None:
    before = mariadb.run("SELECT * FROM paths.file ORDER BY id")
    with paths.connect("writer", autocommit=True) as connection:
        for sql in (
            r"UPDATE ours.file SET path = 'D:\new' WHERE id = 4",
            r"UPDATE ours.file SET path = 'x' WHERE path = 'ends\'",
            r"DELETE FROM ours.file WHERE path = '\'' OR 1 = 1 -- '",
            r"PREPARE gone AS DELETE FROM ours.file WHERE path = 'C:\new'; EXECUTE gone",
        ):
            assert "a string with a backslash" in failure(connection, sql)
        assert mariadb.run("SELECT * FROM paths.file ORDER BY id") == before
        rows(connection, r"INSERT INTO ours.file VALUES (9, 'E:\new')")
        assert rows(connection, "SELECT path FROM ours.file WHERE id = 9") == [(r"E:\new",)]
        rows(connection, "DELETE FROM ours.file WHERE id = 9")
    assert mariadb.run("SELECT * FROM paths.file ORDER BY id") == before


@pytest.mark.parametrize("name", SETTINGS)
def test_users_do_not_decide_what_is_pushed_down(paths: Deployment, name: str) -> None:
    with paths.connect(autocommit=True) as connection:
        for sql in (f"SET {name} = true", f'RESET "{name}"', f"PRAGMA {name} = true"):
            assert "is the server's own" in failure(connection, sql)
