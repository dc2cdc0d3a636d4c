"""What a server is asked for, according to its own log."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest
from adbc_driver_manager import Error

from integration.conftest import Deploy
from integration.databases.support import failure, rows
from integration.deployment import Deployment
from integration.servers import MariaDB, Postgres
from pondflight.engine.databases.fixed import FIXED, PER_STATEMENT


def _asked(log: str, mark: str) -> str:
    """Return what was logged after the last line with ``mark``."""
    return log[log.rindex(mark) :]


def _run(deployment: Deployment, *queries: str) -> list[tuple[object, ...]]:
    with deployment.connect(autocommit=True) as connection, connection.cursor() as cursor:
        for query in queries:
            cursor.execute(query)
            rows: list[tuple[object, ...]] = cursor.fetchall()
    return rows


def _copies(log: str) -> list[str]:
    """Return what was read from users' tables, without our own questions about them."""
    copies: list[str] = re.findall(r"statement:\s+(COPY .*?TO STDOUT)", log, re.DOTALL)
    own = ("pg_catalog", "max(CASE WHEN")
    return [copy for copy in copies if not any(sign in copy for sign in own)]


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


@contextmanager
def _sent(mariadb: MariaDB, table: str) -> Iterator[list[str]]:
    """Yield the queries for rows of a table that MariaDB gets meanwhile."""
    log = mariadb.folder / "general.log"
    begin = len(log.read_text("utf-8", "replace"))
    sent: list[str] = []
    yield sent
    logged = log.read_text("utf-8", "replace")[begin:]
    sent += re.findall(rf"Prepare\s+(SELECT .*? FROM (?:`\w+`\.)?`{table}`.*)", logged)


@pytest.fixture(name="stock", scope="module")
def fixture_stock(deploy: Deploy, mariadb: MariaDB) -> Deployment:
    """Create a table with a column of each kind, to read and, by another alias, to write."""
    mariadb.run(
        """
        CREATE DATABASE stock CHARACTER SET utf8mb4;
        CREATE TABLE stock.item (
            id INT PRIMARY KEY, `year` YEAR, made DATE, seen DATETIME(3), stamped TIMESTAMP,
            price DECIMAL(12,4), weight DOUBLE, size FLOAT, sold TINYINT(1), big BIGINT UNSIGNED,
            exact DECIMAL(50,2), name VARCHAR(50)
        ) COLLATE utf8mb4_general_ci;
        INSERT INTO stock.item
        SELECT seq, 1990 + seq % 30, date '2020-01-01' + interval seq day,
               '2020-01-01' + interval seq minute, '2020-01-01' + interval seq minute,
               seq / 7, seq / 7, seq / 7, seq % 3, 18446744073709551615 - seq, seq / 7,
               concat('Item ', seq)
        FROM stock.seq_1_to_500;
        """
        f"GRANT ALL ON stock.* TO {mariadb.user}@'%'"
    )
    entry = {"type": "mysql", "connection_string": mariadb.url("stock")}
    entries = [entry | {"alias": "stocked"}, entry | {"alias": "ours", "read_only": False}]
    many = {"requests_per_minute": 1_000_000, "burst_size": 1_000_000}
    return deploy({"duckdb": {"attached_databases": entries}, "security": {"rate_limit": many}})


_NARROWED = [
    ("id = 7", (), "`id` = 7"),
    ("id = ?", (7,), "`id` = 7"),
    ("id = ? AND name = ?", (7, "Item 7"), "`id` = 7"),
    ("id = 7 AND name LIKE 'Item%'", (), "`id` = 7"),
    ("id IN (3, 5, 9)", (), "((`id` = 3 OR `id` = 5) OR `id` = 9)"),
    ("id BETWEEN 3 AND 9", (), "`id` >= 3 AND `id` <= 9"),
    ("id > 490 OR id < 3", (), "(`id` > 490 OR `id` < 3)"),
    ("made = DATE '2020-02-01'", (), "`made` = '2020-02-01'"),
    ("made >= '2021-05-01' AND sold", (), "`made` >= '2021-05-01'"),
    ("seen < '2020-01-01 00:03:00'", (), "`seen` < '2020-01-01 00:03:00'"),
    ("price > 70.5", (), "`price` > 70.5000"),
    ("weight = 1", (), "`weight` = 1.0e0"),
    ("big = 18446744073709551610", (), "`big` = 18446744073709551610"),
    ('id != 3 AND price = 1 AND "year" <> 1999', (), "`price` = 1.0000 AND `id` != 3"),
]


