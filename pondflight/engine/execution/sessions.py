"""Sessions: what survives from one call of a connection to its next.

Temporary tables, ``SET``, ``USE`` and transactions live in a DuckDB cursor. A session gets a cursor
with the first statement that needs one; from then on, all its statements run there, one after the
other. Until then it is only a name: its statements run side by side, each in a passing session
whose new cursor is closed afterwards.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import duckdb

from pondflight import control
from pondflight.engine.execution.cursors import Cursor
from pondflight.engine.execution.room import Room
from pondflight.engine.guards.callers import Call
from pondflight.errors import InvalidArgument, LimitExceeded, NotFound

DEFAULT = ""
"""The session of clients that keep neither the token nor the cookie that they were given."""

_ROOM_SECONDS = 2.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Limits of sessions; times in seconds.

    At most ``max_sessions`` have a cursor at the same time. A ``statement_timeout`` of 0 is none.
    """

    idle_timeout: float = 1800.0
    max_sessions: int = 64
    statement_timeout: float = 0.0


@dataclass(eq=False)
class Session:
    """A session with a cursor of its own.

    ``statement_timeout`` is in seconds; ``None``: the server's. ``offer``, of the default session,
    is the session handed out to the only client that has used it, if there is only one. A
    ``passing`` session serves one statement.
    """

    id: str
    cursor: Cursor
    passing: bool = False
    in_use: int = 0
    last_used: float = field(default_factory=time.monotonic)
    statement_timeout: float | None = None
    offer: str | None = None


@dataclass(eq=False)
class Transaction:
    """A transaction begun by a Flight SQL action. DuckDB's begins with its first statement.

    ``own_session``: its session was created for it, and ends with it.
    """

    id: bytes
    session: str
    own_session: bool
    started: float = field(default_factory=time.monotonic)


