"""Catalogs, schemas, tables and columns, as Flight SQL's fixed result schemas."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import duckdb
import pyarrow as pa

from pondflight.engine.describe import Describer
from pondflight.flightsql import commands as c
from pondflight.flightsql import schemas

TABLE_TYPES = ("TABLE", "VIEW")
_SAME_TYPE = {"BASE TABLE": "TABLE", "LOCAL TEMPORARY": "TABLE"}

# Catalogs that hold something of the user's: DuckDB's own are left out, and "temp" while empty.
_CATALOGS = """
    SELECT database_name FROM duckdb_databases() WHERE NOT internal
    UNION
    SELECT database_name FROM duckdb_tables() WHERE temporary
    UNION
    SELECT database_name FROM duckdb_views() WHERE temporary AND NOT internal
"""


def catalogs(cursor: duckdb.DuckDBPyConnection) -> pa.Table:
    """``schemas.CATALOGS``."""
    rows = cursor.execute(f"SELECT database_name FROM ({_CATALOGS}) ORDER BY 1").fetchall()
    return _table(schemas.CATALOGS, rows)


def db_schemas(cursor: duckdb.DuckDBPyConnection, command: c.GetDbSchemas) -> pa.Table:
    """``schemas.DB_SCHEMAS``."""
    where, values = _filters(
        ("database_name = ?", command.catalog),
        ("schema_name LIKE ? ESCAPE '\\'", command.db_schema_filter_pattern),
    )
    rows = cursor.execute(
        f"""
        SELECT DISTINCT database_name, schema_name FROM duckdb_schemas()
        WHERE database_name IN ({_CATALOGS})
          AND schema_name NOT IN ('information_schema', 'pg_catalog') {where}
        ORDER BY ALL
        """,
        values,
    ).fetchall()
    return _table(schemas.DB_SCHEMAS, rows)


def tables(
    cursor: duckdb.DuckDBPyConnection, describer: Describer, command: c.GetTables
) -> pa.Table:
    """``schemas.TABLES``, or ``TABLES_WITH_SCHEMA`` with each table's Arrow schema."""
    where, values = _filters(
        ("database_name = ?", command.catalog),
        ("schema_name LIKE ? ESCAPE '\\'", command.db_schema_filter_pattern),
        ("table_name LIKE ? ESCAPE '\\'", command.table_name_filter_pattern),
    )
    if command.table_types:
        kinds = [_SAME_TYPE.get(kind.upper(), kind.upper()) for kind in command.table_types]
        where += " AND list_contains(?, table_type)"
        values.append(kinds)
    source = f"""
        SELECT database_name, schema_name, table_name, table_type FROM (
            SELECT database_name, schema_name, table_name, 'TABLE' AS table_type
            FROM duckdb_tables() WHERE NOT internal
            UNION ALL
            SELECT database_name, schema_name, view_name, 'VIEW'
            FROM duckdb_views() WHERE NOT internal
        ) AS found
        WHERE true {where}
    """
    if not command.include_schema:
        rows = cursor.execute(f"{source} ORDER BY ALL", values).fetchall()
        return _table(schemas.TABLES, rows)
    columns = cursor.execute(
        f"""
        SELECT t.database_name, t.schema_name, t.table_name, t.table_type,
               c.column_name, c.data_type, c.is_nullable
        FROM ({source}) AS t
        LEFT JOIN duckdb_columns() AS c USING (database_name, schema_name, table_name)
        ORDER BY t.database_name, t.schema_name, t.table_name, t.table_type, c.column_index
        """,
        values,
    ).fetchall()
    described = []
    for key, group in groupby(columns, key=lambda row: row[:4]):
        schema = pa.schema(
            [
                _column(describer.field(cursor, kind), key, name, kind).with_nullable(nullable)
                for *_, name, kind, nullable in group
                if name is not None
            ]
        )
        described.append((*key, schema.serialize().to_pybytes()))
    return _table(schemas.TABLES_WITH_SCHEMA, described)


def table_types() -> pa.Table:
    """``schemas.TABLE_TYPES``."""
    return _table(schemas.TABLE_TYPES, [(kind,) for kind in TABLE_TYPES])


def _column(field: pa.Field, table: tuple[str, ...], name: str, kind: str) -> pa.Field:
    catalog, schema, table_name, _ = table
    metadata = dict(field.metadata or {}) | {
        b"ARROW:FLIGHT:SQL:CATALOG_NAME": catalog.encode(),
        b"ARROW:FLIGHT:SQL:SCHEMA_NAME": schema.encode(),
        b"ARROW:FLIGHT:SQL:TABLE_NAME": table_name.encode(),
        b"ARROW:FLIGHT:SQL:TYPE_NAME": kind.encode(),
    }
    return pa.field(name, field.type, metadata=metadata)


def _filters(*conditions: tuple[str, str | None]) -> tuple[str, list[Any]]:
    given = [(sql, value) for sql, value in conditions if value is not None]
    return "".join(f" AND {sql}" for sql, _ in given), [value for _, value in given]


def _table(schema: pa.Schema, rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
