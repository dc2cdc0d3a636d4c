"""The tables that a user may see, according to their own worker."""

from __future__ import annotations

import re
from typing import Final

from pondflight.ai.sql import Table
from pondflight.control import Json
from pondflight.dialect.words import RESERVED
from pondflight.web.ai.reader import Reader

_COLUMNS: Final = """
SELECT database_name, schema_name, table_name, column_name, data_type
FROM duckdb_columns() WHERE NOT internal
ORDER BY database_name, schema_name, table_name, column_index
LIMIT 100000"""
_DATABASES: Final = """
SELECT d.database_name AS name, d.type AS type, d.readonly AS readonly, count(t.name) AS tables
FROM duckdb_databases() AS d
LEFT JOIN (SELECT database_name, table_name AS name FROM duckdb_tables() WHERE NOT internal
           UNION ALL
           SELECT database_name, view_name FROM duckdb_views() WHERE NOT internal) AS t
ON t.database_name = d.database_name
WHERE NOT d.internal GROUP BY ALL ORDER BY name"""
_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_]*")
_OWN: Final = "memory"
_MAIN: Final = "main"


def databases_of(reader: Reader) -> list[Json]:
    """Return ``name``, ``type``, ``readonly`` and number of ``tables`` of each database."""
    return reader.rows(_DATABASES)


def tables_of(reader: Reader) -> list[Table]:
    """Return all tables and views with their columns."""
    columns: dict[str, list[str]] = {}
    for row in reader.rows(_COLUMNS):
        name = path_of(row["database_name"], row["schema_name"], row["table_name"])
        columns.setdefault(name, []).append(f"{quoted(row['column_name'])} {row['data_type']}")
    return [Table(name, tuple(found)) for name, found in columns.items()]


def path_of(database: str, schema: str, table: str) -> str:
    """Return the name of a table in SQL, as short as possible."""
    parts = [table]
    if schema != _MAIN:
        parts.insert(0, schema)
    if database != _OWN:
        parts.insert(0, database)
    return ".".join(quoted(part) for part in parts)


def quoted(name: str) -> str:
    """Return the name as an identifier, quoted if necessary."""
    if _PLAIN.fullmatch(name) and name not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'
