"""Rows that a client sends in a DoPut, on their way in: nothing is used before it was checked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, TypeVar

import pyarrow as pa
from pyarrow import flight

from pondflight.errors import Cancelled, InvalidArgument, LimitExceeded
from pondflight.flightsql import validity

MOST_FIELDS: Final = 1 << 15
"""Columns of an upload, with the fields inside them."""

_ABANDONED: Final = b"pondflight: the rest of this upload does not come"

_NO_SCHEMA: Final = "Client never sent a data message"

T = TypeVar("T")


def abandon(writer: flight.FlightStreamWriter) -> None:
    """End an upload as one that counts for nothing: the server's ``Upload`` raises ``Cancelled``.

    A Flight client can end a stream but not break it off, and what has ended is taken for whole.
    """
    with contextlib.suppress(pa.ArrowException, flight.FlightError, OSError):
        writer.write_metadata(_ABANDONED)
    with contextlib.suppress(pa.ArrowException, flight.FlightError, OSError):
        writer.close()


class Upload:
    """A schema, and chunks that have it, as ``reader`` gets them from the client.

    ``values``: somebody will read them, rather than only send them on. What is not valid Arrow
    raises ``InvalidArgument``, and what does not fit into memory ``LimitExceeded``.
    """

    def __init__(self, reader: flight.MetadataRecordBatchReader, *, values: bool = True) -> None:
        self._reader = reader
        self._check = partial(validity.check, text=True) if values else validity.check_to_send
        self._empty = False

    @property
    def schema(self) -> pa.Schema:
        """The schema; one without columns if the client ended its stream without sending any.

        It waits for the message that has it, which not all commands send.
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
        return schema

    def __iter__(self) -> Iterator[flight.FlightStreamChunk]:
        """The chunks as they come: a batch, ``app_metadata``, or both; what is missing is None."""
        if not self.schema.names and self._empty:
            return
        while True:
            try:
                chunk = _read(self._reader.read_chunk)
            except StopIteration:
                return
            if chunk.data is None and chunk.app_metadata == _ABANDONED:
                raise Cancelled("the rest of the upload did not come")
            if chunk.data is not None:
                self._check(chunk.data)
            yield chunk
            del chunk  # whoever has it lets it go before the next one has come

    def read_all(self) -> pa.Table:
        """All batches."""
        schema = self.schema
        return pa.Table.from_batches([c.data for c in self if c.data is not None], schema)


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
    """How many fields there are below ``parent``; counting stops soon above ``MOST_FIELDS``."""
    number = len(parent) if isinstance(parent, pa.Schema) else parent.num_fields
    for index in range(min(number, MOST_FIELDS + 1)):
        if number > MOST_FIELDS:
            break
        number += _fields(parent.field(index).type)
    return number
