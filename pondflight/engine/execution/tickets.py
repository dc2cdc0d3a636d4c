"""Tickets: the calls that fetch a result, and its rows or parameters while they are kept.

A client may cancel a ticket while another call fetches it, or before any does; after that, fetching
it is an error. What is kept between two calls is limited in number and age.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from pondflight.engine.execution.results import Result
from pondflight.engine.guards.callers import Call
from pondflight.errors import Cancelled, NotFound, PondflightError
from pondflight.flightsql.commands import CancelStatus

_CANCELLED = "the statement was cancelled"
_REMEMBERED = 4096
_MOST_KEPT = 256
"""Tickets with rows or with parameters."""

_PATIENCE = 2.0


@dataclass(eq=False, slots=True)
class _Ticket:
    """A ticket; ``fetching`` are the calls that fetch it now. It may be fetched repeatedly."""

    session: str
    used: float = field(default_factory=time.monotonic)
    result: Result | None = None
    parameters: pa.Table | None = None
    fetching: set[Call] = field(default_factory=set)
    cancelled: bool = False
    fetched: bool = False

    @property
    def keeps(self) -> bool:
        return self.result is not None or self.parameters is not None


class Tickets:
    """The last few thousand tickets of one worker, by id."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets: OrderedDict[str, _Ticket] = OrderedDict()

    def new(self, session: str, result: Result | None = None) -> str:
        """Return the id of a new ticket; ``result`` are its rows, which can be fetched once."""
        key = secrets.token_hex(8)
        self._put(key, _Ticket(session, result=result))
        return key

    def bind(self, key: str, session: str, parameters: pa.Table) -> None:
        """Keep the parameters of a ticket or a prepared statement."""
        with self._changed:
            ticket = self._find(key, session)
            if ticket is not None:
                ticket.parameters = parameters
        self._put(key, ticket or _Ticket(session, parameters=parameters))

    def parameters(self, key: str, session: str) -> pa.Table | None:
        """Return the parameters; None if they are gone."""
        with self._changed:
            ticket = self._find(key, session)
            return None if ticket is None else ticket.parameters

    def unbind(self, key: str, session: str) -> None:
        """Forget the parameters."""
        with self._changed:
            ticket = self._find(key, session)
            if ticket is not None:
                ticket.parameters = None

    def take(self, key: str, session: str) -> Result | None:
        """Hand the rows over to the caller; return None if they are gone."""
        with self._changed:
            ticket = self._find(key, session)
            if ticket is None:
                return None
            result, ticket.result = ticket.result, None
            return result

    def renew(self, key: str, session: str) -> bool:
        """Make the ticket the youngest; return whether its rows are still there."""
        with self._changed:
            ticket = self._find(key, session)
            if ticket is None:
                return False
            ticket.used = time.monotonic()
            self._tickets.move_to_end(key)
            return ticket.result is not None

    def fetch(self, key: str, call: Call) -> None:
        """Note that ``call`` begins to fetch it. Raises ``Cancelled`` if it was cancelled.

        A ticket that is no longer remembered can be fetched all the same, but not cancelled.
        """
        with self._changed:
            ticket = self._tickets.get(key)
            if ticket is None:
                return
            if ticket.cancelled:
                raise Cancelled(_CANCELLED)
            ticket.fetching.add(call)
        call.on_done(lambda error: self._done(ticket, call, error))

    def made(self, key: str, session: str) -> bool:
        """Return whether the session made the ticket, and has not ended since."""
        with self._changed:
            return self._find(key, session) is not None

    def fetched(self, key: str) -> None:
        """Note that the proxy has received what it stands for, and has sent it."""
        with self._changed:
            ticket = self._tickets.get(key)
            if ticket is not None:
                ticket.fetched = True

    def cancel(self, key: str, session: str) -> CancelStatus:
        """Cancel it, and wait a moment until its statement has ended.

        Raises ``NotFound`` for tickets that the session did not make, or no longer knows.
        """
        with self._changed:
            ticket = self._find(key, session)
            if ticket is None:
                raise NotFound("unknown statement: it is not one of yours, or ended long ago")
            if ticket.fetched and not ticket.fetching:
                return CancelStatus.NOT_CANCELLABLE
            ticket.cancelled = True
            result, ticket.result, ticket.parameters = ticket.result, None, None
            for call in ticket.fetching:
                call.cancel(Cancelled(_CANCELLED))
            ended = self._changed.wait_for(lambda: not ticket.fetching, _PATIENCE)
        _close(result)
        return CancelStatus.CANCELLED if ended else CancelStatus.CANCELLING

    # -- forgetting ---------------------------------------------------------------------------

    def forget(self, session: str) -> None:
        """Note that the session has ended: nobody will fetch its tickets."""
        self._drop(lambda ticket: ticket.session == session)

    def sweep(self, seconds: float) -> None:
        """Drop what nobody has fetched for ``seconds``."""
        oldest = time.monotonic() - seconds
        self._drop(lambda ticket: ticket.used < oldest and ticket.keeps)

    def clear(self) -> None:
        """Forget everything."""
        self._drop(lambda _: True)

    # -- inside -------------------------------------------------------------------------------

    def _find(self, key: str, session: str) -> _Ticket | None:
        ticket = self._tickets.get(key)
        return ticket if ticket is not None and ticket.session == session else None

    def _put(self, key: str, ticket: _Ticket) -> None:
        with self._changed:
            self._tickets[key] = ticket
            self._tickets.move_to_end(key)
            dropped: list[_Ticket] = []
            while len(self._tickets) > _REMEMBERED:
                dropped.append(self._tickets.popitem(last=False)[1])
            if ticket.keeps:
                kept = [k for k, other in self._tickets.items() if other.keeps]
                dropped += [self._tickets.pop(k) for k in kept[:-_MOST_KEPT]]
        for one in dropped:
            _close(one.result)

    def _drop(self, unwanted: Callable[[_Ticket], bool]) -> None:
        with self._changed:
            keys = [key for key, ticket in self._tickets.items() if unwanted(ticket)]
            dropped = [self._tickets.pop(key) for key in keys]
        for ticket in dropped:
            _close(ticket.result)

    def _done(self, ticket: _Ticket, call: Call, error: PondflightError | None) -> None:
        with self._changed:
            ticket.fetching.discard(call)
            ticket.fetched = ticket.fetched or error is None
            self._changed.notify_all()


def _close(result: Result | None) -> None:
    if result is not None:
        result.close()
