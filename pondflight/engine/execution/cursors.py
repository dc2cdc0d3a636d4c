"""A DuckDB cursor: one statement at a time, whose rows may still stream when the next comes.

Running a second statement on a cursor that still streams ends the first: its reader reports a clean
end of data, so rows would be lost in silence. Clients do this all the time (two cursors of one ADBC
connection). So before a cursor is used, the rows that still stream from it are set aside.

A cursor belongs to a session or to one statement, and is closed with it. None is reused: a new one
costs microseconds, and cannot carry state of its last user.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from weakref import WeakSet

import duckdb
import pyarrow as pa

from pondflight.engine.databases.faults import fault_of
from pondflight.engine.duck import sql_error
from pondflight.engine.execution import timeouts
from pondflight.engine.execution.results import Result
from pondflight.engine.execution.room import Room
from pondflight.engine.execution.states import CURSOR_STEPS, CursorState, step
from pondflight.engine.guards.callers import Call
from pondflight.engine.types.describe import Columns
from pondflight.errors import Cancelled, InvalidArgument, PondflightError, Unavailable

_WAIT_SECONDS = 0.05
_CLOSED = "the session was closed before this call could run: try again"

Run = Callable[[], pa.RecordBatchReader]
"""Runs a statement, each time from the beginning."""


class Cursor:
    """A DuckDB cursor, with the rules for its use."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, room: Room) -> None:
        self.connection = connection
        self.passing = False
        """Whether it serves one statement, and has no state of its own."""
        self.state = CursorState.IDLE
        self.begin_first = False
        """Whether a transaction has to begin before the next statement."""
        self.in_transaction = False
        """Whether a transaction is open. DuckDB cannot be asked: a second BEGIN aborts it."""
        self.undo: str | None = None
        """What to run before the next statement.

        It could not be run after the last one, whose rows may still stream.
        """
        self._holds = False
        self._room = room
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._user: Call | None = None
        self._known: WeakSet[Call] = WeakSet()
        """The calls that interrupt it when they are cancelled."""
        self._result: Result | None = None

    @contextmanager
    def use(self, call: Call) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give ``call`` the DuckDB connection; cancelling the call interrupts its statement.

        Waits for the statement that is running, and sets aside rows that still stream. Raises the
        reason if the call is cancelled, and ``Unavailable`` if the cursor is closed.
        """
        with _Taken(self, call):
            self._clear(call)
            self._start()
            try:
                with _Interruptible(self, call):
                    self._prepare()
                    yield self.connection
                    if self._result is None or not self._result.streams():
                        self.release()
            except BaseException as error:
                self._give_up()
                if self._result is not None:  # nobody will ever read it
                    self._result.fail(error)
                    self._result = None
                raise
            finally:
                self._stop()

    def result(
        self,
        call: Call,
        reader: pa.RecordBatchReader,
        columns: Columns,
        again: Run | None = None,
        *,
        checks_text: bool = False,
    ) -> Result:
        """Return the rows of the statement just executed. Call it inside ``use``.

        ``again`` runs the statement once more, if that is safe. ``checks_text``: text that is not
        UTF-8 is an error.
        """
        self._result = Result(
            call, reader, columns, self._room, again, source=self, checks_text=checks_text
        )
        return self._result

    def next_batch(self, result: Result) -> pa.RecordBatch | None:
        """Return the next batch of ``result``, from the cursor or from where it was set aside."""
        while True:
            batch = result.next_set_aside()
            if batch is not None or not result.streams():
                return batch
            with _Taken(self, result.call):
                if not result.streams() or result.has_set_aside:
                    continue  # another statement came first
                try:
                    with _Interruptible(self, result.call):
                        batch = result.next_streamed()
                        if batch is None:
                            self._let_read()
                except BaseException as error:
                    self._give_up()
                    result.fail(error)
                    self.forget(result)
                    raise
                if batch is None:
                    result.finish()
                    self.forget(result)
                return batch

    def forget(self, result: Result) -> None:
        """Drop ``result``: whoever uses the cursor next need not save its rows."""
        with self._guard:
            if self.state is CursorState.STREAMING:
                self._let_go(result)

    def close(self) -> None:
        """Interrupt what runs, fail what streams, and close the connection. May be repeated."""
        with self._guard:
            if self.state is CursorState.CLOSED:
                return
            self._step(CursorState.CLOSED)
        while not self._turn.acquire(timeout=_WAIT_SECONDS):
            self.connection.interrupt()
        try:
            if self._result is not None and self._result.streams():
                self._result.fail(Unavailable("the session of this result was closed"))
            self._result = None
            self.connection.close()
        finally:
            self._turn.release()

    # -- transactions -------------------------------------------------------------------------

    def begin(self, text: str = "BEGIN TRANSACTION") -> None:
        """Begin a transaction with the statement ``text``. Call it inside ``use``.

        Raises ``InvalidArgument`` if one is open, which stays open: DuckDB would abort it.
        """
        self.begin_first = False
        if self.in_transaction:
            raise InvalidArgument(
                "cannot start a transaction within a transaction: the one that is open goes on"
            )
        self.connection.execute(text)
        self.in_transaction = True

    def end(self, *, commit: bool) -> None:
        """End the transaction by COMMIT or ROLLBACK. Call it inside ``use``.

        DuckDB rolls back an aborted transaction on COMMIT and says nothing. Here that is an error,
        since the caller believes that the work was kept.
        """
        was_open, self.in_transaction = self.in_transaction, False
        if commit and was_open:
            try:
                self.connection.execute("SELECT 1")
            except duckdb.Error:
                self._roll_back()
                raise
        try:
            self.connection.execute("COMMIT" if commit else "ROLLBACK")
        except duckdb.Error as error:
            self._roll_back()
            # A server that is gone has rolled back by itself; an interrupt came before the end.
            undone = (
                isinstance(error, duckdb.InterruptException) or fault_of(str(error)) is not None
            )
            if commit or not undone:
                raise

    def finish(self, call: Call, *, commit: bool) -> None:
        """End the transaction outside of ``use``, by COMMIT or ROLLBACK, if one began."""
        if self.begin_first:
            self.begin_first = False
            return
        with self.use(call):
            self.end(commit=commit)

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Run everything inside or nothing, as part of the open transaction if there is one.

        Use it inside ``use``.
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

    def hold(self) -> None:
        """Begin a transaction for the next statement and the questions asked on its behalf.

        Call it inside ``use``. The transaction ends with the last of the statement's rows, or with
        ``release``. If a transaction is open already, nothing happens.
        """
        self._let_read()
        if not self.in_transaction:
            self.connection.execute("BEGIN TRANSACTION")
            self._holds = True

    def release(self) -> None:
        """Commit what ``hold`` began, if it did. Call it inside ``use``."""
        if self._holds:
            self._holds = False
            self.connection.execute("COMMIT")

    # -- inside -------------------------------------------------------------------------------

    def _let_read(self) -> None:
        """Commit what ``hold`` began for a statement that only read."""
        try:
            self.release()
        except duckdb.Error:
            self._roll_back()

    def _give_up(self) -> None:
        """Roll back what ``hold`` began."""
        if self._holds:
            self._holds = False
            self._roll_back()

    def _roll_back(self) -> None:
        while True:
            try:
                self.connection.execute("ROLLBACK")
            except duckdb.InterruptException:
                continue  # for a call that was cancelled: the transaction is still open
            except duckdb.Error:
                pass  # it was aborted, or its server is gone: it is over in any case
            return

    def _prepare(self) -> None:
        self._let_read()
        if self.undo is not None:
            with suppress(duckdb.TransactionException):  # aborted: not before its end
                self.connection.execute(self.undo)
                self.undo = None
        if self.begin_first:
            self.begin_first = False
            if not self.in_transaction:
                self.begin()

    def _clear(self, call: Call) -> None:
        """Set aside what streams. If ``call`` is cancelled meanwhile, the rest streams on."""
        result = self._result
        if result is not None and self.state is CursorState.STREAMING:
            with _UsedBy(self, result.call):
                result.set_aside(until=call.raise_if_cancelled)
            with self._guard:
                self._let_go(result)

    def _start(self) -> None:
        with self._guard:
            if self.state is CursorState.CLOSED:
                raise Unavailable(_CLOSED)
            self._step(CursorState.RUNNING)

    def _stop(self) -> None:
        with self._guard:
            if self._result is not None and not self._result.streams():
                self._result = None
            if self.state is CursorState.RUNNING:
                self._step(CursorState.IDLE if self._result is None else CursorState.STREAMING)

    def _let_go(self, result: Result) -> None:
        """Note that ``result`` no longer uses the cursor. Call it under the guard."""
        if self._result is result:
            self._result = None
            if self.state is CursorState.STREAMING:
                self._step(CursorState.IDLE)

    def _step(self, to: CursorState) -> None:
        self.state = step(CURSOR_STEPS, self.state, to)

    def take(self, call: Call) -> None:
        """Wait for the turn of ``call``, and take it."""
        while not self._turn.acquire(timeout=_WAIT_SECONDS):
            call.raise_if_cancelled()
        if self.state is CursorState.CLOSED:
            self._turn.release()
            call.raise_if_cancelled()
            raise Unavailable(_CLOSED)

    def leave(self) -> None:
        """Give back the turn."""
        self._turn.release()

    def begin_use(self, call: Call) -> None:
        """Let the cancellation of ``call`` interrupt what runs, from now on."""
        with self._guard:
            self._user = call
        if call not in self._known:
            self._known.add(call)
            call.on_cancel(lambda: self._interrupt(call))

    def end_use(self) -> None:
        """Let no call's cancellation interrupt what runs, from now on."""
        with self._guard:
            self._user = None

    def _interrupt(self, call: Call) -> None:
        with self._guard:
            if self._user is call:
                self.connection.interrupt()
                if call.overdue > timeouts.PATIENCE:
                    timeouts.end_worker()


