"""Arrow types that DuckDB cannot scan, and those that hold the same values and that it can."""

from __future__ import annotations

import pyarrow as pa

from pondflight.engine.types.nanoseconds import require_microseconds

_WIDEST_DECIMAL = 38


def scannable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """``batch`` with the types of ``scannable_schema``; no value changes.

    Raises ``InvalidArgument`` for nanoseconds that DuckDB would cut.
    """
    for column in batch.columns:
        require_microseconds(column)
    schema = scannable_schema(batch.schema)
    if schema.equals(batch.schema):
        return batch
    columns = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def scannable_schema(schema: pa.Schema) -> pa.Schema:
    """``schema`` with half floats as floats, and decimals of 256 bits as 128 or as text."""
    return pa.schema([_field(field) for field in schema], metadata=schema.metadata)


def _field(field: pa.Field) -> pa.Field:
    return field.with_type(_type(field.type))


def _type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal256(kind):
        if kind.precision <= _WIDEST_DECIMAL:
            return pa.decimal128(kind.precision, kind.scale)
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_field(kind.value_field))
    if pa.types.is_struct(kind):
        return pa.struct([_field(kind.field(i)) for i in range(kind.num_fields)])
    return kind
