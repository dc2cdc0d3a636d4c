"""Results as they are sent: a schema and batches, one at a time, with honest errors.

pyarrow's ``RecordBatchStream`` sends the traceback of whatever its reader raises. With a generator
stream, an error can be turned into one of ours first; with batches of a megabyte or more it is as
fast (docs/performance.md), because the bytes themselves move in C++ without the GIL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias

import pyarrow as pa
from pyarrow import flight

from pondflight.errors import PondflightError
from pondflight.flightsql.status import to_pyarrow

MAX_BATCH_BYTES = (4 << 20) - (1 << 10)
"""Largest batch that is sent, encoded, in bytes, unless a single row is larger.

gRPC's clients accept messages of 4 MiB by default (Go, Rust, JavaScript, .NET, grpcio). The
difference leaves room for the fields around the batch.
"""


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


class _Reader(Protocol):
    rows_left: bool


def to_flight_stream(
    result: Result, reader: _Reader, leaf: Callable[[BaseException], PondflightError]
) -> flight.FlightDataStream:
    """Return the stream that pyarrow sends for ``result``; ``leaf`` converts exceptions.

    ``reader`` is the call that reads it: it has rows left until the last one is taken.
    """
    if isinstance(result, pa.RecordBatch):
        result = pa.Table.from_batches([result])
    if isinstance(result, pa.Table):
        batches = result.to_batches()
        if not any(encoded_size(b) > MAX_BATCH_BYTES or _large_dictionaries(b) for b in batches):
            return flight.RecordBatchStream(result)
        result = ResultStream(result.schema, iter(batches))
    reader.rows_left = True
    return flight.GeneratorStream(result.schema, _guarded(result, reader, leaf))


def _guarded(
    result: _Batches, reader: _Reader, leaf: Callable[[BaseException], PondflightError]
) -> Iterator[Any]:
    dictionaries = has_dictionaries(result.schema)
    try:
        for batch in result:
            if not dictionaries:
                yield from slices(batch)
                continue
            for piece in slices(batch):
                # A generator stream sends no dictionaries of the batches it yields; a nested stream
                # does.
                yield from (pa.Table.from_batches([part]) for part in _compact(piece))
    except Exception as error:  # noqa: BLE001  whatever it is, no traceback leaves
        raise to_pyarrow(leaf(error)) from None
    reader.rows_left = False


def slices(batch: pa.RecordBatch, limit: int = MAX_BATCH_BYTES) -> Iterator[pa.RecordBatch]:
    """Yield ``batch`` in zero-copy pieces of at most ``limit`` encoded bytes, or of one row."""
    size = encoded_size(batch)
    if size <= limit or batch.num_rows <= 1:
        yield batch
        return
    rows = batch.num_rows // -(-size // limit) or 1
    for start in range(0, batch.num_rows, rows):
        yield from slices(batch.slice(start, rows), limit)


def encoded_size(batch: pa.RecordBatch) -> int:
    """Return the size of ``batch`` in a message: buffers, padding and description.

    Dictionaries do not count.
    """
    size: int = pa.ipc.get_record_batch_size(batch)
    return size


def _compact(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield ``batch`` in pieces whose dictionary messages are at most ``MAX_BATCH_BYTES``, too.

    The dictionary of a slice is that of the whole, so it is reduced to the values in use.
    """
    large = _large_dictionaries(batch)
    if not large:
        yield batch
        return
    for i in large:
        column = batch.column(i)
        own = column.dictionary_decode().dictionary_encode().cast(column.type)
        batch = batch.set_column(i, batch.schema.field(i), own)
    if not _large_dictionaries(batch) or batch.num_rows == 1:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _compact(batch.slice(0, half))
    yield from _compact(batch.slice(half))


def _large_dictionaries(batch: pa.RecordBatch) -> list[int]:
    """Return the columns whose dictionary is larger than a message. Nested ones are left alone."""
    return [
        i
        for i, column in enumerate(batch.columns)
        if pa.types.is_dictionary(column.type) and column.dictionary.nbytes > MAX_BATCH_BYTES
    ]


def has_dictionaries(schema: pa.Schema) -> bool:
    """Return whether any column, at any depth, is dictionary-encoded."""
    return any(_holds_dictionary(field.type) for field in schema)


def _holds_dictionary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return True
    return any(_holds_dictionary(kind.field(i).type) for i in range(kind.num_fields))
