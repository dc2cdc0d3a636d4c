"""Small data like TPC-H's, the same in the three databases and in one local DuckDB.

Orders are in PostgreSQL, customers in MariaDB, parts in SQLite, under the aliases and names of
docs/databases.md. The data is computed, so it is always the same.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb

from integration.servers import MariaDB, Postgres

CUSTOMERS = 300
ORDERS = 3000
ITEMS_PER_ORDER = 4
PARTS = 400

# A pseudo-random number from a number: n mod m, after a multiplication that mixes its bits.
_MIX = "CREATE MACRO mix(n, salt, m) AS (hash(n * 2654435761 + salt) % m)::BIGINT"

_MADE = {
    "customer": f"""
        SELECT n::INTEGER AS c_custkey, printf('Customer#%09d', n) AS c_name,
               ['BUILDING', 'AUTOMOBILE', 'MACHINERY', 'HOUSEHOLD', 'FURNITURE']
                   [1 + mix(n, 1, 5)] AS c_mktsegment,
               ((mix(n, 2, 1099999)::BIGINT - 99999) / 100)::DECIMAL(15, 2) AS c_acctbal,
               if(mix(n, 3, 7) = 0, NULL, 'comment ' || n) AS c_comment
        FROM range(1, {CUSTOMERS} + 1) AS t(n) ORDER BY n
    """,
    # One in a hundred orders belongs to a customer who does not exist.
    "orders": f"""
        SELECT n::BIGINT AS o_orderkey,
               (1 + mix(n, 4, {CUSTOMERS + CUSTOMERS // 100}))::INTEGER AS o_custkey,
               ['O', 'F', 'P'][1 + mix(n, 5, 3)] AS o_orderstatus,
               ((10000 + mix(n, 6, 50000000)) / 100)::DECIMAL(15, 2) AS o_totalprice,
               DATE '1992-01-01' + mix(n, 7, 2400)::INTEGER AS o_orderdate
        FROM range(1, {ORDERS} + 1) AS t(n) ORDER BY n
    """,
    "lineitem": f"""
        SELECT (1 + n // {ITEMS_PER_ORDER})::BIGINT AS l_orderkey,
               (1 + n % {ITEMS_PER_ORDER})::INTEGER AS l_linenumber,
               (1 + mix(n, 8, {PARTS + PARTS // 100}))::INTEGER AS l_partkey,
               (1 + mix(n, 9, 50))::DECIMAL(15, 2) AS l_quantity,
               ((100 + mix(n, 10, 9000000)) / 100)::DECIMAL(15, 2) AS l_extendedprice,
               (mix(n, 11, 11) / 100)::DECIMAL(15, 2) AS l_discount,
               DATE '1992-01-01' + mix(n, 12, 2500)::INTEGER AS l_shipdate
        FROM range({ORDERS * ITEMS_PER_ORDER}) AS t(n) ORDER BY n
    """,
    "part": f"""
        SELECT n::BIGINT AS p_partkey, 'part ' || n AS p_name,
               printf('Brand#%d%d', 1 + mix(n, 13, 5), 1 + mix(n, 14, 5)) AS p_brand,
               (1 + mix(n, 15, 50))::BIGINT AS p_size,
               ((90000 + mix(n, 16, 120000)) / 100)::DOUBLE AS p_retailprice
        FROM range(1, {PARTS} + 1) AS t(n) ORDER BY n
    """,
}


def local() -> duckdb.DuckDBPyConnection:
    """Return all tables in one DuckDB, under the same names."""
    connection = duckdb.connect()
    connection.execute(_MIX)
    for alias in ("shop", "crm", "warehouse"):
        connection.execute(f"ATTACH ':memory:' AS {alias}")
    connection.execute("CREATE SCHEMA shop.public")
    for table, place in (
        ("orders", "shop.public"),
        ("lineitem", "shop.public"),
        ("customer", "crm.main"),
        ("part", "warehouse.main"),
    ):
        connection.execute(f"CREATE TABLE {place}.{table} AS {_MADE[table]}")
    return connection


def load(postgres: Postgres, mariadb: MariaDB, sqlite: Path) -> None:
    """Load the tables into the three; both servers have a view, ``slow``, that takes minutes."""
    with closing(local()) as source:
        _load_postgres(source, postgres)
        _load_mariadb(source, mariadb)
        _load_sqlite(source, sqlite)


def _load_postgres(source: duckdb.DuckDBPyConnection, server: Postgres) -> None:
    server.run("CREATE DATABASE shop")
    script = """
        CREATE TABLE orders (
            o_orderkey bigint PRIMARY KEY, o_custkey integer NOT NULL, o_orderstatus text NOT NULL,
            o_totalprice numeric(15, 2) NOT NULL, o_orderdate date NOT NULL
        );
        CREATE TABLE lineitem (
            l_orderkey bigint NOT NULL, l_linenumber integer NOT NULL, l_partkey integer NOT NULL,
            l_quantity numeric(15, 2) NOT NULL, l_extendedprice numeric(15, 2) NOT NULL,
            l_discount numeric(15, 2) NOT NULL, l_shipdate date NOT NULL,
            PRIMARY KEY (l_orderkey, l_linenumber)
        );
    """
    for table in ("orders", "lineitem"):
        rows = source.execute(f"FROM shop.public.{table}").fetchall()
        lines = "\n".join("\t".join(map(str, row)) for row in rows)
        script += f"COPY {table} FROM STDIN;\n{lines}\n\\.\n"
    script += "CREATE VIEW slow AS SELECT o_orderkey, pg_sleep(0.1)::text AS nap FROM orders;"
    script += f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {server.user}; ANALYZE;"
    server.run(script, "shop")


def _load_mariadb(source: duckdb.DuckDBPyConnection, server: MariaDB) -> None:
    rows = source.execute("FROM crm.main.customer").fetchall()
    values = ",\n".join(f"({', '.join(map(_literal, row))})" for row in rows)
    server.run(
        f"""
        CREATE DATABASE crm CHARACTER SET utf8mb4;
        USE crm;
        CREATE TABLE customer (
            c_custkey int PRIMARY KEY, c_name varchar(25) NOT NULL,
            c_mktsegment varchar(10) NOT NULL,
            c_acctbal decimal(15, 2) NOT NULL, c_comment varchar(117)
        );
        INSERT INTO customer VALUES {values};
        CREATE VIEW slow AS SELECT c_custkey, sleep(0.1) AS nap FROM customer;
        GRANT SELECT ON crm.* TO {server.user}@'%';
        """
    )


def _load_sqlite(source: duckdb.DuckDBPyConnection, file: Path) -> None:
    rows = source.execute("FROM warehouse.main.part").fetchall()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            "CREATE TABLE part (p_partkey INTEGER PRIMARY KEY, p_name TEXT NOT NULL,"
            " p_brand TEXT NOT NULL, p_size INTEGER NOT NULL, p_retailprice REAL NOT NULL)"
        )
        connection.executemany("INSERT INTO part VALUES (?, ?, ?, ?, ?)", rows)


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return f"'{value}'" if isinstance(value, str) else str(value)
