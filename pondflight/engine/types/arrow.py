"""Replaces Arrow types that DuckDB cannot scan by others that hold the same values."""

from __future__ import annotations

import pyarrow as pa

from pondflight.engine.types.nanoseconds import require_microseconds
from pondflight.errors import InvalidArgument

_WIDEST_DECIMAL = 38


def scannable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return ``batch`` with the types of ``scannable_schema``; no value changes.

    Raises ``InvalidArgument`` for nanoseconds that DuckDB would cut off.
    """
    for column in batch.columns:
        require_microseconds(column)
    schema = scannable_schema(batch.schema)
    if schema.equals(batch.schema):
        return batch
    columns = [
        _cast(column, field.type) for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    try:
        return column.cast(kind)
    except pa.ArrowNotImplementedError:
        raise InvalidArgument(
            f"DuckDB has no type for {column.type}: convert the column before it is sent"
        ) from None


def scannable_schema(schema: pa.Schema) -> pa.Schema:
    """Return ``schema`` with types that DuckDB can scan.

    Half floats become floats. Decimals of more than 38 digits, or with a negative scale, become
    another decimal or text.
    """
    return pa.schema([_field(field) for field in schema], metadata=schema.metadata)


def _field(field: pa.Field) -> pa.Field:
    return field.with_type(_type(field.type))


def _type(kind: pa.DataType) -> pa.DataType:  # noqa: PLR0911  one for each kind
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal(kind) and (pa.types.is_decimal256(kind) or kind.scale < 0):
        digits = kind.precision - min(kind.scale, 0)
        return (
            pa.decimal128(digits, max(kind.scale, 0)) if digits <= _WIDEST_DECIMAL else pa.string()
        )
    if pa.types.is_struct(kind):
        return pa.struct([_field(kind.field(i)) for i in range(kind.num_fields)])
    if pa.types.is_map(kind):
        return pa.map_(_field(kind.key_field), _field(kind.item_field), kind.keys_sorted)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        plain = _type(kind.value_type)
        return kind if plain.equals(kind.value_type) else plain
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_field(kind.value_field), kind.list_size)
    for is_one, of in _LISTS.items():
        if is_one(kind):
            return of(_field(kind.value_field))
    return kind


_LISTS = {
    pa.types.is_list: pa.list_,
    pa.types.is_large_list: pa.large_list,
    pa.types.is_list_view: pa.list_view,
    pa.types.is_large_list_view: pa.large_list_view,
}