@pytest.mark.parametrize(("condition", "parameters", "sent"), _NARROWED)
@pytest.mark.parametrize("autocommit", [True, False])
def test_mariadb_is_asked_for_the_rows_that_numbers_and_dates_choose(
    stock: Deployment,
    mariadb: MariaDB,
    condition: str,
    parameters: tuple[Any, ...],
    sent: str,
    autocommit: bool,
) -> None:
    chosen = f"SELECT id, name FROM {{table}} AS t WHERE {condition} ORDER BY id"
    with stock.connect(autocommit=autocommit) as connection:
        rows(connection, "CREATE OR REPLACE TABLE copied AS FROM stocked.item")
        expected = rows(connection, chosen.format(table="copied"), parameters or None)
        with _sent(mariadb, "item") as queries:
            found = rows(connection, chosen.format(table="stocked.item"), parameters or None)
    assert found == expected
    assert 0 < len(expected) < 500
    conditions = {query.partition(" WHERE ")[2].strip() for query in queries}
    assert {" AND ".join(sorted(one.split(" AND "))) for one in conditions} == {
        " AND ".join(sorted(sent.split(" AND ")))
    }


@pytest.mark.parametrize(
    "condition",
    [
        "name = 'item 7'",
        "name = 'Item 7 '",
        "name > 'item 7'",
        "name IN ('item 7', 'Item 7')",
        '"year" = 99',
        "sold",
        "size = 1",
        "exact = 1",
        "stamped = '2020-01-01 00:07:00'",
        "id // 2 = 4",
        "id::VARCHAR = '7'",
        "id = (SELECT min(id) + 3 FROM copied)",
        "id IN (SELECT id FROM copied WHERE id < 9)",
        "id = 7 OR name = 'Item 9'",
        "made = current_date",
    ],
)
def test_mariadb_is_not_asked_what_it_might_mean_otherwise(
    stock: Deployment, mariadb: MariaDB, condition: str
) -> None:
    chosen = f"SELECT id, name FROM {{table}} AS t WHERE {condition} ORDER BY id"
    with stock.connect(autocommit=True) as connection:
        rows(connection, "CREATE OR REPLACE TABLE copied AS FROM stocked.item")
        expected = rows(connection, chosen.format(table="copied"))
        with _sent(mariadb, "item") as queries:
            found = rows(connection, chosen.format(table="stocked.item"))
    assert found == expected
    assert queries
    assert not any("WHERE" in query for query in queries)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a.id, b.name FROM {t} AS a JOIN {t} AS b USING (id) WHERE a.id = 7",
        "SELECT a.name, b.name FROM {t} AS a, {t} AS b WHERE a.id = 7 AND b.id = 9",
        "SELECT x.n FROM (SELECT id AS made, made AS n, name AS id FROM {t}) AS x WHERE x.made = 7",
        "WITH item AS (FROM {t}) SELECT a.id FROM item AS a JOIN item AS b USING (id) WHERE b.id=7",
        "SELECT (SELECT name FROM {t} WHERE id = 7), (SELECT name FROM {t} WHERE id = 8) AS x",
        "SELECT i.b FROM {t} AS i(a, b) WHERE i.a = 7",
        "SELECT i FROM {t} AS i WHERE i.id = 7",
        "SELECT count(*), max(name) FROM {t} WHERE id = 7",
        "SELECT id FROM {t} WHERE id = 7 AND name <> 'x'' AND (id = 8)) OR ((id = 9)'",
        "SELECT * EXCLUDE (name) FROM {t} WHERE id = 7 UNION ALL BY NAME SELECT 1 AS id",
        "SELECT id FROM {t} WHERE id = 7 AND made < current_date AND made > current_date - 9999",
        "FROM {t} SELECT name WHERE id IN (7, 8) ORDER BY name LIMIT 1 -- {t}",
        "SELECT id, row_number() OVER (ORDER BY id) FROM {t} QUALIFY id = 7",
        "SELECT max(id) FROM (SELECT * FROM {t} LIMIT 5 OFFSET 7)",
        "PIVOT (FROM {t} SELECT id, sold WHERE id < 4) ON sold USING count(*)",
    ],
)
def test_a_narrowed_query_has_the_rows_of_the_whole_table(stock: Deployment, query: str) -> None:
    with stock.connect(autocommit=True) as connection:
        rows(connection, "CREATE OR REPLACE TABLE copied AS FROM stocked.item")
        expected = rows(connection, query.format(t="copied"))
        found = rows(connection, query.format(t="stocked.item"))
    assert sorted(map(repr, found)) == sorted(map(repr, expected))


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("SELECT id, name FROM {t} ORDER BY id DESC LIMIT 5", "`id` DESC LIMIT 5"),
        ("SELECT name FROM {t} AS i ORDER BY i.id LIMIT 3 OFFSET 7", "`id` ASC LIMIT 10"),
        ("SELECT id FROM (FROM {t} ORDER BY id LIMIT 9) WHERE id % 2 = 0", "`id` ASC LIMIT 9"),
        (
            "SELECT c.id FROM copied AS c SEMI JOIN (FROM {t} ORDER BY id DESC LIMIT 4) USING (id)",
            "`id` DESC LIMIT 4",
        ),
        ("SELECT id FROM {t} ORDER BY name, id LIMIT 3", None),
        ("SELECT id FROM {t} ORDER BY price DESC NULLS FIRST LIMIT 3", None),
        ("SELECT id FROM {t} ORDER BY made LIMIT 3", None),
        ("SELECT -id AS id FROM {t} ORDER BY id LIMIT 3", None),
        ("SELECT name FROM {t} WHERE name > 'Item 3' ORDER BY id LIMIT 3", None),
        ("SELECT sold, max(id) AS id FROM {t} GROUP BY ALL ORDER BY id LIMIT 3", None),
        ("(SELECT id FROM {t} ORDER BY id LIMIT 3) UNION ALL SELECT id FROM {t}", None),
    ],
)
def test_mariadb_is_asked_for_the_first_rows_by_a_number_that_is_never_null(
    stock: Deployment, mariadb: MariaDB, query: str, sent: str | None
) -> None:
    with stock.connect(autocommit=True) as connection:
        rows(connection, "CREATE OR REPLACE TABLE copied AS FROM stocked.item")
        expected = rows(connection, query.format(t="copied"))
        with _sent(mariadb, "item") as queries:
            found = rows(connection, query.format(t="stocked.item"))
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    asked = {query.partition(" ORDER BY ")[2].strip() for query in queries}
    assert asked == {sent or ""}


