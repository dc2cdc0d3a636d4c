"""Counters of one process, for the ``limits`` library.

The library's own memory storage starts a thread for each hit, searches all users in it, and never
forgets a user. This one tidies up as it goes. It uses the monotonic clock, so a change of the
machine's clock neither locks a user out nor lets one in.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from limits.storage.base import MovingWindowSupport, Storage

MOST_COUNTERS: Final = 50_000
"""Plain counters that are kept; the oldest are dropped first."""

_TIDY_EVERY: Final = 1000
"""Hits between two clean-ups."""


@dataclass(slots=True)
class _Window:
    """Times of hits, oldest first, and how long each counts."""

    expiry: float
    hits: deque[float] = field(default_factory=deque)

    def drop_before(self, oldest: float) -> None:
        while self.hits and self.hits[0] < oldest:
            self.hits.popleft()


class MemoryStorage(Storage, MovingWindowSupport):
    """Moving windows, and plain counters. Safe to use from many threads."""

    STORAGE_SCHEME = ["pondflight-memory"]  # noqa: RUF012 - the library declares it so

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.clock = clock
        self._lock = threading.Lock()
        self._windows: dict[str, _Window] = {}
        self._counters: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._hits = 0

    @property
    def base_exceptions(self) -> type[Exception]:
        """Return no exception types: counting in memory does not fail."""
        return ValueError

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Return whether ``amount`` more fit into the window of ``expiry`` seconds; count it."""
        now = self.clock()
        with self._lock:
            self._tidy(now)
            window = self._windows.setdefault(key, _Window(expiry))
            window.drop_before(now - expiry)
            if len(window.hits) + amount > limit:
                return False
            window.hits.extend([now] * amount)
            return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the window's oldest hit was, and the number of hits in it."""
        now = self.clock()
        with self._lock:
            window = self._windows.get(key)
            if window is None:
                return now, 0
            window.drop_before(now - expiry)
            return (window.hits[0] if window.hits else now), len(window.hits)

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Add to a counter and return it; it expires ``expiry`` seconds after its first hit."""
        now = self.clock()
        with self._lock:
            count, until = self._counters.get(key, (0, 0.0))
            if until <= now:
                count, until = 0, now + expiry
            self._counters[key] = (count + amount, until)
            while len(self._counters) > MOST_COUNTERS:
                self._counters.popitem(last=False)
            return count + amount

    def get(self, key: str) -> int:
        """Return the value of a counter, or 0 if it has expired."""
        with self._lock:
            count, until = self._counters.get(key, (0, 0.0))
            return count if until > self.clock() else 0

    def get_expiry(self, key: str) -> float:
        """Return the clock time at which a counter expires."""
        with self._lock:
            return self._counters.get(key, (0, self.clock()))[1]

    def check(self) -> bool:
        """Return True: memory is always available."""
        return True

    def reset(self) -> int | None:
        """Forget all windows and counters; return how many there were."""
        with self._lock:
            forgotten = len(self._windows) + len(self._counters)
            self._windows.clear()
            self._counters.clear()
            return forgotten

    def clear(self, key: str) -> None:
        """Forget the window and the counter of ``key``."""
        with self._lock:
            self._windows.pop(key, None)
            self._counters.pop(key, None)

    def _tidy(self, now: float) -> None:
        self._hits += 1
        if self._hits % _TIDY_EVERY:
            return
        for key, window in list(self._windows.items()):
            window.drop_before(now - window.expiry)
            if not window.hits:
                del self._windows[key]
