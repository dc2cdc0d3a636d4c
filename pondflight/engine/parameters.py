"""Bound parameters: Arrow rows in, values for DuckDB out."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from pondflight.engine.sql import Statement
from pondflight.errors import InvalidArgument

Values = list[object] | dict[str, object] | None
"""Values for one run of one statement, as DuckDB takes them."""


def rows(statement: Statement, table: pa.Table | None) -> Iterator[Values]:
    """The values for each run of ``statement``: one run per row, or one without parameters.

    Raises ``InvalidArgument`` where names or number do not fit.
    """
    names = statement.parameters
    if not names:
        if table is not None and table.num_columns:
            raise InvalidArgument(f"the statement has no parameters, but {_came(table)}")
        for _ in range(1 if table is None else max(1, table.num_rows)):
            yield None
        return
    if table is None or not table.num_columns:
        raise InvalidArgument(f"the statement has {_count(names)}, but none was bound")
    columns = _columns(names, table)
    values = [_values(column) for column in columns]
    positional = names == tuple(str(i + 1) for i in range(len(names)))
    for row in zip(*values, strict=True):
        yield list(row) if positional else dict(zip(names, row, strict=True))


def _columns(names: tuple[str, ...], table: pa.Table) -> list[pa.ChunkedArray]:
    if table.num_columns != len(names):
        raise InvalidArgument(f"the statement has {_count(names)}, but {_came(table)}")
    if all(name.isdigit() for name in names):
        return list(table.columns)
    bound = {name.lstrip("$:@").lower(): i for i, name in enumerate(table.column_names)}
    missing = [name for name in names if name.lower() not in bound]
    if len(missing) == len(names):
        return list(table.columns)  # a client without names for its parameters: by position
    if missing:
        raise InvalidArgument(f"no value was bound for the parameter ${missing[0]}")
    return [table.column(bound[name.lower()]) for name in names]


def _came(table: pa.Table) -> str:
    number = table.num_columns
    return f"{number} {'was' if number == 1 else 'were'} bound"


def _count(names: tuple[str, ...]) -> str:
    return f"{len(names)} parameter" + ("s" if len(names) != 1 else "")


def _values(column: pa.ChunkedArray) -> list[object]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pa.string())  # Python's datetime has no nanoseconds
    values: list[object] = column.to_pylist()
    return values
