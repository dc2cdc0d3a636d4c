"""What comes first in every call of a user: its session, its time limit, its interrupt."""

from __future__ import annotations

import time
from dataclasses import replace

from pondflight.engine.databases.attached import Databases
from pondflight.engine.databases.interrupt import Rescue
from pondflight.engine.execution.handles import Handle
from pondflight.engine.execution.sessions import DEFAULT, Sessions
from pondflight.engine.guards.callers import Call
from pondflight.errors import InvalidArgument, NotFound
from pondflight.flightsql import commands as c
from pondflight.flightsql.decoding import decode_ticket


class UserCalls:
    """Finds the session of a call, and knows how long ago the last one was."""

    def __init__(self, sessions: Sessions, databases: Databases) -> None:
        self._sessions = sessions
        self._databases = databases
        self._last = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Seconds since a call last began or ended."""
        return time.monotonic() - self._last

    def enter(self, call: Call, transaction: bytes | None = None) -> str:
        """Set up ``call``, and return the id of the session that it works in.

        That is the transaction's where there is one; ``NotFound`` if that is not open.
        """
        self._touch()
        call.on_done(self._touch)
        call.on_cancel(Rescue(call, self._databases))
        session = call.identity.session
        self._sessions.adopt(session)
        timeout = self._sessions.timeout_of(session)
        if timeout:
            call.limit(timeout)
        return session if transaction is None else self._sessions.session_of(transaction)

    def with_ticket(self, call: Call, ticket: bytes) -> tuple[Handle, str]:
        """The handle in a statement's ticket, and the session in which it is looked for."""
        command = decode_ticket(ticket)
        if not isinstance(command, c.StatementTicket):
            raise InvalidArgument("only a statement can be cancelled, not a list of metadata")
        handle = Handle.decode(command.statement_handle)
        session = call.identity.session
        if handle.transaction is not None:
            session = self._sessions.session_of(handle.transaction)
        return handle, session

    def _touch(self, _: object = None) -> None:
        self._last = time.monotonic()

    def with_handle(self, call: Call, data: bytes) -> tuple[Handle, str]:
        """Set up ``call``; return a prepared statement's handle and the session that it runs in."""
        handle = Handle.decode(data)
        session_id = call.identity.session
        try:
            session = self.enter(call, handle.transaction)
        except NotFound:
            if not session_id:
                raise
            # Its transaction has ended, but the session goes on.
            handle = replace(handle, transaction=None)
            session = self.enter(call)
        if handle.transaction is None:
            handle.require_session(session)
            if handle.session == DEFAULT and not self._sessions.exists(session):
                session = DEFAULT  # where it was made: what it needs is there
        return handle, session
