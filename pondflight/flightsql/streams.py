"""Results on their way out: a schema and batches, one at a time, with honest errors.

pyarrow's ``RecordBatchStream`` sends the traceback of whatever its reader raises. A generator
stream lets an error be turned into a leaf first; at batches of a megabyte or more it is as
fast (docs/performance.md), because the bytes themselves move in C++ without the GIL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias

import pyarrow as pa
from pyarrow import flight

from pondflight.errors import PondflightError
from pondflight.flightsql.status import to_pyarrow

MAX_BATCH_BYTES = 8 << 20
"""Largest batch that is sent, in bytes. ADBC takes 16 MiB a message; DuckDB's can be larger."""


class _Batches(Protocol):
    schema: pa.Schema

    def __iter__(self) -> Iterator[pa.RecordBatch]: ...


class ResultStream:
    """A schema, and an iterator of batches that have it.

    The iterator is advanced from pyarrow's threads, one batch at a time, as fast as the client
    reads; it is closed (``GeneratorExit``) when the client goes away.
    """

    def __init__(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        self.schema = schema
        self.batches = batches

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self.batches


Result: TypeAlias = ResultStream | pa.Table | pa.RecordBatch | pa.RecordBatchReader


def to_flight_stream(
    result: Result, leaf: Callable[[BaseException], PondflightError]
) -> flight.FlightDataStream:
    """What pyarrow sends for ``result``. ``leaf`` turns any exception into a leaf."""
    if isinstance(result, pa.RecordBatch):
        result = pa.Table.from_batches([result])
    if isinstance(result, pa.Table):
        if result.nbytes <= MAX_BATCH_BYTES:
            return flight.RecordBatchStream(result)
        result = ResultStream(result.schema, _pieces(result))
    schema = result.schema
    return flight.GeneratorStream(
        schema, _guarded(result, leaf, dictionaries=has_dictionaries(schema))
    )


def _guarded(
    result: _Batches, leaf: Callable[[BaseException], PondflightError], *, dictionaries: bool
) -> Iterator[Any]:
    try:
        for batch in result:
            # A generator stream sends no dictionaries of the batches it yields; a stream
            # nested in it does.
            yield pa.Table.from_batches([batch]) if dictionaries else batch
    except Exception as error:  # noqa: BLE001  whatever it is, no traceback leaves
        raise to_pyarrow(leaf(error)) from None


def _pieces(table: pa.Table) -> Iterator[pa.RecordBatch]:
    for batch in table.to_batches():
        yield from slices(batch)


def slices(batch: pa.RecordBatch, limit: int = MAX_BATCH_BYTES) -> Iterator[pa.RecordBatch]:
    """``batch`` in zero-copy pieces of at most ``limit`` bytes each, or of one row."""
    if batch.nbytes <= limit or batch.num_rows <= 1:
        yield batch
        return
    half = batch.num_rows // 2
    yield from slices(batch.slice(0, half), limit)
    yield from slices(batch.slice(half), limit)


def has_dictionaries(schema: pa.Schema) -> bool:
    """Whether any column, at any depth, is dictionary-encoded."""
    return any(_holds_dictionary(field.type) for field in schema)


def _holds_dictionary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return True
    return any(_holds_dictionary(kind.field(i).type) for i in range(kind.num_fields))
