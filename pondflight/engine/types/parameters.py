"""Bound parameters: Arrow rows in, values for DuckDB out, each in the type it was sent as.

Python has no value for much of what Arrow can hold (nanoseconds, years beyond 9999, intervals of
months). Such values are passed to DuckDB as text, together with their type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import duckdb
import pyarrow as pa

from pondflight.engine.duck import quote
from pondflight.engine.guards.callers import Call
from pondflight.engine.sql.statement import Statement
from pondflight.engine.types import compute as pc
from pondflight.engine.types import nanoseconds
from pondflight.errors import InvalidArgument
from pondflight.flightsql import Upload

Values = list[object] | dict[str, object] | None
"""Values for one run of one statement, as DuckDB takes them."""

_WIDEST_DECIMAL = 38


def received(call: Call, upload: Upload) -> pa.Table:
    """Return all rows of an upload. Raises the reason if the call was cancelled before the end."""
    batches = [chunk.data for chunk in upload if chunk.data is not None]
    if not call.still_connected():
        call.raise_if_cancelled()
    return pa.Table.from_batches(batches, upload.schema)


def rows(statement: Statement, table: pa.Table | None) -> Iterator[Values]:
    """Yield the values for each run of ``statement``: one run per row, or one without parameters.

    Raises ``InvalidArgument`` if names or number do not fit.
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
    columns = [_values(column) for column in _columns(names, table)]
    for row in zip(*columns, strict=True):
        yield _named(statement, list(row))


def example(statement: Statement, table: pa.Table | None) -> Values:
    """Return values to describe ``statement`` with: for each parameter one that is not NULL.

    A parameter whose values are all NULL gets NULL.
    """
    names = statement.parameters
    if not names:
        return None
    if table is None or not table.num_rows:
        return _named(statement, [None] * len(names))
    found: list[object] = []
    for column in _columns(names, table):
        first = column.is_valid().index(pa.scalar(value=True)).as_py()
        found.extend(_values(column.slice(max(first, 0), 1)))
    return _named(statement, found)


def duckdb_type(kind: pa.DataType) -> str:
    """Return the SQL type that holds the values of an Arrow type."""
    name = next((name for fits, name in _LEAF_TYPES if fits(kind)), None)
    if name is not None:
        return name
    if pa.types.is_decimal(kind):
        return _decimal_type(kind.precision, kind.scale)
    if _is_list(kind):
        size = kind.list_size if pa.types.is_fixed_size_list(kind) else ""
        return f"{duckdb_type(kind.value_type)}[{size}]"
    if pa.types.is_map(kind):
        return f"MAP({duckdb_type(kind.key_type)}, {duckdb_type(kind.item_type)})"
    if pa.types.is_struct(kind) or pa.types.is_union(kind):
        members = [kind.field(i) for i in range(kind.num_fields)]
        inside = ", ".join(f"{quote(m.name)} {duckdb_type(m.type)}" for m in members)
        return f"{'STRUCT' if pa.types.is_struct(kind) else 'UNION'}({inside})"
    raise InvalidArgument(f"parameters of the Arrow type {kind} are not supported")


def _decimal_type(precision: int, scale: int) -> str:
    if (precision, scale) == (_WIDEST_DECIMAL, 0):
        return "HUGEINT"  # which is sent as this Arrow type, with up to 39 digits
    if precision <= _WIDEST_DECIMAL and scale >= 0:
        return f"DECIMAL({precision},{scale})"
    return "VARCHAR"  # DuckDB's widest decimal is narrower; if the value fits, it is cast


def encoding(kind: pa.DataType) -> pa.DataType:
    """Return the Arrow type that clients are asked to send for a parameter of the type ``kind``.

    The JDBC driver writes milliseconds into whatever unit it is told.
    """
    if pa.types.is_timestamp(kind):
        return pa.timestamp("ms", kind.tz)
    return pa.time32("ms") if pa.types.is_time(kind) else kind


def _columns(names: tuple[str, ...], table: pa.Table) -> list[pa.ChunkedArray]:
    if table.num_columns != len(names):
        raise InvalidArgument(f"the statement has {_count(names)}, but {_came(table)}")
    # Most clients have no names for their parameters and invent some; those go by position. A
    # client that writes names as SQL does means them.
    by_name = any(name.startswith("$") for name in table.column_names)
    if not by_name and all(name.isdigit() for name in names):
        return list(table.columns)
    bound = {name.lstrip("$:@").lower(): i for i, name in enumerate(table.column_names)}
    missing = [name for name in names if name.lower() not in bound]
    if not by_name and len(missing) == len(names):
        return list(table.columns)
    if missing:
        raise InvalidArgument(f"no value was bound for the parameter ${missing[0]}")
    return [table.column(bound[name.lower()]) for name in names]


def _named(statement: Statement, row: list[object]) -> Values:
    names = statement.parameters
    positional = names == tuple(str(i + 1) for i in range(len(names)))
    return row if positional else dict(zip(names, row, strict=True))


def _came(table: pa.Table) -> str:
    number = table.num_columns
    return f"{number} {'was' if number == 1 else 'were'} bound"


def _count(names: tuple[str, ...]) -> str:
    return f"{len(names)} parameter" + ("s" if len(names) != 1 else "")


def _values(column: pa.ChunkedArray) -> list[object]:
    column = _plain(column)
    kind = column.type
    if pa.types.is_null(kind):
        return [None] * len(column)
    type_ = duckdb.sqltype(duckdb_type(kind))
    is_plain = _is_simple(kind) and not _has_nan(column)
    raw = column.to_pylist() if is_plain else [_value(scalar) for scalar in column]
    return [None if value is None else duckdb.Value(value, type_) for value in raw]