class _Taken:
    """Holds the turn on a cursor while inside."""

    def __init__(self, cursor: Cursor, call: Call) -> None:
        self._cursor = cursor
        self._call = call

    def __enter__(self) -> None:
        self._cursor.take(self._call)

    def __exit__(self, *_: object) -> None:
        self._cursor.leave()


class _UsedBy:
    """Lets the call's cancellation interrupt the cursor while inside."""

    def __init__(self, cursor: Cursor, call: Call) -> None:
        self._cursor = cursor
        self._call = call

    def __enter__(self) -> None:
        self._cursor.begin_use(self._call)

    def __exit__(self, *_: object) -> None:
        self._cursor.end_use()


class _Interruptible:
    """``_UsedBy`` that raises our errors for DuckDB's; for an interruption, the call's reason."""

    def __init__(self, cursor: Cursor, call: Call) -> None:
        self._cursor = cursor
        self._call = call

    def __enter__(self) -> None:
        self._cursor.begin_use(self._call)
        try:
            self._call.raise_if_cancelled()
        except BaseException:
            self._cursor.end_use()
            raise

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is not None:
                self._explain(error)
        finally:
            self._cursor.end_use()

    def _explain(self, error: BaseException) -> None:
        """Raise the error that ``error`` means to the call, if that is another."""
        leaf: BaseException | None = error
        if not isinstance(error, PondflightError):
            leaf = sql_error(error) if isinstance(error, Exception) else None
        if not isinstance(leaf, PondflightError):
            return
        self._call.raise_if_cancelled()  # an interrupted statement fails with the call's reason
        if isinstance(leaf, Cancelled) and self._cursor.state is CursorState.CLOSED:
            raise Unavailable("the session was closed while this call ran") from leaf
        if leaf is not error:
            raise leaf from error
