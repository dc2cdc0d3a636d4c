"""Whether users' calls are let in: the worker alone knows whether one runs, of any proxy.

A proxy that wants to end an idle worker asks it to close its door first. Without that, another
proxy's statement could begin between the question whether one runs and the end.
"""

from __future__ import annotations

import threading
import time

from pondflight import control
from pondflight.engine.guards.callers import Call
from pondflight.errors import Unavailable


class Door:
    """Lets users' calls in until it is closed for good."""

    def __init__(self) -> None:
        self.closed = False
        self._inside: set[Call] = set()
        self._last = time.monotonic()
        self._lock = threading.Lock()

    def enter(self, call: Call) -> None:
        """Let a call in, until it is done; raises ``Unavailable`` once the door is closed."""
        with self._lock:
            if self.closed:
                raise Unavailable(control.RETIRED, retry_after=1.0)
            self._inside.add(call)
        call.on_done(lambda _: self._leave(call))

    def close(self, quiet: float) -> bool:
        """Close it if nobody has been inside for ``quiet`` seconds; whether it is closed."""
        with self._lock:
            if not self._inside and time.monotonic() - self._last >= quiet:
                self.closed = True
            return self.closed

    def _leave(self, call: Call) -> None:
        with self._lock:
            self._inside.discard(call)
            self._last = time.monotonic()
