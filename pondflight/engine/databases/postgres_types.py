"""Columns that PostgreSQL compares by other rules than DuckDB.

DuckDB's extension sends filters on them by their DuckDB types: ``char(n)`` and ``citext`` as text,
``numeric`` without a precision as a double. PostgreSQL then pads, folds or compares exactly where
DuckDB does not, and rows are lost.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import duckdb

from pondflight.engine.duck import literal

_REMEMBERED_SECONDS = 10.0

_ALIKE = (
    "bool",
    "bytea",
    "date",
    "float4",
    "float8",
    "int2",
    "int4",
    "int8",
    "oid",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "uuid",
    "varchar",
)
"""Types that both compare in the same way; text by bytes, which the extension requests."""

_ENCODINGS = ("UTF8", "LATIN1", "SQL_ASCII")
"""Encodings of databases in which byte order is the order of UTF-8."""

_COLUMNS = f"""
    SELECT c.relname, a.attname
    FROM pg_catalog.pg_attribute AS a
    JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_collation AS l ON l.oid = a.attcollation
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'v', 'm', 'f', 'p')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%'
      AND t.typtype <> 'e' AND t.typcategory <> 'A'
      AND (
        to_jsonb(l) ->> 'collisdeterministic' = 'false'
        OR NOT (
          t.typname IN ({", ".join(map(literal, _ALIKE))})
          OR (t.typname = 'numeric' AND a.atttypmod <> -1)
        )
      )
"""
_ESCAPES = "SELECT current_setting('standard_conforming_strings') = 'on'"
_ENCODING = f"SELECT pg_catalog.getdatabaseencoding() IN ({', '.join(map(literal, _ENCODINGS))})"


@dataclass(frozen=True, slots=True)
class Unlike:
    """Columns that PostgreSQL compares differently, by table; ``all_text``: any text may be one."""

    columns: Mapping[str, Collection[str]]
    all_text: bool


_UNKNOWN = Unlike({}, all_text=True)


class PostgresTypes:
    """What is known of the attached PostgreSQL databases; read again every few seconds."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Unlike]] = {}

    def unlike(self, connection: duckdb.DuckDBPyConnection) -> list[Unlike]:
        """Return, for each PostgreSQL database attached now, what it compares differently.

        It does not use the transaction of ``connection``.
        """
        with connection.cursor() as cursor:
            aliases = cursor.execute(
                "SELECT database_name FROM system.main.duckdb_databases() WHERE type = 'postgres'"
            ).fetchall()
            return [self._of(cursor, alias) for (alias,) in aliases]

    def _of(self, cursor: duckdb.DuckDBPyConnection, alias: str) -> Unlike:
        now = time.monotonic()
        known = self._known.get(alias)
        if known is None or known[0] < now - _REMEMBERED_SECONDS:
            try:
                known = now, _asked(cursor, alias)
            except duckdb.Error:  # the server is away, or not PostgreSQL
                return _UNKNOWN
            self._known[alias] = known
        return known[1]


def _asked(cursor: duckdb.DuckDBPyConnection, alias: str) -> Unlike:
    def query(sql: str) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = cursor.execute(
            f"FROM system.main.postgres_query({literal(alias)}, {literal(sql)})"
        ).fetchall()
        return found

    columns: dict[str, set[str]] = {}
    for table, column in query(_COLUMNS):
        columns.setdefault(str(table), set()).add(str(column))
    all_text = query(f"{_ESCAPES} AND ({_ENCODING})") != [(True,)]
    return Unlike(columns, all_text)
