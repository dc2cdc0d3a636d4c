"""A comparison has one meaning, whatever else is in the statement, and wherever the rows are.

A table of a server returns the rows that its copy in DuckDB returns.
"""

from __future__ import annotations

import itertools

import pytest

from integration.conftest import Deploy
from integration.databases.support import NO_LIMITS, rows
from integration.deployment import Deployment
from integration.servers import MariaDB, Postgres

ITEMS = """
    (1, 'foo',  'foo',  'b', '10:00:00', 1, 10,   1.0,  0.1),
    (2, 'Foo',  'foo ', 'a', '9:00:00',  0, NULL, 2.50, 0.2),
    (3, 'FOO ', 'Foo',  'b', '-1:00:00', 5, 30,   1.5,  0.3),
    (4, 'föö',  'f',    'a', '100:00:00', 1, 20,  NULL, 0.4),
    (5, 'ß',    'ss',   NULL, NULL,      NULL, 20, 9.99, NULL),
    (6, 'Mango', 'apple', 'b', '00:00:00', 2, 0,  -1.0, -0.5),
    (7, 'banana', 'Zebra', 'a', '23:59:59', 0, 7,  0.0,  0.0)
"""


@pytest.fixture(scope="module", name="both")
def fixture_both(deploy: Deploy, mariadb: MariaDB, postgres: Postgres) -> Deployment:
    mariadb.run(
        f"""
        CREATE DATABASE meaning CHARACTER SET utf8mb4;
        CREATE TABLE meaning.item (
            id INT PRIMARY KEY, name VARCHAR(20), code CHAR(6), kind ENUM('b', 'a'), at TIME,
            flag TINYINT(1), x INT, price DECIMAL(8, 2), size FLOAT
        ) COLLATE utf8mb4_general_ci;
        INSERT INTO meaning.item VALUES {ITEMS};
        GRANT ALL ON meaning.* TO {mariadb.user}@'%';
        """
    )
    postgres.run("CREATE DATABASE meaning")
    postgres.run(
        f"""
        CREATE EXTENSION citext;
        CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
        CREATE TYPE kind AS ENUM ('b', 'a');
        CREATE TABLE item (
            id int PRIMARY KEY, name citext, code char(6), kind kind, at interval, flag int, x int,
            price numeric, size float4, loose text COLLATE loose
        );
        INSERT INTO item SELECT v.*, v.name FROM (VALUES {ITEMS}) AS
            v (id, name, code, kind, at, flag, x, price, size);
        GRANT SELECT ON item TO {postgres.user};
        """.replace(
            "SELECT v.*, v.name",
            "SELECT id, name, code, kind::kind, at::interval, flag, x,"
            " price::numeric, size::float4, name",
        ),
        "meaning",
    )
    entries = [
        {"alias": "crm", "type": "mysql", "connection_string": mariadb.url("meaning")},
        {"alias": "shop", "type": "postgres", "connection_string": postgres.url("meaning")},
    ]
    return deploy({"duckdb": {"attached_databases": entries}, "security": NO_LIMITS})


COMPARISONS = [
    "name = 'foo'",
    "name <> 'foo'",
    "name IN ('foo', 'nothing')",
    "name NOT IN ('foo', 'nothing')",
    "name > 'banana'",
    "name BETWEEN 'A' AND 'c'",
    "name LIKE 'f%'",
    "name LIKE 'foo'",
    "name ILIKE 'foo'",
    "code = 'foo'",
    "code = 'foo '",
    "code < 'foo'",
    "kind = 'a'",
    "kind > 'a'",
    "kind IN ('a', 'c')",
    "flag = 1",
    "flag <> 0",
    "x > 10",
    "x IS NULL",
    "price = 2.5",
    "price > 1",
    "size = 0.1",
    "size = 0.1::FLOAT",
]
AROUND = [
    "{c}",
    "{c} OR id = 99",
    "{c} AND id < 99",
    "NOT (NOT ({c}))",
    "{c} AND name <> chr(92)",
    "({c}) IS TRUE",
    "id IN (SELECT id FROM copied WHERE {c})",
]
TABLES = ["crm.item", "shop.public.item"]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("comparison", COMPARISONS)
def test_a_comparison_means_the_same_whatever_stands_beside_it(
    both: Deployment, table: str, comparison: str
) -> None:
    with both.connect(autocommit=True) as connection:
        rows(connection, f"CREATE OR REPLACE TABLE copied AS FROM {table}")
        for around in AROUND:
            query = f"SELECT id FROM {{}} WHERE {around.format(c=comparison)} ORDER BY id"
            expected = rows(connection, query.format("copied"))
            assert rows(connection, query.format(table)) == expected, query


