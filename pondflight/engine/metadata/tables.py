"""Catalogs, schemas, tables and columns, as Flight SQL's fixed result schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import duckdb
import pyarrow as pa

from pondflight.engine.types.datatypes import (
    annotated,
    column_metadata,
    kind_of,
    metadata_key,
    sent_as,
)
from pondflight.engine.types.describe import Describer
from pondflight.flightsql import commands as c
from pondflight.flightsql import schemas

_SAME_TYPE = {"BASE TABLE": "TABLE", "LOCAL TEMPORARY": "TABLE"}

_CATALOG = metadata_key("CATALOG_NAME")
_SCHEMA = metadata_key("SCHEMA_NAME")
_TABLE = metadata_key("TABLE_NAME")
_READ_ONLY = metadata_key("IS_READ_ONLY")
_AUTO_INCREMENT = metadata_key("IS_AUTO_INCREMENT")
_REMARKS = metadata_key("REMARKS")

# Catalogs that hold data of the user's, so neither DuckDB's own nor an empty "temp".
_CATALOGS = """
    SELECT database_name FROM duckdb_databases() WHERE NOT internal
    UNION
    SELECT database_name FROM duckdb_tables() WHERE temporary
    UNION
    SELECT database_name FROM duckdb_views() WHERE temporary AND NOT internal
"""


def catalogs(cursor: duckdb.DuckDBPyConnection) -> pa.Table:
    """Return rows of ``schemas.CATALOGS``."""
    rows = cursor.execute(f"SELECT database_name FROM ({_CATALOGS}) ORDER BY 1").fetchall()
    return table(schemas.CATALOGS, rows)


def db_schemas(cursor: duckdb.DuckDBPyConnection, command: c.GetDbSchemas) -> pa.Table:
    """Return rows of ``schemas.DB_SCHEMAS``."""
    where, values = filters(
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
    return table(schemas.DB_SCHEMAS, rows)


def tables(
    cursor: duckdb.DuckDBPyConnection,
    describer: Describer,
    command: c.GetTables,
    stand_ins: Sequence[tuple[str, str]] = (),
) -> pa.Table:
    """Return ``schemas.TABLES``, or ``TABLES_WITH_SCHEMA`` with each table's Arrow schema.

    ``stand_ins``: catalog and name of views that stand for tables of an attached database.
    """
    where, values = filters(
        ("database_name = ?", command.catalog),
        ("schema_name LIKE ? ESCAPE '\\'", command.db_schema_filter_pattern),
        ("table_name LIKE ? ESCAPE '\\'", command.table_name_filter_pattern),
    )
    values = [[f"{catalog}.{name}" for catalog, name in stand_ins], *values]
    if command.table_types:
        kinds = [_SAME_TYPE.get(kind.upper(), kind.upper()) for kind in command.table_types]
        where += " AND list_contains(?, table_type)"
        values.append(kinds)
    source = f"""
        SELECT database_name, schema_name, table_name, table_type FROM (
            SELECT database_name, schema_name, table_name, 'TABLE' AS table_type
            FROM duckdb_tables() WHERE NOT internal
            UNION ALL
            SELECT database_name, schema_name, view_name,
                   CASE WHEN list_contains(CAST(? AS VARCHAR[]), database_name || '.' || view_name)
                        THEN 'TABLE' ELSE 'VIEW' END
            FROM duckdb_views() WHERE NOT internal
        ) AS found
        WHERE true {where}
    """
    if not command.include_schema:
        rows = cursor.execute(f"{source} ORDER BY ALL", values).fetchall()
        return table(schemas.TABLES, rows)
    columns = cursor.execute(
        f"""
        SELECT t.database_name, t.schema_name, t.table_name, t.table_type,
               c.column_name, c.data_type, coalesce(c.is_nullable, true), c.comment,
               coalesce(c.column_default LIKE 'nextval(%', false), d.readonly
        FROM ({source}) AS t
        JOIN duckdb_databases() AS d USING (database_name)
        LEFT JOIN duckdb_columns() AS c USING (database_name, schema_name, table_name)
        ORDER BY t.database_name, t.schema_name, t.table_name, t.table_type, c.column_index
        """,
        values,
    ).fetchall()
    fields = _Fields(cursor, describer, {row[5] for row in columns if row[4] is not None})
    described = []
    for key, group in groupby(columns, key=lambda row: row[:4]):
        found = [fields.field(*row) for row in group if row[4] is not None]
        schema = annotated(pa.schema([one for one, _ in found]), [more for _, more in found])
        described.append((*key, schema.serialize().to_pybytes()))
    return table(schemas.TABLES_WITH_SCHEMA, described)


class _Fields:
    """Makes the Arrow fields of columns; what all columns of a type share is made once."""

    def __init__(
        self, cursor: duckdb.DuckDBPyConnection, describer: Describer, types: set[str]
    ) -> None:
        names = sorted(types)
        kinds = [kind_of(name) for name in names]
        sent = [(sent_as(kind) or str(kind)) if kind else "VARCHAR" for kind in kinds]
        fields = describer.fields(cursor, sent) if sent else []
        self._known: dict[str, tuple[pa.Field, Mapping[bytes, bytes]]] = {}
        for name, kind, field in zip(names, kinds, fields, strict=True):
            metadata = column_metadata(kind) if kind else {metadata_key("TYPE_NAME"): name.encode()}
            self._known[name] = (field, metadata)

    def field(  # noqa: PLR0913, PLR0917  a row of the query above
        self,
        catalog: str,
        schema: str,
        table: str,
        _: str,
        name: str,
        type_name: str,
        nullable: bool,  # noqa: FBT001
        comment: str | None,
        counts_up: bool,  # noqa: FBT001
        read_only: bool,  # noqa: FBT001
    ) -> tuple[pa.Field, Mapping[bytes, bytes]]:
        """Return the field of one column, and Flight SQL's metadata of it."""
        known, metadata = self._known[type_name]
        more = {
            _CATALOG: catalog.encode(),
            _SCHEMA: schema.encode(),
            _TABLE: table.encode(),
            _READ_ONLY: b"1" if read_only else b"0",
        }
        if counts_up:
            more[_AUTO_INCREMENT] = b"1"
        if comment is not None:
            more[_REMARKS] = comment.encode()
        return known.with_name(name).with_nullable(nullable), {**metadata, **more}


def filters(*conditions: tuple[str, str | None]) -> tuple[str, list[object]]:
    """Return SQL for a WHERE clause, and its values, of those conditions whose value is given."""
    given = [(sql, value) for sql, value in conditions if value is not None]
    return "".join(f" AND {sql}" for sql, _ in given), [value for _, value in given]


def table(schema: pa.Schema, rows: list[tuple[object, ...]]) -> pa.Table:
    """Return rows with the columns of ``schema`` as a table."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