class Sessions:
    """The sessions of one worker."""

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        room: Room,
        ended: Callable[[str], None],
        *,
        in_memory: bool = True,
    ) -> None:
        """Create the sessions; ``ended`` is called with the id of each session that has ended.

        ``in_memory``: tables are lost when the worker ends.
        """
        self.limits = SessionLimits()
        self._ended = ended
        self._in_memory = in_memory
        self._tables = False
        """Whether there may be tables in memory."""
        self._database = database
        self._room = room
        self._changed = threading.Condition()
        self._sessions: dict[str, Session] = {}
        self._transactions: dict[bytes, Transaction] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def exists(self, session_id: str) -> bool:
        """Return whether the session has a cursor of its own."""
        with self._changed:
            return session_id in self._sessions

    def adopt(self, session_id: str) -> None:
        """A client comes with a session.

        Its first call had none yet, and ran in the default session. If only this client has used
        the default session, its state becomes the start of the client's session.
        """
        with self._changed:
            default = self._sessions.get(DEFAULT)
            if default is None or default.offer != session_id or session_id in self._sessions:
                return
            del self._sessions[DEFAULT]
            default.id = session_id
            self._sessions[session_id] = default

    def timeout_of(self, session_id: str) -> float:
        """Return the statement timeout of a session, in seconds; 0: none."""
        with self._changed:
            session = self._sessions.get(session_id)
        own = None if session is None else session.statement_timeout
        return own or self.limits.statement_timeout

    def close(self, session_id: str) -> None:
        """End a session: drop its temporary tables and roll back its transaction."""
        with self._changed:
            session = self._forget(session_id)
        self._ended(session_id)
        if session is not None:
            session.cursor.close()

    def sweep(self) -> None:
        """End the sessions and transactions that were idle for too long."""
        oldest = time.monotonic() - self.limits.idle_timeout
        with self._changed:
            idle = [s.id for s in self._sessions.values() if not s.in_use and s.last_used < oldest]
            ended = [self._forget(session_id) for session_id in idle]
            for transaction in list(self._transactions.values()):
                if transaction.session not in self._sessions and transaction.started < oldest:
                    del self._transactions[transaction.id]
        for session in ended:
            assert session is not None
            self._ended(session.id)
            session.cursor.close()

    def _forget(self, session_id: str) -> Session | None:
        """Remove and return the session of that id; the caller must close its cursor."""
        session = self._sessions.pop(session_id, None)
        for transaction in self._transactions_of(session_id):
            del self._transactions[transaction.id]
        self._changed.notify_all()
        return session

    # -- borrowing ----------------------------------------------------------------------------

    def lent(
        self, call: Call, session_id: str, *, session_state: bool = False, tables: bool = False
    ) -> _Lent:
        """Borrow a session, and give it back."""
        return _Lent(self, call, session_id, session_state=session_state, tables=tables)

    def borrow(
        self, call: Call, session_id: str, *, session_state: bool = False, tables: bool = False
    ) -> Session:
        """Return the session in which the next statement has to run; give it back afterwards.

        ``session_state``: the statement changes or needs the session's own state; ``tables``: it
        creates something that all sessions may use. Raises ``LimitExceeded`` if there are as many
        sessions as allowed, and none ends soon.
        """
        deadline = time.monotonic() + _ROOM_SECONDS
        with self._changed:
            self._tables |= tables and self._in_memory
            # The answer has not begun: a call's first statement runs before that.
            mark = "t" if self._tables else ""
            while True:
                session = self._sessions.get(session_id)
                open_ones = self._transactions_of(session_id)
                if session is None and not (session_state or open_ones):
                    if mark:
                        call.send_header(control.KEPT_HEADER, f"{mark}-")
                    return self.passing()
                if session is None and self._has_room():
                    session = self._sessions[session_id] = Session(session_id, self._new_cursor())
                    session.offer = call.identity.offer
                    session.cursor.begin_first = bool(open_ones)
                if session is not None:
                    if session.offer != call.identity.offer:
                        session.offer = None
                    session.in_use += 1
                    name = call.identity.session or call.identity.offer or ""
                    if session_id != DEFAULT and not open_ones:
                        name = session_id  # another connection's, for its ticket
                    call.send_header(control.KEPT_HEADER, f"{mark}s-{name}")
                    return session
                if time.monotonic() > deadline:
                    raise LimitExceeded(
                        f"{len(self._sessions)} sessions are open, which is the limit "
                        "(sessions.max_per_user): close connections that are not in use"
                    )
                self._changed.wait(_POLL_SECONDS)
                call.raise_if_cancelled()

    def passing(self) -> Session:
        """Return a session for one statement, to be given back."""
        cursor = self._new_cursor()
        cursor.passing = True
        return Session("", cursor, passing=True, in_use=1)

    def give_back(self, session: Session) -> None:
        """Give back a borrowed session."""
        with self._changed:
            session.in_use -= 1
            session.last_used = time.monotonic()
        if session.passing:
            session.cursor.close()

    def _has_room(self) -> bool:
        return len(self._sessions) < self.limits.max_sessions

    def _new_cursor(self) -> Cursor:
        return Cursor(self._database.cursor(), self._room)

    # -- transactions -------------------------------------------------------------------------

    def begin(self, session_id: str) -> bytes:
        """Begin a transaction in a session; return its id.

        A cursor holds one transaction. So if the session has one already, and in the default
        session, which several clients may share, the new one gets a session of its own, which its
        id stands for. Raises ``InvalidArgument`` in a transaction that was begun by SQL.
        """
        with self._changed:
            session = self._sessions.get(session_id)
            own = session_id == DEFAULT or bool(self._transactions_of(session_id))
            if own:
                session_id = f"transaction:{secrets.token_hex(8)}"
            elif session is not None:
                if session.cursor.in_transaction:
                    raise InvalidArgument(
                        "a transaction was begun in this session by SQL, and goes on: end it with "
                        "COMMIT or ROLLBACK before you begin another"
                    )
                session.cursor.begin_first = True
            transaction = Transaction(secrets.token_hex(16).encode(), session_id, own)
            self._transactions[transaction.id] = transaction
        return transaction.id

    def session_of(self, transaction_id: bytes) -> str:
        """Return the session of that open transaction. Raises ``NotFound`` if it has ended."""
        with self._changed:
            return self._transaction(transaction_id).session

    def end(self, call: Call, transaction_id: bytes, *, commit: bool) -> None:
        """Commit or roll back, and forget the transaction, whether or not that succeeds."""
        with self._changed:
            transaction = self._transaction(transaction_id)
            session = self._sessions.get(transaction.session)
            if session is not None:
                session.in_use += 1
        try:
            if session is not None:
                session.cursor.finish(call, commit=commit)
        finally:
            if session is not None:
                self.give_back(session)
            with self._changed:
                self._transactions.pop(transaction_id, None)
            if transaction.own_session:
                self.close(transaction.session)

    def _transaction(self, transaction_id: bytes) -> Transaction:
        transaction = self._transactions.get(transaction_id)
        if transaction is None:
            raise NotFound("unknown transaction: it was ended, or its session was")
        return transaction

    def _transactions_of(self, session_id: str) -> list[Transaction]:
        return [t for t in self._transactions.values() if t.session == session_id]


class _Lent:
    """A session, borrowed while inside."""

    def __init__(
        self,
        sessions: Sessions,
        call: Call,
        session_id: str,
        *,
        session_state: bool,
        tables: bool,
    ) -> None:
        self._sessions = sessions
        self._call = call
        self._session_id = session_id
        self._session_state = session_state
        self._tables = tables

    def __enter__(self) -> Session:
        self._session = self._sessions.borrow(
            self._call,
            self._session_id,
            session_state=self._session_state,
            tables=self._tables,
        )
        return self._session

    def __exit__(self, *_: object) -> None:
        self._sessions.give_back(self._session)