def _has_nan(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py())


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the column without an encoding that only saves space."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        return _plain(pc.run_end_decode(column))
    return column


def _value(scalar: pa.Scalar) -> object:
    """Return a Python object that DuckDB casts to ``duckdb_type`` of the scalar's type."""
    if not scalar.is_valid:
        return None
    for fits, convert in _CONVERSIONS:
        if fits(scalar.type):
            return convert(scalar)
    return scalar.as_py()


def _float(scalar: pa.Scalar) -> float | str:
    """Return a float; NaN as text, since DuckDB takes a NaN object for NULL."""
    value: float = scalar.as_py()
    return "nan" if math.isnan(value) else value


def _timestamp_text(scalar: pa.Scalar) -> str:
    kind = scalar.type
    if kind.tz is not None:
        kind = pa.timestamp(_no_finer(nanoseconds.TIMESTAMP, scalar), "UTC")
    return str(scalar.cast(kind).cast(pa.string()))


def _duration_text(scalar: pa.Scalar) -> str:
    _no_finer(nanoseconds.INTERVAL, scalar)
    return f"{scalar.cast(pa.duration('us')).value} microseconds"


def _interval_text(scalar: pa.Scalar) -> str:
    months, days, fine = scalar.as_py()
    microseconds, rest = divmod(fine, 1000)
    if rest:
        raise nanoseconds.too_fine(nanoseconds.INTERVAL)
    return f"{months} months {days} days {microseconds} microseconds"


def _map(scalar: pa.Scalar) -> dict[str, list[object]]:
    keys, items = scalar.values.field(0), scalar.values.field(1)
    return {"key": [_value(key) for key in keys], "value": [_value(item) for item in items]}


def _no_finer(what: str, scalar: pa.Scalar) -> str:
    """Return the unit that DuckDB has for ``scalar`` without loss: its own, or microseconds."""
    unit: str = scalar.type.unit
    if unit == "ns" and scalar.value % 1000:
        raise nanoseconds.too_fine(what)
    return "us" if unit == "ns" else unit


def _is_list(kind: pa.DataType) -> bool:
    return any(
        fits(kind)
        for fits in (
            pa.types.is_list,
            pa.types.is_large_list,
            pa.types.is_list_view,
            pa.types.is_large_list_view,
            pa.types.is_fixed_size_list,
        )
    )


def _is_simple(kind: pa.DataType) -> bool:
    """Return whether Python has values for everything that the Arrow type holds."""
    return any(
        fits(kind)
        for fits in (
            pa.types.is_boolean,
            pa.types.is_integer,
            pa.types.is_floating,
            _is_text,
            _is_binary,
        )
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_binary(kind: pa.DataType) -> bool:
    return any(
        fits(kind)
        for fits in (
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_fixed_size_binary,
            pa.types.is_binary_view,
        )
    )


def _extension(name: str) -> Callable[[pa.DataType], bool]:
    return lambda kind: isinstance(kind, pa.BaseExtensionType) and kind.extension_name == name


def _timestamp(unit: str) -> Callable[[pa.DataType], bool]:
    return lambda kind: pa.types.is_timestamp(kind) and kind.unit == unit


_LEAF_TYPES: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (_extension("arrow.uuid"), "UUID"),
    (_extension("arrow.json"), "JSON"),
    (_extension("arrow.bool8"), "BOOLEAN"),
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_int8, "TINYINT"),
    (pa.types.is_int16, "SMALLINT"),
    (pa.types.is_int32, "INTEGER"),
    (pa.types.is_int64, "BIGINT"),
    (pa.types.is_uint8, "UTINYINT"),
    (pa.types.is_uint16, "USMALLINT"),
    (pa.types.is_uint32, "UINTEGER"),
    (pa.types.is_uint64, "UBIGINT"),
    (pa.types.is_float16, "FLOAT"),
    (pa.types.is_float32, "FLOAT"),
    (pa.types.is_float64, "DOUBLE"),
    (_is_text, "VARCHAR"),
    (_is_binary, "BLOB"),
    (pa.types.is_date, "DATE"),
    (lambda kind: pa.types.is_time(kind) and kind.unit == "ns", "TIME_NS"),
    (pa.types.is_time, "TIME"),
    (lambda kind: pa.types.is_timestamp(kind) and kind.tz is not None, "TIMESTAMP WITH TIME ZONE"),
    (_timestamp("s"), "TIMESTAMP_S"),
    (_timestamp("ms"), "TIMESTAMP_MS"),
    (_timestamp("us"), "TIMESTAMP"),
    (_timestamp("ns"), "TIMESTAMP_NS"),
    (pa.types.is_duration, "INTERVAL"),
    (pa.types.is_interval, "INTERVAL"),
    (pa.types.is_null, '"NULL"'),
)

_CONVERSIONS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Scalar], object]], ...] = (
    (lambda kind: isinstance(kind, pa.BaseExtensionType), lambda scalar: scalar.as_py()),
    (pa.types.is_floating, _float),
    (pa.types.is_timestamp, _timestamp_text),
    (pa.types.is_date, lambda scalar: str(scalar.cast(pa.string()))),
    (pa.types.is_time, lambda scalar: str(scalar.cast(pa.string()))),
    (pa.types.is_duration, _duration_text),
    (pa.types.is_interval, _interval_text),
    # Never with an exponent: DuckDB makes no decimal of some of those.
    (pa.types.is_decimal, lambda scalar: f"{scalar.as_py():f}"),
    (pa.types.is_map, _map),
    (_is_list, lambda scalar: [_value(item) for item in scalar.values]),
    (pa.types.is_struct, lambda scalar: {f.name: _value(scalar[f.name]) for f in scalar.type}),
    (pa.types.is_union, lambda scalar: _value(scalar.value)),
)
