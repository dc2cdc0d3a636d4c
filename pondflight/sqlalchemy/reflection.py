"""Reflection for SQLAlchemy: catalogs, schemas, tables, columns, keys, indexes.

DuckDB's own catalog functions answer every question. ``schema`` is a name of ``names``; ``None`` is
the current schema, which includes temporary tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import exc, text
from sqlalchemy.engine import Connection, reflection

from pondflight.sqlalchemy import names, types

T = TypeVar("T")
Row = tuple[Any, ...]
"""Values of DuckDB's, of types that the query says."""


def _cached(method: Callable[..., T]) -> Callable[..., T]:
    """Return ``method`` with SQLAlchemy's cache; that of 1.4 cannot read annotations as text."""
    method.__annotations__ = {}
    cached: Callable[..., T] = reflection.cache(method)
    return cached


_HERE = """
    (database_name = coalesce(:catalog, current_database())
     AND schema_name = coalesce(:schema, current_schema())
     OR CAST(:schema AS VARCHAR) IS NULL AND database_name = 'temp')"""

_SCHEMAS = """
    SELECT database_name, schema_name, database_name = current_database()
    FROM duckdb_schemas()
    WHERE database_name NOT IN ('system', 'temp')
      AND schema_name NOT IN ('information_schema', 'pg_catalog')
    ORDER BY 3 DESC, 1, 2"""

_TABLES = f"""
    SELECT table_name FROM duckdb_tables()
    WHERE NOT internal AND temporary = :temporary AND {_HERE} ORDER BY 1"""  # noqa: S608

_VIEWS = f"""
    SELECT view_name, sql FROM duckdb_views()
    WHERE NOT internal AND temporary = :temporary AND {_HERE} ORDER BY 1"""  # noqa: S608

_COLUMNS = f"""
    SELECT column_name, data_type, is_nullable, column_default, comment FROM duckdb_columns()
    WHERE table_name = :table AND {_HERE}
    ORDER BY database_name = 'temp' DESC, table_oid, column_index"""  # noqa: S608

_CONSTRAINTS = f"""
    SELECT constraint_name, constraint_column_names, expression,
           referenced_table, referenced_column_names
    FROM duckdb_constraints()
    WHERE constraint_type = :kind AND table_name = :table AND {_HERE}
    ORDER BY constraint_index"""  # noqa: S608

_INDEXES = f"""
    SELECT index_name, is_unique, CAST(expressions AS VARCHAR[]) FROM duckdb_indexes()
    WHERE table_name = :table AND {_HERE} ORDER BY 1"""  # noqa: S608

_COMMENT = f"""
    SELECT comment FROM duckdb_tables() WHERE table_name = :table AND {_HERE}"""  # noqa: S608


