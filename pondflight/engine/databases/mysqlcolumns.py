"""Columns of MySQL's tables whose values DuckDB's extension may change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pondflight.engine.databases.columns import Column, Doubt

_WIDEST = 38

_COLUMNS = """
    SELECT table_schema AS s, table_name AS r, column_name AS a, column_type AS f,
           CAST(numeric_precision AS SIGNED) AS p
    FROM information_schema.columns
    WHERE table_schema = database() AND table_name IN ({names})
      AND (data_type = 'decimal' AND numeric_precision > {widest}
           OR data_type IN ('geometrycollection', 'geomcollection'))
"""


def listed(tables: Sequence[str]) -> str:
    """The query for ``columns``: the doubtful ones of all tables with one of those names."""
    # As bytes, so that no quote or backslash of a name can be taken for another.
    names = ", ".join(f"CONVERT(0x{name.encode().hex()} USING utf8mb4)" for name in tables)
    return _COLUMNS.format(names=names, widest=_WIDEST)


def columns(rows: Iterable[Sequence[Any]]) -> Iterator[Column]:
    """The columns that the answer to ``listed`` tells of."""
    for schema, table, name, shown, precision in rows:
        column = _quoted(name)
        if precision is None:
            doubt = Doubt(f"{column} IS NOT NULL", "geometries that DuckDB takes for text")
        else:
            digits = f"CAST(CAST({column} AS DOUBLE) AS DECIMAL(65, 30)) <> {column}"
            doubt = Doubt(digits, "values of more than 15 digits, which are not exact as DOUBLE")
        yield Column(
            schema=schema,
            table=table,
            name=name,
            type=shown,
            source=f"{_quoted(schema)}.{_quoted(table)}",
            doubts=(doubt,),
            written_as_double=precision is not None,
        )


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
