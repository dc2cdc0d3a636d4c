"""Sessions, streams, second statements, cancels, closes, full disks and expiries in any order.

Beside the real thing runs a model of it: which rows each stream still owes, and what may have ended
it. No row is lost or comes twice, no cursor is used by two sessions, and none is left open.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from pondflight.engine.execution.results import Result
from pondflight.engine.execution.room import Room, Shelf
from pondflight.engine.execution.sessions import Session, SessionLimits, Sessions
from pondflight.engine.execution.states import CursorState, ResultState
from pondflight.engine.execution.tickets import Tickets
from pondflight.engine.guards.callers import Call, WorkerCall
from pondflight.engine.types.describe import Columns
from pondflight.errors import (
    Cancelled,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    PondflightError,
    SqlError,
    Unavailable,
)

STEPS = int(os.environ.get("ANY_ORDER_STEPS", "1000"))
STEPS_AT_A_TIME = 50
NAMES = st.sampled_from(["", "one", "two"])


class Connection:
    """A connection of DuckDB's, which says when it is closed."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, open_ones: set[Connection]) -> None:
        self._connection = connection
        self._open = open_ones
        open_ones.add(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def close(self) -> None:
        self._open.remove(self)
        self._connection.close()


class Database:
    """DuckDB, which knows the connections that are open."""

    def __init__(self) -> None:
        self._database = duckdb.connect()
        self.open: set[Connection] = set()
        self._database.execute("CREATE TABLE t (i INT)")

    def cursor(self) -> Connection:
        connection = self._database.cursor()
        connection.execute("SET streaming_buffer_size = '1KB'")  # little is made ahead
        return Connection(connection, self.open)

    def close(self) -> None:
        self._database.close()


class Narrow(Room):
    """A room whose memory and whose disk can be full."""

    full = False

    def take(self, size: int) -> bool:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().take(size)


def _aborted(error: PondflightError) -> bool:
    """Whether an earlier error in the same transaction is behind it."""
    return "transaction is aborted" in error.message


@contextmanager
def unless_aborted() -> Iterator[None]:
    """What runs inside works, or its transaction is aborted."""
    try:
        yield
    except SqlError as error:
        if not _aborted(error):
            raise


@dataclass(eq=False)
class Stream:
    """What the model knows of a result: the next row that it owes, and all that it has."""

    call: Call
    session: Session
    result: Result
    rows: int
    batches: Iterator[pa.RecordBatch] = field(init=False)
    next: int = 0
    fails_at: int | None = None
    over: bool = False
    may_end: set[type[PondflightError]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.batches = iter(self.result)

    def read(self) -> bool:
        """Read a batch; whether there was one. Every row has to be the next one."""
        try:
            batch = next(self.batches)
        except StopIteration:
            assert self.next == self.rows, f"{self.next} of {self.rows} rows, and a clean end"
            self.over = True
            return False
        except PondflightError as error:
            self.over = True
            if isinstance(error, SqlError) and (self.fails_at is not None or _aborted(error)):
                return False
            if type(error) in self.may_end:
                return False
            raise
        values = batch.column(0).to_pylist()
        assert self.fails_at is None or self.next < self.fails_at
        assert values == list(range(self.next, self.next + len(values)))
        self.next += len(values)
        return True


class AnyOrder(RuleBasedStateMachine):
    """Everything that clients do, in any order."""

    streams = Bundle("streams")
    kept = Bundle("kept")
    transactions = Bundle("transactions")

    def __init__(self) -> None:
        super().__init__()
        self.database = Database()
        self.folder = Path(tempfile.mkdtemp())
        self.room = Narrow(self.folder, memory=40_000)
        self.tickets = Tickets()
        self.sessions = Sessions(
            self.database,  # type: ignore[arg-type]
            self.room,
            self.tickets.forget,
        )
        self.sessions.limits = SessionLimits(idle_timeout=3600)
        self.live: list[Stream] = []
        self.promised: list[Stream] = []
        self.committed = 0
        self.pending: dict[Session, int] = {}

    # -- streams ------------------------------------------------------------------------------

    @rule(
        target=streams,
        name=NAMES,
        state=st.booleans(),
        rows=st.integers(0, 30_000),
        fails=st.booleans(),
    )
    def stream(self, name: str, rows: int, *, state: bool, fails: bool) -> object:
        call, session = self._borrow(name, state=state)
        sql = f"SELECT range::BIGINT FROM range({rows})"
        fails_at = None
        if fails and rows > 4096:  # in its last vector
            fails_at = (rows - 1) // 2048 * 2048
            sql = f"SELECT if(range < {rows - 1}, range, error('no')) FROM range({rows})"
        try:
            stream = self._run(call, session, sql, rows)
        except SqlError as error:
            self._over(call, session)
            if fails_at is None and not _aborted(error):
                raise
            return multiple()
        stream.fails_at = fails_at
        stream.result.on_close(lambda: self.sessions.give_back(session))
        call.on_done(lambda _: stream.result.close())
        self.live.append(stream)
        return stream

    def _run(self, call: Call, session: Session, sql: str, rows: int) -> Stream:
        self._about_to_set_aside(session)
        with session.cursor.use(call) as connection:

            def run() -> pa.RecordBatchReader:
                return connection.execute(sql).to_arrow_reader(2048)

            reader = run()
            result = session.cursor.result(call, reader, Columns.of(connection), again=run)
        return Stream(call, session, result, rows)

    @rule(stream=streams, batches=st.integers(1, 5))
    def read(self, stream: Stream, batches: int) -> None:
        for _ in range(batches):
            if stream.over or not stream.read():
                return

    @rule(stream=consumes(streams))
    def end(self, stream: Stream) -> None:
        """The client goes away, or has read all that it wants."""
        stream.over = True
        stream.call.finish(None)
        if stream in self.live:
            self.live.remove(stream)

    @rule(stream=streams)
    def cancel(self, stream: Stream) -> None:
        stream.call.cancel(Cancelled("cancelled"))
        stream.call.notify_cancelled()
        stream.may_end.add(Cancelled)

    # -- second statements --------------------------------------------------------------------

    @rule(name=NAMES, state=st.booleans())
    def another_statement(self, name: str, *, state: bool) -> None:
        call, session = self._borrow(name, state=state)
        self._about_to_set_aside(session)
        with unless_aborted(), session.cursor.use(call) as connection:
            assert connection.execute("SELECT 42").fetchall() == [(42,)]
        self._over(call, session)

    @rule(name=NAMES, state=st.booleans())
    def a_statement_that_fails(self, name: str, *, state: bool) -> None:
        call, session = self._borrow(name, state=state)
        self._about_to_set_aside(session)
        with pytest.raises(SqlError), session.cursor.use(call) as connection:
            connection.execute("SELECT 'x'::INT + nosuch")
        self._over(call, session)

    @rule(name=NAMES)
    def a_statement_that_is_cancelled(self, name: str) -> None:
        call, session = self._borrow(name, state=False)
        call.cancel(Cancelled("cancelled"))
        call.notify_cancelled()
        with pytest.raises(Cancelled), session.cursor.use(call):
            raise AssertionError("it runs all the same")
        self._over(call, session)

    # -- transactions -------------------------------------------------------------------------

    @rule(name=NAMES, state=st.booleans())
    def insert(self, name: str, *, state: bool) -> None:
        """What is inserted is there for all, or for its own transaction alone."""
        call, session = self._borrow(name, state=state)
        self._insert(call, session)

    @rule(
        name=st.sampled_from(["one", "two"]), verb=st.sampled_from(["begin", "commit", "rollback"])
    )
    def transaction_by_sql(self, name: str, verb: str) -> None:
        call, session = self._borrow(name, state=True)
        self._about_to_set_aside(session)
        cursor = session.cursor
        was_open = cursor.in_transaction or cursor.begin_first
        commits = verb == "commit" and not self._is_aborted(call, session)
        try:
            with cursor.use(call):
                if verb == "begin":
                    cursor.begin()
                else:
                    cursor.end(commit=verb == "commit")
        except InvalidArgument as error:
            if not _aborted(error) and was_open != (verb == "begin"):
                raise
        else:
            assert was_open != (verb == "begin")
        if verb != "begin":
            self._ended(session, commit=commits)
        assert cursor.in_transaction == (verb == "begin")
        self._over(call, session)

    def _is_aborted(self, call: Call, session: Session) -> bool:
        if session.cursor.in_transaction:
            try:
                with session.cursor.use(call) as connection:
                    connection.execute("SELECT 1")
            except SqlError:
                return True
        return False

    @rule(target=transactions, name=NAMES)
    def begin(self, name: str) -> object:
        session = self.sessions._sessions.get(name)
        open_before = {id(s): s.cursor.in_transaction for s in self.sessions._sessions.values()}
        try:
            transaction = self.sessions.begin(name)
        except InvalidArgument:
            assert session is not None
            assert session.cursor.in_transaction
            return multiple()
        finally:
            for one in self.sessions._sessions.values():
                assert one.cursor.in_transaction == open_before[id(one)]
        return transaction

    @rule(transaction=transactions)
    def insert_in_transaction(self, transaction: bytes) -> None:
        try:
            name = self.sessions.session_of(transaction)
        except NotFound:
            return
        call, session = self._borrow(name, state=False)
        self._insert(call, session)

    def _insert(self, call: Call, session: Session) -> None:
        self._about_to_set_aside(session)
        with unless_aborted(), session.cursor.use(call) as connection:
            connection.execute("INSERT INTO t VALUES (1)")
            if session.cursor.in_transaction:
                self.pending[session] = self.pending.get(session, 0) + 1
            else:
                self.committed += 1
        self._over(call, session)

    @rule(transaction=consumes(transactions), commit=st.booleans())
    def end_transaction(self, transaction: bytes, *, commit: bool) -> None:
        call = self._call()
        try:
            session = self.sessions._sessions.get(self.sessions.session_of(transaction))
        except NotFound:
            return
        if session is None:
            self.sessions.end(call, transaction, commit=commit)
            return
        self._about_to_set_aside(session)
        commits = commit and not self._is_aborted(call, session)
        was_open = session.cursor.in_transaction or session.cursor.begin_first
        try:
            self.sessions.end(call, transaction, commit=commit)
        except SqlError as error:
            if was_open and not _aborted(error):  # else SQL has ended it
                raise
        self._ended(session, commit=commits)
        self._note_closed()
        call.finish(None)

    # -- what is kept for a ticket ------------------------------------------------------------

    @rule(target=kept, name=NAMES, rows=st.integers(0, 9000))
    def keep(self, name: str, rows: int) -> object:
        call, session = self._borrow(name, state=False)
        self._about_to_set_aside(session)
        try:
            with session.cursor.use(call) as connection:
                connection.execute(f"SELECT range::BIGINT FROM range({rows})")
                reader = connection.to_arrow_reader(2048)
                result = session.cursor.result(call, reader, Columns.of(connection))
                result.set_aside()
        except SqlError as error:
            if not _aborted(error):
                raise
            return multiple()
        finally:
            self._over(call, session)
        stream = Stream(call, session, result, rows)
        if result.state is ResultState.FAILED:
            assert self.room.full
            stream.may_end.add(LimitExceeded)
        self.promised.append(stream)
        return self.tickets.new(name, result), name, stream

    @rule(ticket=consumes(kept))
    def fetch(self, ticket: tuple[str, str, Stream]) -> None:
        key, name, stream = ticket
        found = self.tickets.take(key, name)
        if found is None:
            assert stream.result.state is ResultState.CLOSED
            return
        stream.call = self._call()
        found.adopt(stream.call)
        while stream.read():
            pass
        stream.call.finish(None)

    @rule(ticket=kept)
    def cancel_what_is_kept(self, ticket: tuple[str, str, Stream]) -> None:
        key, name, stream = ticket
        try:
            self.tickets.cancel(key, name)
        except NotFound:
            pass
        else:
            assert stream.result.state is ResultState.CLOSED

    # -- ends ---------------------------------------------------------------------------------

    @rule(name=NAMES)
    def close_session(self, name: str) -> None:
        self.sessions.close(name)
        self._note_closed()

    @rule()
    def sweep(self) -> None:
        self.sessions.limits = SessionLimits(idle_timeout=-1)
        self.sessions.sweep()
        self.tickets.sweep(-1)
        self.sessions.limits = SessionLimits(idle_timeout=3600)
        self._note_closed()

    @rule(full=st.booleans())
    def disk(self, *, full: bool) -> None:
        self.room.full = full

    # -- always -------------------------------------------------------------------------------

    @invariant()
    def what_was_committed_is_there_for_everybody(self) -> None:
        session = self.sessions.passing()
        call = self._call()
        with session.cursor.use(call) as connection:
            (row,) = connection.execute("SELECT count(*) FROM t").fetchall()
            assert not session.cursor.in_transaction
        self.sessions.give_back(session)
        assert row == (self.committed,)

    @invariant()
    def no_cursor_is_left_open_and_no_room_is_lost(self) -> None:
        results = [stream.result for stream in (*self.live, *self.promised)]
        shelves: list[Shelf] = [result._shelf for result in results]
        in_memory = sum(
            batch.size
            for shelf in shelves
            for batch in shelf._batches
            if isinstance(batch, pa.Buffer)
        )
        assert self.room.used == in_memory
        of_sessions = {s.cursor for s in self.sessions._sessions.values()}
        of_streams = {
            stream.session.cursor
            for stream in self.live
            if stream.session.passing and stream.result.state is not ResultState.CLOSED
        }
        cursors = of_sessions | of_streams
        assert len(self.database.open) == len(cursors)
        assert all(cursor.state is not CursorState.CLOSED for cursor in cursors)

    def teardown(self) -> None:
        for stream in self.live:
            while not stream.over and stream.read():
                pass
            stream.call.finish(None)
        for name in list(self.sessions._sessions):
            self.sessions.close(name)
        self.tickets.clear()
        for stream in self.promised:
            stream.result.close()
        assert not self.database.open
        assert self.room.used == 0
        assert all(session.in_use == 0 for session in self.pending)
        self.database.close()
        shutil.rmtree(self.folder)

    # -- inside -------------------------------------------------------------------------------

    def _call(self) -> Call:
        return Call("do_get", {}, WorkerCall("", None, None))

    def _borrow(self, name: str, *, state: bool) -> tuple[Call, Session]:
        call = self._call()
        return call, self.sessions.borrow(call, name, session_state=state)

    def _over(self, call: Call, session: Session) -> None:
        self.sessions.give_back(session)
        call.finish(None)

    def _about_to_set_aside(self, session: Session) -> None:
        """Rows that still stream from the session's cursor may find no room."""
        if self.room.full:
            for stream in self.live:
                if stream.session is session:
                    stream.may_end.add(LimitExceeded)

    def _ended(self, session: Session, *, commit: bool) -> None:
        rows = self.pending.pop(session, 0)
        self.committed += rows if commit else 0

    def _note_closed(self) -> None:
        for session in list(self.pending):
            if session.cursor.state is CursorState.CLOSED:
                del self.pending[session]
        for stream in self.live:
            if stream.session.cursor.state is CursorState.CLOSED:
                stream.may_end.add(Unavailable)


AnyOrder.TestCase.settings = settings(
    max_examples=max(1, STEPS // STEPS_AT_A_TIME),
    stateful_step_count=STEPS_AT_A_TIME,
    deadline=None,
)
test_in_any_order = pytest.mark.timeout(600)(AnyOrder.TestCase)