class Reflection:
    """The part of the dialect that the Inspector uses."""

    default_schema_name: str | None

    @_cached
    def get_schema_names(self, connection: Connection, **kw: object) -> list[str]:
        """Return the schemas: of the current catalog first, then of others with their catalog."""
        return [
            names.alone(schema) if current else names.join(catalog, schema)
            for catalog, schema, current in connection.execute(text(_SCHEMAS))
        ]

    @_cached
    def get_table_names(
        self, connection: Connection, schema: str | None = None, **kw: object
    ) -> list[str]:
        """Return the tables of a schema, without temporary ones."""
        return [name for (name,) in _ask(connection, _TABLES, schema, temporary=False)]

    @_cached
    def get_temp_table_names(self, connection: Connection, **kw: object) -> list[str]:
        """Return the temporary tables of this connection."""
        return [name for (name,) in _ask(connection, _TABLES, None, temporary=True)]

    @_cached
    def get_view_names(
        self, connection: Connection, schema: str | None = None, **kw: object
    ) -> list[str]:
        """Return the views of a schema."""
        return [name for name, _ in _ask(connection, _VIEWS, schema, temporary=False)]

    @_cached
    def get_temp_view_names(self, connection: Connection, **kw: object) -> list[str]:
        """Return the temporary views of this connection."""
        return [name for name, _ in _ask(connection, _VIEWS, None, temporary=True)]

    @_cached
    def get_view_definition(
        self, connection: Connection, view_name: str, schema: str | None = None, **kw: object
    ) -> str:
        """Return the statement that created a view."""
        for name, definition in _ask(connection, _VIEWS, schema, temporary=False):
            if name == view_name:
                return str(definition)
        raise exc.NoSuchTableError(view_name)

    def has_table(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: object
    ) -> bool:
        """Return whether there is a table or a view of that name."""
        return bool(_ask(connection, _COLUMNS, schema, table=table_name))

    @_cached
    def has_sequence(
        self, connection: Connection, sequence_name: str, schema: str | None = None, **kw: object
    ) -> bool:
        """Return whether there is a sequence of that name."""
        statement = f"SELECT 1 FROM duckdb_sequences() WHERE sequence_name = :name AND {_HERE}"  # noqa: S608
        return bool(_ask(connection, statement, schema, name=sequence_name))

    @_cached
    def get_columns(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: object
    ) -> list[dict[str, object]]:
        """Return the columns of a table or a view, in order."""
        return [
            {
                "name": name,
                "type": types.from_text(data_type),
                "nullable": nullable,
                "default": default,
                "autoincrement": bool(default and default.startswith("nextval(")),
                "comment": comment,
            }
            for name, data_type, nullable, default, comment in self._rows(
                connection, _COLUMNS, schema, table_name
            )
        ]

    @_cached
    def get_pk_constraint(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: object
    ) -> dict[str, object]:
        """Return the primary key; without columns if there is none."""
        for name, columns, *_ in self._constraints(connection, "PRIMARY KEY", schema, table_name):
            return {"constrained_columns": columns, "name": name}
        return {"constrained_columns": [], "name": None}

    @_cached
    def get_foreign_keys(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: object
    ) -> list[dict[str, object]]:
        """Return the foreign keys. DuckDB has them within one schema only."""
        return [
            {
                "name": name,
                "constrained_columns": columns,
                "referred_schema": schema,
                "referred_table": table,
                "referred_columns": referred,
                "options": {},
            }
            for name, columns, _, table, referred in self._constraints(
                connection, "FOREIGN KEY", schema, table_name
            )
        ]

    @_cached
    def get_unique_constraints(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: object
    ) -> list[dict[str, object]]:
        """Return the UNIQUE constraints."""
        return [
            {"name": name, "column_names": columns}
            for name, columns, *_ in self._constraints(connection, "UNIQUE", schema, table_name)
        ]

    @_cached
    def get_check_constraints(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: object
    ) -> list[dict[str, object]]:
        """Return the CHECK constraints."""
        return [
            {"name": name, "sqltext": expression}
            for name, _, expression, *_ in self._constraints(
                connection, "CHECK", schema, table_name
            )
        ]

    @_cached
    def get_indexes(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: object
    ) -> list[dict[str, object]]:
        """Return the indexes, without those of keys. Expressions are in ``expressions``."""
        columns = {
            form: name
            for name, *_ in self._rows(connection, _COLUMNS, schema, table_name)
            for form in (name, names.quote(name))
        }
        found = []
        for name, unique, parts in _ask(connection, _INDEXES, schema, table=table_name):
            plain = [columns.get(part) for part in parts]
            index: dict[str, object] = {"name": name, "unique": unique, "column_names": plain}
            if None in plain:
                index["expressions"] = parts
            found.append(index)
        return found

    @_cached
    def get_table_comment(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: object
    ) -> dict[str, str | None]:
        """Return the comment of a table."""
        self._rows(connection, _COLUMNS, schema, table_name)
        for (comment,) in _ask(connection, _COMMENT, schema, table=table_name):
            return {"text": comment}
        return {"text": None}

    def _constraints(
        self, connection: Connection, kind: str, schema: str | None, table: str
    ) -> list[Row]:
        self._rows(connection, _COLUMNS, schema, table)
        return _ask(connection, _CONSTRAINTS, schema, table=table, kind=kind)

    def _rows(
        self, connection: Connection, statement: str, schema: str | None, table: str
    ) -> list[Row]:
        """Return the rows; raise NoSuchTableError if there is no such table."""
        rows = _ask(connection, statement, schema, table=table)
        if not rows:
            raise exc.NoSuchTableError(table if schema is None else f"{schema}.{table}")
        return rows


def _ask(connection: Connection, statement: str, schema: str | None, **values: object) -> list[Row]:
    catalog, plain = (None, None) if schema is None else names.split(schema)
    asked = text(statement)
    return [
        tuple(row)
        for row in connection.execute(asked, values | {"catalog": catalog, "schema": plain})
    ]
