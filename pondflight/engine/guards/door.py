"""Lets users' calls in: only the worker knows whether one runs, through any of the proxies.

A proxy that wants to stop an idle worker asks it to close its door first. Otherwise, another
proxy's statement could begin after the check and before the stop.

What was promised to one proxy holds for ``control.PROMISE_SECONDS``, whatever calls another proxy
sends. So the other's calls wait that long, once. Where calls come through several proxies, nothing
is promised.
"""

from __future__ import annotations

import threading
import time

from pondflight import control
from pondflight.engine.guards.callers import Call
from pondflight.errors import Unavailable

_ALONE_SECONDS = 30.0
"""Seconds after a call through another proxy in which nothing is promised."""


class Door:
    """Lets users' calls in until it is closed for good."""

    def __init__(self) -> None:
        self.closed = False
        self._inside: set[Call] = set()
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self._proxy = ""
        self._shared_until = 0.0
        self._promised_to = ""
        self._promised_until = 0.0

    def enter(self, call: Call) -> None:
        """Let a call in until it is done. Raises ``Unavailable`` once the door is closed."""
        with self._lock:
            if self.closed:
                raise Unavailable(control.RETIRED, retry_after=1.0)
            self._inside.add(call)
            wait = self._note(call.identity.proxy)
        call.on_done(lambda _: self._leave(call))
        if wait > 0:
            time.sleep(wait)

    def _note(self, proxy: str) -> float:
        """Note the proxy through which a call came; return how many seconds it has to wait."""
        now = time.monotonic()
        if proxy != self._proxy:
            if self._proxy:
                self._shared_until = now + _ALONE_SECONDS
            self._proxy = proxy
        return 0.0 if proxy == self._promised_to else self._promised_until - now

    def promise(self, call: Call) -> bool:
        """Return whether rows read from now on may be promised to the proxy of ``call``."""
        proxy, now = call.identity.proxy, time.monotonic()
        with self._lock:
            if not proxy or now < self._shared_until:
                return False
            if any(other.identity.proxy != proxy for other in self._inside):
                return False
            self._promised_to, self._promised_until = proxy, now + control.PROMISE_SECONDS
            return True

    def close(self, quiet: float) -> bool:
        """Close if nobody has been inside for ``quiet`` seconds; return whether it is closed."""
        with self._lock:
            if not self._inside and time.monotonic() - self._last >= quiet:
                self.closed = True
            return self.closed

    def _leave(self, call: Call) -> None:
        with self._lock:
            self._inside.discard(call)
            self._last = time.monotonic()
