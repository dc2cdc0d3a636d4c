"""The schemas of statements that have not run: of their rows, and of their parameters."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from pondflight.engine.sql.inference import parameter_types
from pondflight.engine.sql.statement import Statement
from pondflight.engine.types import parameters
from pondflight.engine.types.datatypes import sent_as
from pondflight.engine.types.describe import Describer
from pondflight.errors import SqlError


def result_schema(
    describer: Describer,
    cursor: duckdb.DuckDBPyConnection,
    statements: list[Statement],
    bound: pa.Table | None,
) -> pa.Schema | None:
    """Return the schema of the last statement's rows.

    ``None``: it has none, or only a run tells.
    """
    last = statements[-1]
    if not last.returns_rows:
        return None
    try:
        columns = describer.columns(cursor, last, parameters.example(last, bound))
    except SqlError:
        if len(statements) == 1:
            raise
        columns = None  # it may need what the statements before it create
    return None if columns is None else describer.schema(cursor, columns)


def unbound_schema(
    describer: Describer, cursor: duckdb.DuckDBPyConnection, statements: list[Statement]
) -> pa.Schema | None:
    """Return the schema before parameters are bound; ``None`` if it depends on their values.

    ``date_trunc('day', ?)`` has no type until ``?`` has one. Other errors of the statement
    appear when it is run.
    """
    try:
        return result_schema(describer, cursor, statements, None)
    except SqlError:
        if not any(statement.parameters for statement in statements):
            raise
        return None


def parameter_schema(
    describer: Describer, cursor: duckdb.DuckDBPyConnection, statements: list[Statement]
) -> pa.Schema:
    """Return a field for each parameter, of the Arrow type that clients should send."""
    fields: list[pa.Field] = []
    for statement in statements:
        if not statement.parameters:
            continue
        known = parameter_types(cursor, statement)
        types = [known.get(name, "VARCHAR") for name in statement.parameters]
        sent = [sent_as(duckdb.sqltype(type_)) or type_ for type_ in types]
        learnt = describer.fields(cursor, sent) if sent else []
        fields += [
            pa.field(name, parameters.encoding(field.type))
            for name, field in zip(statement.parameters, learnt, strict=True)
        ]
    return pa.schema(fields)
