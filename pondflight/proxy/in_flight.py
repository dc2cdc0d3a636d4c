"""Limits the calls that run at a time, of each user and of all, and results to be fetched.

Every running call holds a thread. Without a limit, one user's flood would take the threads, and
with them the memory and the time, of everybody else.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from pondflight.errors import LimitExceeded, Unavailable
from pondflight.proxy.callers import Call

_FETCH_SECONDS = 2.0
"""Seconds within which a client fetches the rows that it was promised."""
_MOST_PROMISED = 10_000


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Calls that may run at a time.

    Actions, by which calls are cancelled, are counted apart. ``idle`` is how many seconds a client
    may leave a piece of a result unread.
    """

    everyone: int = 2000
    user: int = 256
    idle: float = math.inf


class InFlight:
    """Counts the running calls."""

    def __init__(self, limits: CallLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._running: dict[tuple[bool, str], int] = {}
        self._all = {False: 0, True: 0}
        self._promised: OrderedDict[bytes, float] = OrderedDict()

    def enter(self, call: Call) -> None:
        """Count a call until it is done.

        Raises ``LimitExceeded`` or ``Unavailable`` if too many run.
        """
        action = call.method == "do_action"
        key = action, call.identity.identity.sub
        limits = self._limits
        with self._lock:
            running = self._running.get(key, 0)
            if running >= limits.user:
                raise LimitExceeded(
                    f"{limits.user} of your calls are running (server.max_calls_per_user): "
                    "wait until one has ended",
                    retry_after=1.0,
                )
            if self._all[action] >= limits.everyone:
                raise Unavailable(
                    f"{limits.everyone} calls are running (server.max_calls): try again",
                    retry_after=1.0,
                )
            self._running[key] = running + 1
            self._all[action] += 1
        call.limit_idleness(limits.idle)
        call.on_done(lambda _: self._leave(key))

    def _leave(self, key: tuple[bool, str]) -> None:
        with self._lock:
            self._all[key[0]] -= 1
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]

    # -- results that were told of ------------------------------------------------------------

    def promised(self, ticket: bytes) -> None:
        """Note that a client was given a ticket, and will come with it."""
        with self._lock:
            self._promised[ticket] = time.monotonic()
            self._promised.move_to_end(ticket)
            while len(self._promised) > _MOST_PROMISED:
                self._promised.popitem(last=False)

    def fetched(self, ticket: bytes) -> None:
        """Note that a client has come with its ticket."""
        with self._lock:
            self._promised.pop(ticket, None)

    @property
    def awaited(self) -> int:
        """Return how many clients are about to fetch their rows."""
        with self._lock:
            recent = time.monotonic() - _FETCH_SECONDS
            while self._promised and next(iter(self._promised.values())) < recent:
                self._promised.popitem(last=False)
            return len(self._promised)
