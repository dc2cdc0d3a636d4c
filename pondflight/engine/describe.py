"""The result schema of a statement that has not been run.

DuckDB's Python API has no such call. ``DESCRIBE`` binds a query, with parameters too, and names
its types; what Arrow type each of them becomes is learnt from a query that returns no rows.
"""

from __future__ import annotations

import re

import duckdb
import pyarrow as pa

from pondflight.engine import sql
from pondflight.engine.duck import sql_errors
from pondflight.engine.parameters import Values
from pondflight.engine.sql import Statement
from pondflight.errors import SqlError

_EXPLAIN = pa.schema([("explain_key", pa.string()), ("explain_value", pa.string())])
_CALL = re.compile(r"^\s*call\b", re.IGNORECASE)
_CACHE_LIMIT = 4096


class Describer:
    """Describes statements; remembers what DuckDB's types are in Arrow."""

    def __init__(self) -> None:
        self._fields: dict[str, pa.Field] = {}

    def schema(
        self, cursor: duckdb.DuckDBPyConnection, statement: Statement, values: Values
    ) -> pa.Schema | None:
        """The schema of the rows of ``statement``, or ``None`` if only running it would tell.

        Raises ``SqlError`` where the statement cannot be bound.
        """
        if statement.lazy:
            return self._query(cursor, statement.describable, values)
        if statement.kind == "EXPLAIN":
            return _EXPLAIN
        query = _equivalent(statement)
        if query is None:
            return None
        try:
            return self._query(cursor, query, values)
        except SqlError:
            return None

    def field(self, cursor: duckdb.DuckDBPyConnection, type_name: str) -> pa.Field:
        """A nullable field of the Arrow type that DuckDB exports ``type_name`` as."""
        field = self._fields.get(type_name)
        if field is None:
            reader = cursor.execute(f"SELECT CAST(NULL AS {type_name}) LIMIT 0").to_arrow_reader(1)
            if len(self._fields) >= _CACHE_LIMIT:
                self._fields.clear()
            field = self._fields[type_name] = reader.schema.field(0)
        return field

    def _query(self, cursor: duckdb.DuckDBPyConnection, query: str, values: Values) -> pa.Schema:
        with sql_errors(lines_above=1):
            cursor.execute(f"DESCRIBE (\n{query}\n)", values)
            columns = [(row[0], row[1]) for row in cursor.fetchall()]
        with sql_errors():
            return pa.schema(
                [self.field(cursor, type_name).with_name(name) for name, type_name in columns]
            )


def _equivalent(statement: Statement) -> str | None:
    """A query with the same columns as what ``statement`` returns."""
    if statement.kind == "CALL":
        return _CALL.sub("SELECT * FROM ", statement.text)
    returning = sql.returning_clause(statement.text)
    table = sql.target(statement.text)
    if returning is None or table is None:
        return None
    return f"SELECT {returning}\nFROM {table}"
