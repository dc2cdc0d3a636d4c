"""The rows of a statement, in batches of a size that suits a wire."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

_BATCH_BYTES = 15 << 18  # with bitmaps, a batch of fixed width is sent whole
_VECTOR = 2048
_MAX_BATCH_ROWS = 60 * _VECTOR
_VARIABLE_BATCH_ROWS = 4 * _VECTOR


def reader_of(
    result: duckdb.DuckDBPyConnection | duckdb.DuckDBPyRelation,
) -> pa.RecordBatchReader:
    """Return a reader of the rows that a cursor is producing."""
    return result.to_arrow_reader(_batch_rows(result.description))


_FIXED_WIDTH = {
    "BOOLEAN": 1,
    "TINYINT": 1,
    "UTINYINT": 1,
    "SMALLINT": 2,
    "USMALLINT": 2,
    "INTEGER": 4,
    "UINTEGER": 4,
    "DATE": 4,
    "FLOAT": 4,
    "BIGINT": 8,
    "UBIGINT": 8,
    "DOUBLE": 8,
    "TIME": 8,
    "TIMESTAMP": 8,
    "TIMESTAMP WITH TIME ZONE": 8,
    "HUGEINT": 16,
    "INTERVAL": 16,
    "UUID": 36,
}


def _batch_rows(description: Sequence[tuple[object, ...]] | None) -> int:
    """Return how many rows DuckDB should put into a batch of a few megabytes.

    A column of variable width may hold anything, so a batch with one is short.
    """
    width = 0
    for column in description or []:
        name = str(column[1])
        size = 16 if name.startswith("DECIMAL") else _FIXED_WIDTH.get(name)
        if size is None:
            return _VARIABLE_BATCH_ROWS
        width += size
    vectors = _BATCH_BYTES // max(1, width) // _VECTOR
    return max(_VECTOR, min(_MAX_BATCH_ROWS, vectors * _VECTOR))