STATEMENTS = [
    "SELECT {c}, count(*) FROM {t} GROUP BY 1 ORDER BY ALL",
    "SELECT DISTINCT {c} FROM {t} ORDER BY ALL",
    "SELECT max({c}), min({c}), count({c}), count(DISTINCT {c}) FROM {t}",
    "SELECT max({c}) FROM (SELECT * FROM {t}) AS x",
    "WITH c AS (SELECT {c} AS y FROM {t}) SELECT count(y), min(y) FROM c",
    "SELECT a.id, b.id FROM {t} AS a JOIN {t} AS b ON a.{c} = b.{c} ORDER BY ALL",
    "SELECT a.id, b.id FROM {t} AS a LEFT JOIN copied AS b ON a.{c} = b.{c} ORDER BY ALL",
    "SELECT a.id FROM {t} AS a SEMI JOIN (FROM copied LIMIT 3) AS b ON a.{c} >= b.{c} ORDER BY 1",
    "SELECT id FROM {t} WHERE {c} IN (SELECT {c} FROM {t} WHERE id > 3) ORDER BY 1",
    "SELECT id FROM {t} WHERE {c} = (SELECT max({c}) FROM copied) ORDER BY 1",
    *(
        f"SELECT id FROM {{t}} ORDER BY {{c}} {order} NULLS {nulls}, id LIMIT {limit}"
        for order, nulls, limit in itertools.product(("ASC", "DESC"), ("FIRST", "LAST"), (1, 3, 9))
    ),
    "SELECT {c} FROM {t} ORDER BY {c} NULLS FIRST LIMIT 3",
    "SELECT {c} FROM {t} ORDER BY {c} DESC NULLS FIRST LIMIT 2 OFFSET 1",
    "SELECT {c} FROM {t} WHERE id > 1 ORDER BY {c} DESC LIMIT 2",
]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("column", ["name", "code", "kind", "flag", "x", "price", "size"])
@pytest.mark.parametrize("null_order", ["nulls_last", "postgres"])
def test_groups_joins_and_orders_are_those_of_a_copy(
    both: Deployment, table: str, column: str, null_order: str
) -> None:
    with both.connect(autocommit=True) as connection:
        rows(connection, f"SET default_null_order = '{null_order}'")
        rows(connection, f"CREATE OR REPLACE TABLE copied AS FROM {table}")
        for statement in STATEMENTS:
            expected = rows(connection, statement.format(t="copied", c=column))
            found = rows(connection, statement.format(t=table, c=column))
            assert found == expected, statement.format(t=table, c=column)


def test_text_of_a_collation_that_folds_is_compared_by_the_byte(both: Deployment) -> None:
    with both.connect(autocommit=True) as connection:
        found = rows(connection, "SELECT id FROM shop.public.item WHERE loose IN ('foo', 'x')")
        assert found == [(1,)]
        found = rows(connection, "SELECT id FROM shop.public.item WHERE loose = 'foo'")
        assert found == [(1,)]


def test_postgresql_is_sent_filters_that_mean_the_same_and_no_others(
    both: Deployment, postgres: Postgres
) -> None:
    with both.connect(autocommit=True) as connection:
        begin = len(postgres.log())
        rows(connection, "SELECT id FROM shop.public.item WHERE x = 20 AND size > 0.1::FLOAT")
        log = postgres.log()
        assert "\"x\" = '20'" in log[begin:]
        rows(connection, "SELECT id FROM shop.public.item WHERE x = 30 AND name = 'foo'")
        rest = postgres.log()[len(log) :]
        assert "COPY" in rest
        assert "'30'" not in rest
        assert "'foo'" not in rest
