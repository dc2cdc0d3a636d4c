"""Sessions: what survives from one call of a connection to its next.

Temporary tables, ``SET``, ``USE`` and transactions live in a DuckDB cursor. A session gets one
of its own with the first statement that needs it, and from then on all its statements run
there, one after the other. Until then it is only a name: its statements run side by side, each
on a cursor from a common pool.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from pondflight.engine.execution.lanes import Lane
from pondflight.errors import LimitExceeded, NotFound
from pondflight.flightsql import Call

DEFAULT = ""
"""The session of clients that keep neither the token nor the cookie they were given."""

_SPARE_LANES = 16
_ROOM_SECONDS = 2.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Times in seconds; ``max_sessions`` with a cursor at the same time.

    ``statement_timeout`` is 0 where there is none.
    """

    idle_timeout: float = 1800.0
    max_sessions: int = 64
    statement_timeout: float = 0.0


@dataclass(eq=False)
class Session:
    """A session that has a cursor of its own.

    ``statement_timeout`` is in seconds; ``None``: the server's. ``offer``, of the default session,
    is the one that was handed out to the only client that has used it, if there is only one.
    """

    id: str
    main: Lane
    in_use: int = 0
    last_used: float = field(default_factory=time.monotonic)
    statement_timeout: float | None = None
    offer: str | None = None


@dataclass(eq=False)
class Transaction:
    """A transaction begun by Flight SQL action. DuckDB's begins with its first statement."""

    id: bytes
    session: str
    own_session: bool
    started: float = field(default_factory=time.monotonic)


class Lease:
    """A lane, lent to one statement until its last row is read."""

    def __init__(self, sessions: Sessions, session: Session | None, lane: Lane) -> None:
        self.lane = lane
        self.session = session
        self._sessions: Sessions | None = sessions

    def release(self, *, clean: bool) -> None:
        """Give the lane back; once. ``clean``: nothing of the statement is left on it."""
        sessions, self._sessions = self._sessions, None
        if sessions is not None:
            sessions.give_back(self.session, self.lane, clean=clean)

    def __enter__(self) -> Lane:
        return self.lane

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.release(clean=error is None)


