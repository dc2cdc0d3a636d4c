"""The rows that a client sends by DoPut: none is used before it was checked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import cached_property
from typing import Final, TypeVar

import pyarrow as pa
from pyarrow import flight

from pondflight.errors import Cancelled, InvalidArgument, LimitExceeded
from pondflight.flightsql import validity

MOST_FIELDS: Final = 1 << 15
"""Columns of an upload, with the fields inside them."""

_ABANDONED: Final = b"pondflight: the rest of this upload does not come"

_NO_SCHEMA: Final = "Client never sent a data message"

_AHEAD: Final = range(64 << 10, 16 << 20)
"""Sizes in bytes of the batches that a thread checks ahead. Smaller ones are quicker without it,
and two of the larger ones would take too much memory."""

T = TypeVar("T")


def abandon(writer: flight.FlightStreamWriter) -> None:
    """End an upload as void: the server's ``Upload`` raises ``Cancelled``.

    A Flight client can end a stream but not abort it, and a stream that has ended counts as
    complete.
    """
    with contextlib.suppress(pa.ArrowException, flight.FlightError, OSError):
        writer.write_metadata(_ABANDONED)
    with contextlib.suppress(pa.ArrowException, flight.FlightError, OSError):
        writer.close()


class Upload:
    """A schema, and the chunks that ``reader`` gets from the client.

    ``values``: they are read here, and not only relayed, so they are checked as well. Raises
    ``InvalidArgument`` for what is not valid Arrow, and ``LimitExceeded`` for what does not fit
    into memory.
    """

    def __init__(self, reader: flight.MetadataRecordBatchReader, *, values: bool = True) -> None:
        self._reader = reader
        self._values = values
        self._empty = False

    @cached_property
    def schema(self) -> pa.Schema:
        """Return the schema; it has no columns if the client ended its stream without sending any.

        It waits for the message with the schema, which not all commands send.
        """
        try:
            schema: pa.Schema = _read(lambda: self._reader.schema)
        except InvalidArgument as error:
            if _NO_SCHEMA not in error.message:
                raise
            self._empty = True
            return pa.schema([])
        if _fields(schema) > MOST_FIELDS:
            raise InvalidArgument(
                f"the upload has over {MOST_FIELDS:,} columns, with the fields inside of them"
            )
        validity.check_names(schema)
        return schema

    def __iter__(self) -> Iterator[flight.FlightStreamChunk]:
        """Yield the chunks as they come: a batch, ``app_metadata``, or both.

        A missing part is None.
        """
        if not self.schema.names and self._empty:
            return
        if self._values:
            ahead = range(0) if validity.is_quick(self.schema) else _AHEAD
            yield from _checked(self._chunks(), ahead)
            return
        for chunk in self._chunks():
            if chunk.data is not None:
                validity.check_to_send(chunk.data)
            yield chunk
            del chunk  # so that its memory is free before the next one has come

    def _chunks(self) -> Iterator[flight.FlightStreamChunk]:
        """Yield the chunks unchecked."""
        while True:
            try:
                chunk = _read(self._reader.read_chunk)
            except StopIteration:
                return
            if chunk.data is None and chunk.app_metadata == _ABANDONED:
                raise Cancelled("the rest of the upload did not come")
            yield chunk
            del chunk

    def read_all(self) -> pa.Table:
        """Return all batches as a table."""
        schema = self.schema
        return pa.Table.from_batches([c.data for c in self if c.data is not None], schema)


def _checked(
    chunks: Iterator[flight.FlightStreamChunk], ahead: range
) -> Iterator[flight.FlightStreamChunk]:
    """Yield ``chunks`` once their values are known to be readable.

    pyarrow checks them without the GIL. So a thread checks the next batch, if its size in bytes is
    in ``ahead``, while the caller works on the previous one.
    """
    with ThreadPoolExecutor(1, "upload-check") as pool:
        waiting: Future[flight.FlightStreamChunk] | None = None
        for chunk in chunks:
            data = chunk.data
            coming = _begin(pool, chunk) if data is not None and data.nbytes in ahead else None
            if waiting is not None:
                yield waiting.result()
            waiting = coming
            if coming is None:
                yield _check(chunk)
            del chunk, data, coming
        if waiting is not None:
            yield waiting.result()


def _begin(pool: Executor, chunk: flight.FlightStreamChunk) -> Future[flight.FlightStreamChunk]:
    try:
        return pool.submit(_check, chunk)
    except RuntimeError:  # no thread is left
        done: Future[flight.FlightStreamChunk] = Future()
        done.set_result(_check(chunk))
        return done


def _check(chunk: flight.FlightStreamChunk) -> flight.FlightStreamChunk:
    if chunk.data is not None:
        validity.check(chunk.data, text=True)
    return chunk


def _read(read: Callable[[], T]) -> T:
    try:
        return read()
    except (StopIteration, flight.FlightError):
        raise
    except MemoryError:
        raise LimitExceeded(
            "a batch of this upload takes more memory than there is for uploads: "
            "send smaller batches, or without compression"
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise InvalidArgument(f"the upload is not valid Arrow: {error}") from None


def _fields(parent: pa.Schema | pa.DataType) -> int:
    """Return how many fields there are below ``parent``; counting stops above ``MOST_FIELDS``."""
    number = len(parent) if isinstance(parent, pa.Schema) else parent.num_fields
    for index in range(min(number, MOST_FIELDS + 1)):
        if number > MOST_FIELDS:
            break
        number += _fields(parent.field(index).type)
    return number
