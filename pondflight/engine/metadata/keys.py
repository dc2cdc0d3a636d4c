"""Primary and foreign keys, as far as DuckDB knows them.

It knows all keys of its own tables. Of attached databases, it knows only the primary keys of
SQLite's tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import duckdb
import pyarrow as pa

from pondflight.engine.databases.sqlitefile import Object
from pondflight.engine.metadata.tables import filters, table
from pondflight.flightsql import commands as c
from pondflight.flightsql import schemas

_NO_ACTION = 3
"""The rule for updates and deletes: DuckDB has no other."""

# One row for each column of a key.
_PRIMARY_KEYS = """
    SELECT database_name, schema_name, table_name,
           unnest(constraint_column_names) AS column_name,
           unnest(range(1, len(constraint_column_names) + 1))::INTEGER AS key_sequence,
           constraint_name
    FROM duckdb_constraints()
    WHERE constraint_type = 'PRIMARY KEY'
"""

# A foreign key stays within its schema and refers to a primary key or a unique one.
_FOREIGN_KEYS = f"""
    SELECT fk.database_name AS pk_catalog, fk.schema_name AS pk_schema,
           fk.referenced_table AS pk_table, unnest(fk.referenced_column_names) AS pk_column,
           fk.database_name AS fk_catalog, fk.schema_name AS fk_schema,
           fk.table_name AS fk_table, unnest(fk.constraint_column_names) AS fk_column,
           unnest(range(1, len(fk.constraint_column_names) + 1))::INTEGER AS key_sequence,
           fk.constraint_name AS fk_name, pk.constraint_name AS pk_name,
           {_NO_ACTION} AS update_rule, {_NO_ACTION} AS delete_rule
    FROM duckdb_constraints() AS fk
    LEFT JOIN duckdb_constraints() AS pk
      ON pk.constraint_type IN ('PRIMARY KEY', 'UNIQUE')
     AND pk.database_name = fk.database_name AND pk.schema_name = fk.schema_name
     AND lower(pk.table_name) = lower(fk.referenced_table)
     AND pk.constraint_column_names = fk.referenced_column_names
    WHERE fk.constraint_type = 'FOREIGN KEY'
"""


def primary_keys(
    cursor: duckdb.DuckDBPyConnection,
    command: c.GetPrimaryKeys,
    of_sqlite: Mapping[str, Sequence[Object]],
) -> pa.Table:
    """Return rows of ``schemas.PRIMARY_KEYS``. ``of_sqlite``: see ``Databases``."""
    where, values = filters(
        ("database_name = ?", command.catalog),
        ("schema_name = ?", command.db_schema),
        ("lower(table_name) = lower(?)", command.table),
    )
    rows = cursor.execute(f"FROM ({_PRIMARY_KEYS}) WHERE true {where}", values).fetchall()
    rows += _of_sqlite(command, of_sqlite)
    # Catalog, schema, table, name of the key, and place in it.
    return table(schemas.PRIMARY_KEYS, sorted(rows, key=lambda row: (*row[:3], row[5], row[4])))


def _of_sqlite(
    command: c.GetPrimaryKeys, catalogs: Mapping[str, Sequence[Object]]
) -> Iterator[tuple[str, str, str, str, int, str]]:
    for catalog, objects in catalogs.items():
        if command.catalog not in {None, catalog} or command.db_schema not in {None, "main"}:
            continue
        for one in objects:
            if one.name.lower() == command.table.lower():
                key = "_".join([one.name, *one.primary_key, "pkey"])
                for place, column in enumerate(one.primary_key, 1):
                    yield catalog, "main", one.name, column, place, key


def exported_keys(cursor: duckdb.DuckDBPyConnection, command: c.GetExportedKeys) -> pa.Table:
    """Return rows of ``schemas.FOREIGN_KEYS``: the keys that refer to a table."""
    return _foreign_keys(
        cursor,
        "fk_catalog, fk_schema, fk_table, fk_name, key_sequence",
        ("pk_catalog = ?", command.catalog),
        ("pk_schema = ?", command.db_schema),
        ("lower(pk_table) = lower(?)", command.table),
    )


def imported_keys(cursor: duckdb.DuckDBPyConnection, command: c.GetImportedKeys) -> pa.Table:
    """Return rows of ``schemas.FOREIGN_KEYS``: a table's own keys."""
    return _foreign_keys(
        cursor,
        "pk_catalog, pk_schema, pk_table, pk_name, fk_name, key_sequence",
        ("fk_catalog = ?", command.catalog),
        ("fk_schema = ?", command.db_schema),
        ("lower(fk_table) = lower(?)", command.table),
    )


def cross_reference(cursor: duckdb.DuckDBPyConnection, command: c.GetCrossReference) -> pa.Table:
    """Return rows of ``schemas.FOREIGN_KEYS``: the keys of one table that refer to another."""
    return _foreign_keys(
        cursor,
        "fk_catalog, fk_schema, fk_table, fk_name, key_sequence",
        ("pk_catalog = ?", command.pk_catalog),
        ("pk_schema = ?", command.pk_db_schema),
        ("lower(pk_table) = lower(?)", command.pk_table),
        ("fk_catalog = ?", command.fk_catalog),
        ("fk_schema = ?", command.fk_db_schema),
        ("lower(fk_table) = lower(?)", command.fk_table),
    )


def _foreign_keys(
    cursor: duckdb.DuckDBPyConnection, order: str, *conditions: tuple[str, str | None]
) -> pa.Table:
    where, values = filters(*conditions)
    rows = cursor.execute(
        f"FROM ({_FOREIGN_KEYS}) WHERE true {where} ORDER BY {order}", values
    ).fetchall()
    return table(schemas.FOREIGN_KEYS, rows)
