"""What became of each result that was promised: so that it can be cancelled, and only once.

A ticket says which promise it stands for. A client may cancel it while its rows are being
fetched, by another call, or before anybody fetches them; after that, fetching it is an error.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass

from pondflight.errors import Cancelled, NotFound, PondflightError
from pondflight.flightsql import Call
from pondflight.flightsql.commands import CancelStatus

_TEXT = "the statement was cancelled"
_REMEMBERED = 4096
_PATIENCE = 2.0


@dataclass(eq=False, slots=True)
class _Promise:
    """``fetching`` are the calls that fetch it now; a ticket may be fetched more than once."""

    session: str
    fetching: set[Call]
    cancelled: bool = False
    fetched: bool = False


class Executions:
    """The promises of one worker, the last few thousand of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._promises: OrderedDict[str, _Promise] = OrderedDict()

    def promise(self, session: str) -> str:
        """Note a new one; its id."""
        key = secrets.token_hex(8)
        with self._changed:
            self._promises[key] = _Promise(session, set())
            while len(self._promises) > _REMEMBERED:
                self._promises.popitem(last=False)
        return key

    def fetch(self, key: str, call: Call) -> None:
        """``call`` begins to fetch it. Raises ``Cancelled`` if it was cancelled.

        A promise that is not remembered may be fetched all the same, but not cancelled.
        """
        with self._changed:
            promise = self._promises.get(key)
            if promise is None:
                return
            if promise.cancelled:
                raise Cancelled(_TEXT)
            promise.fetching.add(call)
        call.on_done(lambda error: self._done(promise, call, error))

    def cancel(self, key: str, session: str) -> CancelStatus:
        """Cancel it, and wait a moment until its statement has ended.

        Raises ``NotFound`` for what is unknown or belongs to another session: one text for both.
        """
        with self._changed:
            promise = self._promises.get(key)
            if promise is None or promise.session not in ("", session):
                raise NotFound("unknown statement: it is not one of yours, or ended long ago")
            if promise.fetched and not promise.fetching:
                return CancelStatus.NOT_CANCELLABLE
            promise.cancelled = True
            for call in promise.fetching:
                call.cancel(Cancelled(_TEXT))
            ended = self._changed.wait_for(lambda: not promise.fetching, _PATIENCE)
        return CancelStatus.CANCELLED if ended else CancelStatus.CANCELLING

    def _done(self, promise: _Promise, call: Call, error: PondflightError | None) -> None:
        with self._changed:
            promise.fetching.discard(call)
            promise.fetched = promise.fetched or error is None
            self._changed.notify_all()
