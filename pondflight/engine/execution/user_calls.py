"""The first steps of every user call: its session, its time limit, its interrupt."""

from __future__ import annotations

import time
from dataclasses import replace

from pondflight.engine.databases.attached import Databases
from pondflight.engine.databases.interrupt import Rescue
from pondflight.engine.execution.handles import Handle
from pondflight.engine.execution.sessions import DEFAULT, Sessions
from pondflight.engine.execution.tickets import Tickets
from pondflight.engine.guards.callers import Call
from pondflight.errors import NotFound


class UserCalls:
    """Finds the session of a call, and knows when the last call was."""

    def __init__(self, sessions: Sessions, databases: Databases, tickets: Tickets) -> None:
        self._sessions = sessions
        self._databases = databases
        self._tickets = tickets
        self._last = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Return the seconds since a call last began or ended."""
        return time.monotonic() - self._last

    def enter(self, call: Call, transaction: bytes | None = None) -> str:
        """Set up ``call``, and return the id of its session.

        With a transaction, that is the transaction's session. Raises ``NotFound`` if it is not
        open.
        """
        self._touch()
        call.on_done(self._touch)
        call.on_cancel(Rescue(call, self._databases))
        session = call.identity.session
        self._sessions.adopt(session)
        self._limit(call, session)
        return session if transaction is None else self._sessions.session_of(transaction)

    def with_ticket(self, call: Call, data: bytes) -> tuple[Handle, str]:
        """Set up ``call``; return a ticket's handle and the session that made it.

        The call may come by another connection of the user. Raises ``NotFound`` if that session has
        ended.
        """
        handle, session = self._with(call, data)
        if handle.transaction is None and handle.session not in (DEFAULT, session):
            if not self._tickets.made(handle.id, handle.session):
                raise NotFound("the session of this ticket has ended: run the statement again")
            session = handle.session
            self._limit(call, session)
        return handle, session

    def with_handle(self, call: Call, data: bytes) -> tuple[Handle, str]:
        """Set up ``call``; return a prepared statement's handle and the session that it runs in."""
        handle, session = self._with(call, data)
        if handle.transaction is None:
            handle.require_session(session)
        return handle, session

    def _with(self, call: Call, data: bytes) -> tuple[Handle, str]:
        handle = Handle.decode(data)
        try:
            session = self.enter(call, handle.transaction)
        except NotFound:
            if not call.identity.session:
                raise
            # Its transaction has ended, but the session goes on.
            handle = replace(handle, transaction=None)
            session = self.enter(call)
        own_is_new = not self._sessions.exists(session)
        if handle.transaction is None and handle.session == DEFAULT and own_is_new:
            session = DEFAULT  # where it was prepared: what it needs is there
        return handle, session

    def _limit(self, call: Call, session: str) -> None:
        timeout = self._sessions.timeout_of(session)
        if timeout:
            call.limit(timeout)

    def _touch(self, _: object = None) -> None:
        self._last = time.monotonic()
