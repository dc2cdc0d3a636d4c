"""The tables of generated statements: few rows, odd ones, a column of each kind of comparison.

``item`` and ``tag`` are in every database, with the columns that it supports; ``mine`` is the
user's own, in the worker. All have the same columns, so that any two can be joined by any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import duckdb

from integration.truth.dialects import DUCKDB, Dialect
from integration.truth.systems import System


@dataclass(frozen=True)
class Column:
    """A column of all tables of one system.

    ``family`` decides what it may be compared with; ``type`` is DuckDB's, ``declared`` the
    server's. ``agrees``: the server compares its values as DuckDB does. ``shown``: its client shows
    them as pondflight does.
    """

    name: str
    family: str
    type: str
    declared: str
    values: Sequence[Any]
    agrees: bool = True
    shown: bool = True


@dataclass(frozen=True)
class Table:
    """Columns and rows of ``name``; the first column is its key."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]


_TEXTS = (
    *("", " ", "a", "A", "a ", "ab", "b", "B", "é", "e", "É", "ß", "ss", "z", "ą", "10", "9"),
    *("Mango", "banana", "apple", "Zebra", "O'Neil", "C:\\new", "x\\'y", "\\", "\\'", '"', "''"),
    *("%", "_", "100%", "NULL", "日本", "🦆", "e\u0301", "\t", "a\nb", "--", "/*", ";", "$1", "?"),
    *("\\' OR 1=1 -- ", "\\' UNION SELECT 1 -- ", "\uffff", "x" * 60),
)
_SMALL = (-3, -1, 0, 1, 1, 2, 3, 7)
_BIG = (-(2**63), -(2**53) - 1, -1, 0, 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1)
_UNSIGNED = (0, 1, 2**31, 2**63, 2**64 - 1)
_DECIMALS = tuple(
    Decimal(text)
    for text in ("-999999999.999", "-1.250", "0.000", "0.001", "1.250", "1.251", "999999999.999")
)
_WIDE = tuple(
    Decimal(text)
    for text in (
        "-1234567890123456789012345678.0000000001",
        "0.0000000000",
        "0.0000000001",
        "1234567890123456789012345678.9000000000",
    )
)
_FLOATS = (-1e300, -1.5, 0.0, 0.25, 1.5, 2.0**53, 1e300)
_NO_NUMBERS = (float("nan"), float("inf"), float("-inf"))
_SINGLES = (-1024.5, 0.0, 0.25, 1.5, 65536.0)
_DATES = (
    date(1, 1, 1),
    date(1582, 10, 10),
    date(1969, 12, 31),
    date(2024, 2, 29),
    date(9999, 12, 31),
)
_TIMES = (time(0, 0), time(10, 30), time(10, 30, 0, 500_000), time(23, 59, 59, 999_999))
_CLOCKS = ("-00:00:01", "00:00:00", "10:30:00.5", "838:59:59")
_INSTANTS = (
    datetime(1001, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
    datetime(2024, 2, 29, 10, 30, tzinfo=UTC),
    datetime(2024, 2, 29, 10, 30, 0, 1, UTC),
    datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
)
_MOMENTS = tuple(instant.replace(tzinfo=None) for instant in _INSTANTS)
_BYTES = (b"", b"\0", b"a", b"\\", b"'", b"\xff\xfe", b"\\' OR 1=1 -- ")
_UUIDS = tuple(UUID(int=number) for number in (0, 1, 2**127, 2**128 - 1))
_KINDS = ("red", "Amber", "green")

_PADDED = tuple(text for text in _TEXTS if len(text) <= 6 and not text.endswith(" "))

COLUMNS: dict[str, tuple[Column, ...]] = {
    "postgres": (
        Column("id", "key", "INTEGER", "integer PRIMARY KEY", ()),
        Column("n", "small", "SMALLINT", "smallint", _SMALL),
        Column("big", "big", "BIGINT", "bigint", _BIG),
        Column("amount", "decimal", "DECIMAL(12,3)", "numeric(12,3)", _DECIMALS),
        Column("wide", "decimal", "DECIMAL(38,10)", "numeric(38,10)", _WIDE),
        Column("single", "float", "FLOAT", "real", _SINGLES),
        Column("number", "float", "DOUBLE", "double precision", _FLOATS + _NO_NUMBERS),
        Column("flag", "bool", "BOOLEAN", "boolean", (True, False)),
        Column("word", "text", "VARCHAR", 'text COLLATE "C"', _TEXTS),
        Column("name", "text", "VARCHAR", 'text COLLATE "und-x-icu"', _TEXTS, agrees=False),
        Column("anycase", "text", "VARCHAR", "varchar(70) COLLATE anycase", _TEXTS, agrees=False),
        Column("kind", "enum", "ENUM('red', 'Amber', 'green')", "kind", _KINDS),
        Column("day", "date", "DATE", "date", _DATES),
        Column("clock", "time", "TIME", "time", _TIMES),
        Column("noted", "moment", "TIMESTAMP", "timestamp", _MOMENTS),
        Column("instant", "instant", "TIMESTAMPTZ", "timestamptz", _INSTANTS),
        Column("code", "bytes", "BLOB", "bytea", _BYTES),
        Column("uid", "uuid", "UUID", "uuid", _UUIDS),
    ),
    "mariadb": (
        Column("id", "key", "INTEGER", "int PRIMARY KEY", ()),
        Column("n", "small", "SMALLINT", "smallint", _SMALL),
        Column("big", "big", "BIGINT", "bigint", _BIG),
        Column("large", "big", "UBIGINT", "bigint unsigned", _UNSIGNED),
        Column("amount", "decimal", "DECIMAL(12,3)", "decimal(12,3)", _DECIMALS),
        Column("wide", "decimal", "DECIMAL(38,10)", "decimal(38,10)", _WIDE),
        Column("single", "float", "FLOAT", "float", _SINGLES),
        Column("number", "float", "DOUBLE", "double", _FLOATS),
        Column("flag", "bool", "BOOLEAN", "boolean", (True, False)),
        Column("word", "text", "VARCHAR", "varchar(70) COLLATE utf8mb4_nopad_bin", _TEXTS),
        Column(
            "name",
            "text",
            "VARCHAR",
            "varchar(70) COLLATE utf8mb4_general_ci",
            _TEXTS,
            agrees=False,
        ),
        Column(
            "anycase", "text", "VARCHAR", "text COLLATE utf8mb4_unicode_ci", _TEXTS, agrees=False
        ),
        Column("padded", "text", "VARCHAR", "char(6) COLLATE utf8mb4_bin", _PADDED, agrees=False),
        Column("kind", "text", "VARCHAR", "enum('red', 'Amber', 'green')", _KINDS, agrees=False),
        Column("day", "date", "DATE", "date", _DATES),
        Column("clock", "text", "VARCHAR", "time(6)", _CLOCKS, agrees=False, shown=False),
        Column("noted", "moment", "TIMESTAMP", "datetime(6)", _MOMENTS),
        Column("code", "bytes", "BLOB", "varbinary(40)", _BYTES),
    ),
    "sqlite": (
        Column("id", "key", "BIGINT", "INTEGER PRIMARY KEY", ()),
        Column("n", "small", "BIGINT", "INTEGER", _SMALL),
        Column("big", "big", "BIGINT", "BIGINT", _BIG),
        Column("single", "float", "DOUBLE", "REAL", _SINGLES),
        Column("number", "float", "DOUBLE", "DOUBLE", (*_FLOATS, float("inf"), float("-inf"))),
        Column("word", "text", "VARCHAR", "TEXT", _TEXTS),
        Column("name", "text", "VARCHAR", "VARCHAR(70) COLLATE NOCASE", _TEXTS, agrees=False),
        Column("trimmed", "text", "VARCHAR", "TEXT COLLATE RTRIM", _TEXTS, agrees=False),
        Column("day", "date", "DATE", "DATE", _DATES),
        Column("noted", "moment", "TIMESTAMP", "TIMESTAMP", _MOMENTS),
        Column("code", "bytes", "BLOB", "BLOB", _BYTES),
    ),
}

BEFORE = {
    "postgres": (
        "CREATE TYPE kind AS ENUM ('red', 'Amber', 'green')",
        (
            "CREATE COLLATION anycase"
            " (provider = icu, locale = 'und-u-ks-level1', deterministic = false)"
        ),
    )
}
"""What a database needs before its tables."""

_SEEN = "SELECT * FROM {}item WHERE n IS NULL OR n <> 7"

_SIZES = {"item": 60, "tag": 25, "mine": 18}


def tables(system: str) -> tuple[Table, ...]:
    """Return the tables of a system, always with the same rows."""
    columns = COLUMNS[system]
    return tuple(
        Table(name, columns, _rows(columns, Random(f"{system} {name}"), size))
        for name, size in _SIZES.items()
    )


def load(system: System) -> None:
    """Create the tables in the database itself, with ``mine`` and a view of ``item``."""
    dialect = Dialect.of(system)
    system.script(*BEFORE.get(system.name, ()))
    for table in tables(system.name):
        system.script(
            *created(dialect, table, [column.declared for column in table.columns], table.name)
        )
    system.script(f"CREATE VIEW seen AS {_SEEN.format('')}")


def load_local(connection: duckdb.DuckDBPyConnection, system: System) -> None:
    """Create all but ``mine`` in a DuckDB, under the names that they have in pondflight."""
    connection.execute(f"ATTACH ':memory:' AS {system.alias}")
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {system.schema}")
    for table in tables(system.name)[:2]:
        for statement in created(
            DUCKDB, table, [column.type for column in table.columns], system.prefix + table.name
        ):
            connection.execute(statement)
    connection.execute(f"CREATE VIEW {system.prefix}seen AS {_SEEN.format(system.prefix)}")


def own(system: System) -> list[str]:
    """Return the statements that create ``mine``, as ``mine_…`` of the system, in the worker."""
    (table,) = (table for table in tables(system.name) if table.name == "mine")
    return created(DUCKDB, table, [column.type for column in table.columns], f"mine_{system.name}")


def _rows(columns: tuple[Column, ...], random: Random, size: int) -> tuple[tuple[Any, ...], ...]:
    """Return each value of a column once, as far as there is room, then random ones or NULL."""
    pools = [random.sample(column.values, len(column.values)) for column in columns[1:]]
    found = []
    for number in range(size):
        row: list[Any] = [number + 1]
        for column, pool in zip(columns[1:], pools, strict=True):
            missing = random.random() < 1 / 6
            row.append(None if missing else pool.pop() if pool else random.choice(column.values))
        found.append(tuple(row))
    return tuple(found)


def created(dialect: Dialect, table: Table, types: list[str], name: str) -> list[str]:
    columns = ", ".join(f"{c.name} {t}" for c, t in zip(table.columns, types, strict=True))
    rows = ",\n".join(
        "(" + ", ".join(dialect.literal(value) for value in row) + ")" for row in table.rows
    )
    return [f"CREATE TABLE {name} ({columns})", f"INSERT INTO {name} VALUES {rows}"]
