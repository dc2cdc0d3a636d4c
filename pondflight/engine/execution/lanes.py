"""A DuckDB cursor, one user of it at a time, and rows that can be set aside.

A cursor runs one statement at a time. Running a second while the first still streams ends the
first: its reader reports a clean end of data, so rows would be lost in silence. Clients do that
all the time (two cursors of one ADBC connection). So whoever takes a lane first sets aside the
rows that still stream from it: they move to memory, and beyond that to the scratch directory.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NoReturn

import duckdb
import pyarrow as pa

from pondflight.engine.databases.faults import fault_of
from pondflight.engine.duck import is_interrupt, sql_errors
from pondflight.engine.types.describe import Columns
from pondflight.errors import Internal, InvalidArgument, PondflightError
from pondflight.flightsql import Call
from pondflight.flightsql.status import leaf_of
from pondflight.flightsql.streams import slices

_WAIT_SECONDS = 0.05
_SPOOL_IN_MEMORY = 16 << 20
_SPOOL_LIMIT = 4 << 30
_BATCH_BYTES = 4 << 20
_VECTOR = 2048
_CAUSE_TRIES = 5
_MAX_BATCH_ROWS = 60 * _VECTOR
_VARIABLE_BATCH_ROWS = 4 * _VECTOR


_NO_ROOM = (
    "the rest of this result is lost: another statement ran on the same connection before it was "
    "read, and there was no room to set the rows aside; use a second connection"
)

Run = Callable[[], pa.RecordBatchReader]
"""Runs a statement, each time from its beginning."""


class Lane:
    """A cursor and the right to use it."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self.cursor = cursor
        self.scratch = scratch
        self.begin_first = False
        """A transaction has to be begun before the next statement."""
        self.in_transaction = False
        """Whether a transaction is open. DuckDB cannot be asked: a BEGIN too many aborts it."""
        self.undo: str | None = None
        """What has to be run before the next statement: it could not be behind the last one,
        whose rows may still stream."""
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._user: Call | None = None
        self._rows: Rows | None = None

    @contextmanager
    def use(self, call: Call) -> Iterator[duckdb.DuckDBPyConnection]:
        """The cursor, for ``call`` alone; its statement is interrupted if ``call`` is cancelled.

        Waits for the statement that is running, and sets aside rows that still stream.
        """
        with self._taken(call):
            if self._rows is not None:
                self._rows.set_aside()
                self._rows = None
            with self._interruptible(call):
                if self.undo is not None:
                    with suppress(duckdb.TransactionException):  # aborted: not before its end
                        self.cursor.execute(self.undo)
                        self.undo = None
                if self.begin_first:
                    self.begin()
                yield self.cursor

    def begin(self, text: str = "BEGIN TRANSACTION") -> None:
        """Begin a transaction; to be called inside ``use``. ``text``: the statement that does."""
        self.begin_first = False
        self.cursor.execute(text)
        self.in_transaction = True

    def end(self, *, commit: bool) -> None:
        """COMMIT or ROLLBACK; to be called inside ``use``.

        DuckDB rolls back an aborted transaction on COMMIT and says nothing; here that is an
        error, since the caller believes that the work was kept.
        """
        was_open, self.in_transaction = self.in_transaction, False
        if commit and was_open:
            try:
                self.cursor.execute("SELECT 1")
            except duckdb.TransactionException:
                self.cursor.execute("ROLLBACK")
                raise
        try:
            self.cursor.execute("COMMIT" if commit else "ROLLBACK")
        except duckdb.Error as error:
            # A server that is gone has rolled back by itself.
            if commit or fault_of(str(error)) is None:
                raise

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """All that runs inside, or nothing; part of the transaction that is open, if one is.

        To be used inside ``use``.
        """
        if self.in_transaction:
            yield
            return
        self.begin()
        try:
            yield
        except BaseException:
            self.end(commit=False)
            raise
        self.end(commit=True)

    def rows(
        self, call: Call, reader: pa.RecordBatchReader, columns: Columns, again: Run | None = None
    ) -> Rows:
        """The rows of the statement just executed; to be called inside ``use``.

        ``again`` runs it once more, if that does no harm.
        """
        self._rows = Rows(self, call, reader, columns, again)
        return self._rows

    def next_batch(self, rows: Rows) -> pa.RecordBatch | None:
        """The next batch of ``rows``, from the cursor or from where they were set aside."""
        if not rows.is_set_aside:
            with self._taken(rows.call):
                if not rows.is_set_aside:
                    with self._interruptible(rows.call):
                        batch = rows.next_streamed()
                    if batch is None:  # the end, unless an interrupt only made it look so
                        rows.call.raise_if_cancelled()
                    return batch
        rows.call.raise_if_cancelled()
        return rows.next_set_aside()

    def forget(self, rows: Rows) -> None:
        """``rows`` are not wanted any more: whoever takes the lane next need not save them."""
        if self._rows is rows:
            self._rows = None

    def close(self) -> None:
        """Interrupt what runs and close the cursor."""
        self.cursor.interrupt()
        with self._turn:
            self.cursor.close()

    @contextmanager
    def _taken(self, call: Call) -> Iterator[None]:
        while not self._turn.acquire(timeout=_WAIT_SECONDS):
            call.raise_if_cancelled()
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def _interruptible(self, call: Call) -> Iterator[None]:
        with self._guard:
            self._user = call
        call.on_cancel(lambda: self._interrupt(call))
        try:
            call.raise_if_cancelled()
            with sql_errors():
                yield
        except PondflightError:
            call.raise_if_cancelled()  # an interrupted statement fails for the call's reason
            raise
        finally:
            with self._guard:
                self._user = None

    def _interrupt(self, call: Call) -> None:
        with self._guard:
            if self._user is call:
                self.cursor.interrupt()


