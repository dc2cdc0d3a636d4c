"""What the rows of a statement are: names, types and Arrow schema, before it is run.

DuckDB binds a query without running it, and says which types its columns have; what Arrow type
each of them becomes is learnt from a query that returns no rows.
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
    """For each column the SQL type in which it leaves, if that is another."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "casts", tuple(map(sent_as, self.kinds)))

    @classmethod
    def of(cls, result: duckdb.DuckDBPyConnection) -> Columns:
        """The columns of the statement that was executed last."""
        found = result.description or []
        return cls(tuple(column[0] for column in found), tuple(column[1] for column in found))

    def exported(self, text: str) -> str:
        """The query whose rows are those of the query ``text`` as they leave; maybe itself."""
        casts = self.casts
        return cast_columns(text, self.names, casts) if any(casts) else text

    def export(self, relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """``relation``, which has these columns, as it leaves; maybe itself."""
        casts = self.casts
        if not any(casts):
            return relation
        return relation.project(projection(enumerate(zip(self.names, casts, strict=True), 1), "#"))

    def annotate(self, schema: pa.Schema) -> pa.Schema:
        """``schema``, as DuckDB exports these columns, with Flight SQL's metadata if it fits."""
        return annotated(schema, map(column_metadata, self.kinds))


class Describer:
    """Describes statements; remembers what DuckDB's types are in Arrow."""

    def __init__(self) -> None:
        self._fields: dict[str, pa.Field] = {}
        self._uncast: dict[str, None] = {}

    def leaves_as_is(self, statement: Statement) -> bool:
        """Whether all columns of ``statement`` left as DuckDB made them when it was last described.

        They may be others by now: whoever relies on it looks at what the run has made.
        """
        return statement.text in self._uncast

    def forget_types(self) -> None:
        """A setting has changed: perhaps one of those that say what types are in Arrow."""
        self._fields = {}

    def columns(
        self, cursor: duckdb.DuckDBPyConnection, statement: Statement, values: Values
    ) -> Columns | None:
        """The columns of the rows of ``statement``, or ``None`` if only running it would tell.

        Raises ``SqlError`` where the statement cannot be bound.
        """
        if statement.lazy:
            found = _bound(cursor, statement.describable, values)
            self._remember(statement, found)
            return found
        query = _equivalent(statement)
        if query is None:
            return None
        for given in (None, values):  # the parameters may stand elsewhere in the statement
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
        """The Arrow schema in which ``columns`` leave."""
        types = [cast or str(kind) for cast, kind in zip(columns.casts, columns.kinds, strict=True)]
        fields = self.fields(cursor, types)
        named = [field.with_name(name) for field, name in zip(fields, columns.names, strict=True)]
        return columns.annotate(pa.schema(named))

    def fields(self, cursor: duckdb.DuckDBPyConnection, types: list[str]) -> list[pa.Field]:
        """For each SQL type a nullable field of the Arrow type that DuckDB exports it as."""
        # The Arrow type of these has the session's time zone in it.
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
            # Of two columns with one name, the second has got another in the query above.
            cursor.execute(f"DESCRIBE (\n{query}\n)", values)
            found = replace(found, names=tuple(row[0] for row in cursor.fetchall()))
    return found


def _equivalent(statement: Statement) -> str | None:
    """A query with the same columns as what ``statement`` returns."""
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