def test_what_is_copied_is_narrowed_and_a_view_is_kept_as_it_is(
    stock: Deployment, mariadb: MariaDB
) -> None:
    with stock.connect(autocommit=True) as connection, _sent(mariadb, "item") as queries:
        copy = "CREATE OR REPLACE TABLE few AS SELECT id FROM stocked.item WHERE id = 7"
        rows(connection, copy)
        rows(connection, "INSERT INTO few SELECT id FROM stocked.item WHERE id = 8")
        assert rows(connection, "FROM few ORDER BY id") == [(7,), (8,)]
        rows(connection, "CREATE OR REPLACE VIEW seen AS SELECT id FROM stocked.item WHERE id = 9")
        ((text,),) = rows(connection, "SELECT sql FROM duckdb_views() WHERE view_name = 'seen'")
    assert "mysql_query" not in text
    assert {query.partition(" WHERE ")[2].strip() for query in queries} == {"`id` = 7", "`id` = 8"}


def test_a_narrowed_query_is_part_of_its_transaction(stock: Deployment) -> None:
    with stock.connect("writer") as connection:
        rows(connection, "INSERT INTO ours.item (id, name) VALUES (900, 'ours')")
        assert rows(connection, "SELECT name FROM ours.item WHERE id = 900") == [("ours",)]
        connection.rollback()
        assert rows(connection, "SELECT name FROM ours.item WHERE id = 900") == []


@pytest.mark.parametrize("column", ["name::INT", "nothing", "error('no')"])
def test_the_error_of_a_narrowed_query_has_no_sql_of_ours(stock: Deployment, column: str) -> None:
    with stock.connect(autocommit=True) as connection:
        found = failure(connection, f"SELECT {column} FROM stocked.item WHERE id = 7")
    assert "mysql_query" not in found


def test_a_change_with_constants_and_numbers_is_made(stock: Deployment, mariadb: MariaDB) -> None:
    before = mariadb.run("SELECT * FROM stock.item ORDER BY id")
    with stock.connect("writer", autocommit=True) as connection:
        rows(connection, "INSERT INTO ours.item (id, name) VALUES (801, 'a'), (802, 'b')")
        rows(connection, "UPDATE ours.item SET name = 'it''s \"x\"', price = -1.5 WHERE id = 801")
        rows(connection, "UPDATE ours.item SET made = '2024-02-29' WHERE id IN (801, 802)")
        rows(connection, "UPDATE ours.item SET name = ? WHERE id = ?", ("später", 802))
        assert rows(connection, "SELECT id, name, made::TEXT FROM ours.item WHERE id > 800") == [
            (801, 'it\'s "x"', "2024-02-29"),
            (802, "später", "2024-02-29"),
        ]
        rows(connection, "DELETE FROM ours.item WHERE NOT (id < 801 OR id > 802)")
    assert mariadb.run("SELECT * FROM stock.item ORDER BY id") == before


