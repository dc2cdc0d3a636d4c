"""Counts of one process: moving windows, and payments that are spent once.

It counts by the monotonic clock: a step of the machine's clock neither shuts a user out nor lets
one in. It does its tidying up as it goes.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final

MOST_PAYMENTS: Final = 50_000
"""Payments that are kept; the oldest go first."""

_TIDY_EVERY: Final = 1000
"""Hits between two clean-ups."""


@dataclass(eq=False, slots=True)
class Hits:
    """``amount`` that counts in its window from ``time`` on."""

    time: float
    amount: int


@dataclass(eq=False, slots=True)
class _Window:
    seconds: float
    hits: deque[Hits] = field(default_factory=deque)
    used: int = 0

    def drop_before(self, oldest: float) -> None:
        while self.hits and self.hits[0].time < oldest:
            self.used -= self.hits.popleft().amount


class Windows:
    """How much of each key there was in the last so many seconds. Safe to use from many threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._windows: dict[Hashable, _Window] = {}
        self._hits = 0

    def take(
        self,
        key: Hashable,
        limit: int,
        seconds: float,
        amount: int = 1,
        *,
        share: int = 0,
        ahead: float = 0.0,
    ) -> Hits | float:
        """Count ``amount`` of ``key``, if there are at most ``limit`` in any ``seconds``.

        Return the hits, or the seconds to wait for room for one if there is no room for all. With a
        ``share``, one part in so many of what is left is counted as well, and all of it ``ahead``
        seconds late.
        """
        now = self.clock()
        with self._lock:
            self._tidy(now)
            window = self._windows.get(key)
            if window is None:
                window = self._windows[key] = _Window(seconds)
            window.drop_before(now - seconds)
            room = limit - window.used - amount
            if room < 0:
                oldest = window.hits[0].time if window.hits else now
                return min(max(oldest + seconds - now, 0.0), float(seconds))
            hits = Hits(now, amount)
            if share and room >= share:
                hits = Hits(now + ahead, amount + room // share)
            window.used += hits.amount
            window.hits.append(hits)
            return hits

    def give_back(self, key: Hashable, hits: Hits, amount: int) -> None:
        """Take back ``amount`` of these hits, which was not used."""
        with self._lock:
            window = self._windows.get(key)
            if window is not None and hits in window.hits:
                hits.amount -= amount
                window.used -= amount

    def _tidy(self, now: float) -> None:
        self._hits += 1
        if self._hits % _TIDY_EVERY:
            return
        for key, window in list(self._windows.items()):
            window.drop_before(now - window.seconds)
            if not window.hits:
                del self._windows[key]


class Payments:
    """What was paid for and is still to be had. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: OrderedDict[Hashable, int] = OrderedDict()

    def add(self, key: Hashable) -> None:
        """Note that ``key`` was paid for once."""
        with self._lock:
            self._left[key] = self._left.get(key, 0) + 1
            if len(self._left) > MOST_PAYMENTS:
                self._left.popitem(last=False)

    def spend(self, key: Hashable) -> bool:
        """Return whether ``key`` was paid for, once for each payment."""
        with self._lock:
            left = self._left.pop(key, 0)
            if left > 1:
                self._left[key] = left - 1
            return left > 0