class Sessions:
    """The sessions of one worker."""

    def __init__(self, database: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self.limits = SessionLimits()
        self._database = database
        self._scratch = scratch
        self._changed = threading.Condition()
        self._sessions: dict[str, Session] = {}
        self._transactions: dict[bytes, Transaction] = {}
        self._free: list[Lane] = []

    def __len__(self) -> int:
        return len(self._sessions)

    def exists(self, session_id: str) -> bool:
        """Whether the session has a cursor of its own."""
        with self._changed:
            return session_id in self._sessions

    def adopt(self, session_id: str) -> None:
        """A client comes with a session.

        Its first call had none yet, and ran in the default session. If what is there is all its
        own, it becomes what its session begins with.
        """
        with self._changed:
            default = self._sessions.get(DEFAULT)
            if default is None or default.offer != session_id or session_id in self._sessions:
                return
            del self._sessions[DEFAULT]
            default.id = session_id
            self._sessions[session_id] = default

    def timeout_of(self, session_id: str) -> float:
        """The statement timeout of a session, in seconds; 0 for none."""
        with self._changed:
            session = self._sessions.get(session_id)
        own = None if session is None else session.statement_timeout
        return own or self.limits.statement_timeout

    def close(self, session_id: str) -> None:
        """End a session: its temporary tables go, its transaction is rolled back."""
        with self._changed:
            session = self._sessions.pop(session_id, None)
            for transaction in self._transactions_of(session_id):
                del self._transactions[transaction.id]
            self._changed.notify_all()
        if session is not None:
            session.main.close()

    def sweep(self) -> None:
        """End the sessions and transactions that were idle for too long."""
        oldest = time.monotonic() - self.limits.idle_timeout
        with self._changed:
            idle = [s.id for s in self._sessions.values() if not s.in_use and s.last_used < oldest]
            for transaction in list(self._transactions.values()):
                if transaction.session not in self._sessions and transaction.started < oldest:
                    del self._transactions[transaction.id]
        for session_id in idle:
            self.close(session_id)

    # -- lanes --------------------------------------------------------------------------------

    def borrow(self, call: Call, session_id: str, *, session_state: bool = False) -> Lease:
        """The lane on which the next statement of a session has to run, until released.

        ``session_state``: the statement changes or needs the session's own state. Raises
        ``LimitExceeded`` if that takes one session more than there may be, and none ends soon.
        """
        deadline = time.monotonic() + _ROOM_SECONDS
        with self._changed:
            while True:
                session = self._sessions.get(session_id)
                open_ones = self._transactions_of(session_id)
                if session is None and not (session_state or open_ones):
                    lane = self._free.pop() if self._free else self._new_lane()
                    return Lease(self, None, lane)
                if session is None and self._has_room():
                    session = self._sessions[session_id] = Session(session_id, self._new_lane())
                    session.offer = call.identity.offer
                    if open_ones:
                        session.main.begin_first = True
                if session is not None:
                    if session.offer != call.identity.offer:
                        session.offer = None
                    session.in_use += 1
                    return Lease(self, session, session.main)
                if time.monotonic() > deadline:
                    raise LimitExceeded(
                        f"{len(self._sessions)} sessions are open, which is the limit "
                        "(sessions.max_per_user): close connections that are not in use"
                    )
                self._changed.wait(_POLL_SECONDS)
                call.raise_if_cancelled()

    def borrow_apart(self) -> Lease:
        """A lane that is nobody else's, before or after: release it with ``clean=False``."""
        return Lease(self, None, self._new_lane())

    def give_back(self, session: Session | None, lane: Lane, *, clean: bool) -> None:
        """The end of a lease. A lane from the pool that is not ``clean`` is not used again."""
        with self._changed:
            if session is not None:
                session.in_use -= 1
                session.last_used = time.monotonic()
                return
            if clean and len(self._free) < _SPARE_LANES:
                self._free.append(lane)
                return
        lane.close()

    def _has_room(self) -> bool:
        return len(self._sessions) < self.limits.max_sessions

    def _new_lane(self) -> Lane:
        return Lane(self._database.cursor(), self._scratch)

    # -- transactions -------------------------------------------------------------------------

    def begin(self, call: Call, session_id: str) -> bytes:
        """Begin a transaction in a session; its id.

        The default session may be many clients at once: there, each transaction gets a session
        of its own, which its id stands for.
        """
        own = session_id == DEFAULT
        if own:
            session_id = f"transaction:{secrets.token_hex(8)}"
        transaction = Transaction(secrets.token_hex(16).encode(), session_id, own)
        with self._changed:
            session = self._sessions.get(session_id)
            if session is None:
                self._transactions[transaction.id] = transaction
        if session is not None:
            with self.borrow(call, session_id) as lane, lane.use(call):
                lane.begin()
            with self._changed:
                self._transactions[transaction.id] = transaction
        return transaction.id

    def session_of(self, transaction_id: bytes) -> str:
        """The session in which that transaction is open; ``NotFound`` if it has ended."""
        with self._changed:
            transaction = self._transactions.get(transaction_id)
        if transaction is None:
            raise NotFound("unknown transaction: it was ended, or its session was")
        return transaction.session

    def end(self, call: Call, transaction_id: bytes, *, commit: bool) -> None:
        """Commit or roll back, and forget the transaction, whatever comes of it."""
        session_id = self.session_of(transaction_id)
        with self._changed:
            begun = session_id in self._sessions
        try:
            if begun:
                with self.borrow(call, session_id) as lane, lane.use(call):
                    lane.end(commit=commit)
        finally:
            with self._changed:
                transaction = self._transactions.pop(transaction_id, None)
            if transaction is not None and transaction.own_session:
                self.close(session_id)

    def _transactions_of(self, session_id: str) -> list[Transaction]:
        return [t for t in self._transactions.values() if t.session == session_id]
