"""A result: the rows of one run of one statement, on the cursor or set aside.

Whatever fails while rows are set aside or read again ends *these* rows, and their reader gets the
error: a stream never goes on after a gap.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn, Protocol

import pyarrow as pa

from pondflight.engine.duck import is_interrupt, sql_error
from pondflight.engine.execution.room import Room, Shelf
from pondflight.engine.execution.states import RESULT_STEPS, ResultState, step
from pondflight.engine.guards.callers import Call
from pondflight.engine.types.describe import Columns
from pondflight.errors import Internal, LimitExceeded, PondflightError, SqlError, Unavailable
from pondflight.flightsql.status import leaf_of

_CAUSE_TRIES = 5
_GIVEN_UP = (
    "the rest of this result was given up: another statement ran on the same connection before it "
    "was read, and there is no room to set its rows aside ({why}); read results to their end "
    "first, or use a second connection"
)


_NO_TEXT = (
    "the column {} has text that is not UTF-8: its server sent it as it is; repair it there, or "
    "read it through a view that makes bytes or another text of it"
)
_LOST = "the rest of this result is lost: it was set aside, and cannot be read again ({why})"


class Source(Protocol):
    """The cursor that a result comes from."""

    def next_batch(self, result: Result) -> pa.RecordBatch | None:
        """Return the next batch, from memory, disk or DuckDB; None after the last."""

    def forget(self, result: Result) -> None:
        """Drop the remaining rows of ``result``."""


class Result:
    """The rows of one run of one statement, in batches."""

    def __init__(
        self,
        call: Call,
        reader: pa.RecordBatchReader,
        columns: Columns,
        room: Room,
        again: Callable[[], pa.RecordBatchReader] | None,
        *,
        source: Source,
        checks_text: bool = False,
    ) -> None:
        self.call = call
        self.schema = columns.annotate(reader.schema)
        self.state = ResultState.STREAMING
        self.count = 0
        """Rows that DuckDB has made so far."""
        self.sent = 0
        """Rows that were read so far."""
        self.finished: float | None = None
        """The monotonic time at which DuckDB had made the last of them."""
        self._source = source
        self._texts = _texts(self.schema) if checks_text else []
        self._reader = reader
        self._again = again
        self._lock = threading.Lock()
        self._shelf = Shelf(room)
        self._failure: PondflightError | None = None
        self._on_close: Callable[[], None] | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._source.next_batch(self)) is not None:
            self.sent += batch.num_rows
            yield batch

    def adopt(self, call: Call) -> None:
        """Let another call read these rows, which were set aside."""
        self.call = call
        call.on_done(lambda _: self.close())

    def on_close(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` once, when the rows are closed."""
        self._on_close = callback

    def close(self) -> None:
        """Drop the remaining rows. Call it when the call is over, however it ended."""
        with self._lock:
            if self.state is ResultState.CLOSED:
                return
            self._step(ResultState.CLOSED)
            self._shelf.clear()
            callback, self._on_close = self._on_close, None
        self._source.forget(self)
        if callback is not None:
            callback()

    def fail(self, error: BaseException) -> None:
        """End the rows with ``error``: drop those that remain, and raise it on further reads."""
        with self._lock:
            if self.state in (ResultState.STREAMING, ResultState.SET_ASIDE):
                self._failure = leaf_of(error)
                self._step(ResultState.FAILED)
                self._shelf.clear()

    def streams(self) -> bool:
        """Return whether there may be rows on the cursor."""
        return self.state is ResultState.STREAMING

    @property
    def has_set_aside(self) -> bool:
        """Return whether rows are set aside."""
        return len(self._shelf) > 0

    def raise_failure(self) -> None:
        """Raise the error that ended the rows, if one did."""
        if self._failure is not None:
            raise self._failure

    def finish(self) -> None:
        """Note that the last of the rows was read."""
        with self._lock:
            if self.streams():
                self._step(ResultState.FINISHED)
                self.finished = time.monotonic()

    # -- for the cursor -----------------------------------------------------------------------

    def next_streamed(self) -> pa.RecordBatch | None:
        """Return the next batch that DuckDB makes; ``None`` at the end."""
        try:
            batch = self._reader.read_next_batch()
        except StopIteration:
            self.call.raise_if_cancelled()  # an interrupt may look like an end
            return None
        except OSError as error:
            if is_interrupt(error) and self.call.cancelled is None:
                self._raise_cause()
            raise
        for index in self._texts:
            try:
                batch.column(index).validate(full=True)
            except pa.ArrowInvalid:
                raise SqlError(_NO_TEXT.format(self.schema.names[index])) from None
        self.count += batch.num_rows
        return batch

    def all(self, most: int) -> list[pa.RecordBatch] | None:
        """Return all rows at once, while the cursor is in use; ``None`` if they are too large.

        ``most`` is in bytes. An interrupted statement is not run again to find the reason.
        """
        self._again = None
        batches: list[pa.RecordBatch] = []
        while (batch := self.next_streamed()) is not None:
            batches.append(batch)
            most -= batch.nbytes
            if most < 0:
                return None
        self.finish()
        return batches

    def next_set_aside(self) -> pa.RecordBatch | None:
        """Return the next batch that was set aside; ``None`` if there is none.

        Raises the error that ended the rows, once those before it were read.
        """
        self.call.raise_if_cancelled()
        with self._lock:
            if self.state is ResultState.CLOSED:
                raise Unavailable("this result was closed before it was read to its end")
            try:
                batch = self._shelf.take()
            except BaseException as error:  # noqa: BLE001  whatever it is, rows are missing
                batch = None
                self._failure = Internal(_LOST.format(why=_cause(error)))
                self._step(ResultState.FAILED)
                self._shelf.clear()
            if batch is None and self.state is ResultState.SET_ASIDE:
                self._step(ResultState.FINISHED if self._failure is None else ResultState.FAILED)
        if batch is None:
            self.raise_failure()
        return batch

    def set_aside(self, until: Callable[[], None] = lambda: None) -> None:
        """Move all remaining rows off the cursor.

        An error of the statement is raised after the rows before it were read; an error of the
        space for them ends them at once. ``until`` is called between batches, and may raise: then
        the rest is still on the cursor.
        """
        while self.streams():
            until()
            try:
                batch = self.next_streamed()
            except BaseException as error:  # noqa: BLE001  whatever it is, rows are missing
                self._failure, batch = sql_error(error) or leaf_of(error), None
            with self._lock:
                if not self.streams():
                    return  # closed meanwhile
                if batch is None:
                    self._step(ResultState.SET_ASIDE)
                    return
                try:
                    self._shelf.put(batch)
                except BaseException as error:  # noqa: BLE001  whatever it is, rows are missing
                    self._failure = LimitExceeded(_GIVEN_UP.format(why=_cause(error)))
                    self._step(ResultState.FAILED)
                    self._shelf.clear()

    # -- inside -------------------------------------------------------------------------------

    def _step(self, to: ResultState) -> None:
        self.state = step(RESULT_STEPS, self.state, to)

    def _raise_cause(self) -> NoReturn:
        """Raise the error that ended the statement, when DuckDB has lost it.

        With several threads, DuckDB sometimes reports one thread's error as the interruption of
        another. Only another run can tell the cause.
        """
        again = self._again
        for _ in range(_CAUSE_TRIES):
            if again is None:
                break
            try:
                for _batch in again():
                    self.call.raise_if_cancelled()
            except OSError as error:
                if not is_interrupt(error):
                    raise
        raise Internal("the statement failed, and DuckDB does not say why: run it again")


def _cause(error: BaseException) -> str:
    """Return the cause in a few words, without paths."""
    if isinstance(error, PondflightError):
        return error.message
    if isinstance(error, OSError):
        return error.strerror or "the disk fails"
    return "out of memory" if isinstance(error, MemoryError) else type(error).__name__


def _texts(schema: pa.Schema) -> list[int]:
    """Return the columns that contain text, at any depth."""
    return [index for index, field in enumerate(schema) if _has_text(field.type)]


def _has_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _has_text(kind.value_type)
    if pa.types.is_nested(kind):
        return any(_has_text(kind.field(index).type) for index in range(kind.num_fields))
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