class Rows:
    """The rows of one statement, in batches."""

    def __init__(
        self,
        lane: Lane,
        call: Call,
        reader: pa.RecordBatchReader,
        columns: Columns,
        again: Run | None,
    ) -> None:
        self.call = call
        self.schema = columns.annotate(reader.schema)
        self.count = 0
        """Rows set aside so far."""
        self.sent = 0
        """Rows handed out so far."""
        self.drained = False
        """Whether DuckDB has made the last of them."""
        self._lane = lane
        self._reader = reader
        self._again = again
        self._closed = False
        self._spool_lock = threading.Lock()
        self._spool: IO[bytes] | None = None
        self._spooled: pa.RecordBatchReader | None = None
        self._failure: PondflightError | None = None
        self._on_close: Callable[[], None] | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._lane.next_batch(self)) is not None:
            self.sent += batch.num_rows
            yield from slices(batch)

    def adopt(self, call: Call) -> None:
        """Another call fetches these rows, which were set aside."""
        self.call = call
        call.on_done(lambda _: self.close())

    def on_close(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` when the rows are closed."""
        self._on_close = callback

    def close(self) -> None:
        """Give up what is left. Call it when the call is over, however it ended."""
        self._lane.forget(self)
        with self._spool_lock:
            self._closed = True
            if self._spool is not None and self.is_set_aside:
                self._spool.close()
        if self._on_close is not None:
            self._on_close()

    def is_closed(self) -> bool:
        """Whether nobody wants the rows any more."""
        return self._closed

    @property
    def is_set_aside(self) -> bool:
        """Whether the rows have left the cursor."""
        return self._spooled is not None or self._failure is not None

    def next_streamed(self) -> pa.RecordBatch | None:
        """The next batch that DuckDB makes."""
        try:
            return self._reader.read_next_batch()
        except StopIteration:
            self.drained = True
            return None
        except OSError as error:
            if is_interrupt(error) and self.call.cancelled is None:
                self._raise_cause()
            raise

    def _raise_cause(self) -> NoReturn:
        """Raise the error that ended the statement, when DuckDB has lost it.

        With several threads, the error of one of them now and then comes out as the
        interruption of another. Only another run tells which it was.
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

    def next_set_aside(self) -> pa.RecordBatch | None:
        """The next batch of those that were set aside."""
        if self._spooled is not None:
            try:
                return self._spooled.read_next_batch()
            except StopIteration:
                pass
        self.raise_failure()
        return None

    def set_aside(self) -> None:
        """Move all rows that are left off the cursor. An error among them is raised when due."""
        if self.is_set_aside or self.is_closed():
            return
        spool: IO[bytes] | None = None
        failure: PondflightError | None = None
        spooled: pa.RecordBatchReader | None = None
        try:
            spool = tempfile.SpooledTemporaryFile(  # noqa: SIM115  closed with the rows
                max_size=_SPOOL_IN_MEMORY, dir=str(self._lane.scratch)
            )
            with pa.ipc.new_stream(spool, self.schema) as writer:
                try:
                    self._write(writer, spool)
                except PondflightError as error:
                    failure = error
            spool.seek(0)
            spooled = pa.ipc.open_stream(spool)
        except BaseException as error:  # noqa: BLE001  whatever it is, rows are missing
            failure = leaf_of(error) if not isinstance(error, OSError) else Internal(_NO_ROOM)
        with self._spool_lock:
            self._spool = spool
            self._failure = failure
            self._spooled = spooled
            if self._closed and spool is not None:  # nobody wants them any more
                spool.close()

    def raise_failure(self) -> None:
        """Raise the error that ended the rows, if one did."""
        if self._failure is not None:
            raise self._failure

    def _write(self, writer: pa.RecordBatchWriter, spool: IO[bytes]) -> None:
        with sql_errors():
            while (batch := self.next_streamed()) is not None:
                self.call.raise_if_cancelled()
                if self.is_closed():
                    return
                writer.write_batch(batch)
                self.count += batch.num_rows
                if spool.tell() > _SPOOL_LIMIT:
                    raise InvalidArgument(
                        "this result was given up: another statement ran on the same connection "
                        "before it was read; use a second connection to run statements side by side"
                    )


def reader_of(
    result: duckdb.DuckDBPyConnection | duckdb.DuckDBPyRelation,
) -> pa.RecordBatchReader:
    """The rows of the statement that a cursor has just executed, as they are made."""
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
    """How many rows DuckDB should put into a batch of a few megabytes.

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