@pytest.mark.parametrize(
    ("change", "parameters"),
    [
        (r"UPDATE ours.item SET name = 'D:\new' WHERE id = 4", ()),
        ("UPDATE ours.item SET name = ? WHERE id = 4", ("ends\\",)),
        ("UPDATE ours.item SET name = chr(92) || '''' WHERE id = 4", ()),
        ("UPDATE ours.item SET name = upper(name) WHERE id = 4", ()),
        ("UPDATE ours.item SET id = 1000 + id", ()),
        ("UPDATE ours.item SET name = 'x' WHERE name = 'item 4'", ()),
        ("DELETE FROM ours.item WHERE name = 'item 4'", ()),
        ("DELETE FROM ours.item WHERE name = ?", ("item 4",)),
        ("DELETE FROM ours.item WHERE name = 4", ()),
        ('DELETE FROM ours.item WHERE "year" = 99', ()),
        ("DELETE FROM ours.item WHERE sold", ()),
        ("DELETE FROM ours.item WHERE id IN (SELECT 4)", ()),
        ("DELETE FROM ours.item USING stocked.item AS s WHERE s.id = 4", ()),
        (r"DELETE FROM ours.item WHERE name = '\'' OR 1 = 1 -- '", ()),
        ("USE ours; DELETE FROM item WHERE name = 'item 4'", ()),
        ("WITH x AS (SELECT 4 AS id) DELETE FROM ours.item WHERE name = 'item 4'", ()),
        ("PREPARE gone AS DELETE FROM ours.item WHERE name = 'item 4'", ()),
        ("PREPARE gone AS UPDATE ours.item SET name = $1 WHERE id = 4", ()),
        (r"CREATE TABLE ours.other (a VARCHAR DEFAULT '\')", ()),
        ('CREATE TABLE ours.other ("a` int) -- " INT)', ()),
        ('CREATE TABLE ours.other AS FROM (SELECT 1 AS "a` int) -- ")', ()),
    ],
)
def test_a_change_that_mariadb_might_misread_is_refused(
    stock: Deployment, mariadb: MariaDB, change: str, parameters: tuple[Any, ...]
) -> None:
    state = "SELECT * FROM stock.item ORDER BY id; SHOW TABLES FROM stock"
    before = mariadb.run(state)
    with stock.connect("writer", autocommit=True) as connection:
        found = failure(connection, change, parameters or None)
    assert "MySQL might take" in found
    assert mariadb.run(state) == before


def test_names_of_columns_that_mariadb_might_misread_are_not_ingested(stock: Deployment) -> None:
    evil = pa.table({"a` int) -- ": [1]})
    with stock.connect("writer", autocommit=True) as connection, connection.cursor() as cursor:
        with pytest.raises(Error, match="MySQL might take"):
            cursor.adbc_ingest("other", evil, mode="create", catalog_name="ours")


def test_a_change_of_an_own_table_may_read_mariadb(stock: Deployment) -> None:
    with stock.connect("writer", autocommit=True) as connection:
        rows(connection, "CREATE OR REPLACE TABLE mine AS SELECT 4 AS id, '' AS name")
        rows(connection, "UPDATE mine SET name = i.name FROM ours.item AS i WHERE i.id = mine.id")
        assert rows(connection, "FROM mine") == [(4, "Item 4")]
        rows(connection, "DELETE FROM mine WHERE name IN (SELECT name FROM ours.item)")
        assert rows(connection, "FROM mine") == []


@pytest.mark.parametrize("name", [*FIXED, *PER_STATEMENT])
def test_users_do_not_decide_what_is_pushed_down(stock: Deployment, name: str) -> None:
    with stock.connect(autocommit=True) as connection:
        for sql in (f"SET {name} = true", f'RESET "{name}"', f"PRAGMA {name} = true"):
            found = failure(connection, sql)
            assert "is the server's own" in found or "has been locked" in found


def test_init_sql_does_not_decide_what_is_pushed_down(
    stock: Deployment, deploy: Deploy, mariadb: MariaDB
) -> None:
    entry = {"type": "mysql", "alias": "stocked", "connection_string": mariadb.url("stock")}
    turned_on = "".join(f"SET GLOBAL {name} = true;" for name in FIXED)
    deployment = deploy({"duckdb": {"attached_databases": [entry], "init_sql": turned_on}})
    names = ", ".join(f"'{name}'" for name in FIXED)
    with deployment.connect(autocommit=True) as connection:
        found = rows(
            connection, f"SELECT name, value FROM duckdb_settings() WHERE name IN ({names})"
        )
    assert dict(found) == FIXED
