"""What the rows of a statement are before it runs: names, types and Arrow schema.

DuckDB binds a query without running it, and tells the types of its columns; a query that returns no
rows tells what Arrow type each becomes.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace

import duckdb
import pyarrow as pa

from pondflight.engine.duck import sql_errors
from pondflight.engine.sql.clauses import returning_clause, target
from pondflight.engine.sql.lexer import tokenize
from pondflight.engine.sql.statement import Statement
from pondflight.engine.types.datatypes import (
    Kind,
    annotated,
    cast_columns,
    column_metadata,
    projection,
    sent_as,
)
from pondflight.engine.types.parameters import Values
from pondflight.errors import SqlError

_RENAMED = re.compile(r"_\d+$")
_CACHE_LIMIT = 4096
_MOST_TEXTS = 512
_LONGEST_TEXT = 16 << 10


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a result: their names, DuckDB's types, and the types they are cast to."""

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    casts: tuple[str | None, ...] = field(init=False)
    """For each column, the SQL type to which it is cast before it is sent, if any."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "casts", tuple(map(sent_as, self.kinds)))

    @classmethod
    def of(cls, result: duckdb.DuckDBPyConnection) -> Columns:
        """Return the columns of the statement that was executed last."""
        found = result.description or []
        return cls(tuple(column[0] for column in found), tuple(column[1] for column in found))

    def exported(self, text: str) -> str:
        """Return a query with the rows of the query ``text`` as they are sent."""
        casts = self.casts
        return cast_columns(text, self.names, casts) if any(casts) else text

    def export(self, relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Return ``relation``, which has these columns, as it is sent; possibly unchanged."""
        casts = self.casts
        if not any(casts):
            return relation
        return relation.project(projection(enumerate(zip(self.names, casts, strict=True), 1), "#"))

    def annotate(self, schema: pa.Schema) -> pa.Schema:
        """Return ``schema``, as DuckDB exports these columns, with Flight SQL's metadata.

        The metadata is left out if it is too large.
        """
        return annotated(schema, map(column_metadata, self.kinds))


class Describer:
    """Describes statements, and remembers which Arrow types DuckDB's types become."""

    def __init__(self) -> None:
        self._fields: dict[str, pa.Field] = {}
        self._uncast: dict[str, None] = {}

    def leaves_as_is(self, statement: Statement) -> bool:
        """Return whether no column of ``statement`` was cast when it was last described.

        The columns may have changed since, so the caller must check the result of the run.
        """
        return statement.text in self._uncast

    def forget_types(self) -> None:
        """Forget types: a setting has changed that may decide which Arrow types they become."""
        self._fields = {}

    def columns(
        self, cursor: duckdb.DuckDBPyConnection, statement: Statement, values: Values
    ) -> Columns | None:
        """Return the columns of the rows of ``statement``; ``None`` if only a run can tell.

        Raises ``SqlError`` if the statement cannot be bound.
        """
        if statement.lazy:
            found = _bound(cursor, statement.describable, values)
            self._remember(statement, found)
            return found
        query = _equivalent(statement)
        if query is None:
            return None
        for given in (None, values):  # the parameters may be in another part of the statement
            with suppress(SqlError):
                return _bound(cursor, query, given)
        return None

    def _remember(self, statement: Statement, columns: Columns) -> None:
        if any(columns.casts):
            self._uncast.pop(statement.text, None)
        elif statement.text == statement.describable and len(statement.text) <= _LONGEST_TEXT:
            if len(self._uncast) >= _MOST_TEXTS:
                self._uncast = {}
            self._uncast[statement.text] = None

    def schema(self, cursor: duckdb.DuckDBPyConnection, columns: Columns) -> pa.Schema:
        """Return the Arrow schema in which ``columns`` are sent."""
        types = [cast or str(kind) for cast, kind in zip(columns.casts, columns.kinds, strict=True)]
        fields = self.fields(cursor, types)
        named = [field.with_name(name) for field, name in zip(fields, columns.names, strict=True)]
        return columns.annotate(pa.schema(named))

    def fields(self, cursor: duckdb.DuckDBPyConnection, types: list[str]) -> list[pa.Field]:
        """Return, for each SQL type, a nullable field of the Arrow type that DuckDB exports."""
        # The Arrow type of these contains the session's time zone.
        known = {name: field for name, field in self._fields.items() if "TIME ZONE" not in name}
        missing = [name for name in dict.fromkeys(types) if name not in known]
        if missing:
            nulls = ", ".join(f"CAST(NULL AS {name})" for name in missing)
            with sql_errors():
                learnt = cursor.execute(f"SELECT {nulls} LIMIT 0").to_arrow_reader(1).schema
            known |= dict(zip(missing, learnt, strict=True))
            self._fields = known if len(known) <= _CACHE_LIMIT else {}
        return [known[name] for name in types]


def _bound(cursor: duckdb.DuckDBPyConnection, query: str, values: Values) -> Columns:
    if values is None:
        # Ten times as fast as the query below, but its errors do not say where they are.
        with suppress(duckdb.Error):
            relation = cursor.sql(query)
            return Columns(tuple(relation.columns), tuple(relation.types))
    with sql_errors(lines_above=1):
        found = Columns.of(cursor.execute(f"SELECT * FROM (\n{query}\n) LIMIT 0", values))
        if any(_RENAMED.search(name) for name in found.names):
            # If two columns have one name, the second has been renamed in the query above.
            cursor.execute(f"DESCRIBE (\n{query}\n)", values)
            found = replace(found, names=tuple(row[0] for row in cursor.fetchall()))
    return found


def _equivalent(statement: Statement) -> str | None:
    """Return a query with the same columns as the rows of ``statement``; None: there is none."""
    if statement.kind == "EXPLAIN":
        return "SELECT '' AS explain_key, '' AS explain_value"
    if statement.kind == "CALL":
        call = next(tokenize(statement.text))
        return "SELECT * FROM " + statement.text.encode()[call.end :].decode()
    returning = returning_clause(statement.text)
    table = target(statement.text)
    if returning is None or table is None:
        return None
    return f"SELECT {returning}\nFROM {table}"
