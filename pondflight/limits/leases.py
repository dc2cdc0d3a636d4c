"""Rate limits that hold for several processes together, without one that is asked each time.

An owner counts for all. A process that asks it gets more than it asked for: a share of what is
left, for a second at most. All of that counts as taken when the lease ends, so no limit is passed.
Before the owner refuses, it calls back what other processes hold, so nobody is refused too early
either. The nearer the limit, the smaller the shares.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from pondflight.limits.memory import Hits, Windows
from pondflight.limits.rates import Counter, Rate

K = TypeVar("K")
V = TypeVar("V")

LEASE_SECONDS: Final = 1.0
_PART_OF_WINDOW: Final = 60
"""A lease lasts no longer than one part in so many of the window that it is counted in."""

_MOST: Final = 50_000

Back: TypeAlias = Sequence[tuple[int, int]]
"""Numbers of leases, and how much of each was not used."""


@dataclass(slots=True)
class Lease:
    """``left`` may be taken until then, by the monotonic clock, which all processes share."""

    number: int
    left: int
    until: float


class Owner:
    """Counts for so many ``processes``.

    ``recall`` asks a process, by its number, for what it holds for the name of a rate and a user:
    see ``LeasedCounter.recall``. Safe to use from many threads.
    """

    def __init__(self, processes: int, recall: Callable[[int, str, str], Back]) -> None:
        self._share = 2 * processes
        self._recall = recall
        self._windows = Windows()
        self._lock = threading.Lock()
        self._number = 0
        self._leased: OrderedDict[tuple[str, str], dict[int, tuple[int, Hits]]] = OrderedDict()
        """By rate and user, and by number: which process has it, and what was counted for it."""

    def lease(self, process: int, rate: Rate, user: str, amount: int, back: Back) -> Lease | float:
        """Count ``amount``; return what the process may take besides, or the seconds to wait.

        ``back`` is what the process held, and no longer uses.
        """
        key = rate.name, user
        self._take_back(key, back)
        found = self._take(process, rate, key, amount)
        if not isinstance(found, Lease) and (others := self._others(process, key)):
            for other in others:
                self._call_back(other, key)
            found = self._take(process, rate, key, amount)
        return found

    def _take(self, process: int, rate: Rate, key: tuple[str, str], amount: int) -> Lease | float:
        ahead = min(LEASE_SECONDS, rate.seconds / _PART_OF_WINDOW)
        hits = self._windows.take(
            key, rate.amount, rate.seconds, amount, share=self._share, ahead=ahead
        )
        if not isinstance(hits, Hits):
            return hits
        lease = Lease(0, hits.amount - amount, hits.time)
        if lease.left:
            with self._lock:
                self._number = lease.number = self._number + 1
                of_user = self._leased.get(key) or {}
                of_user[lease.number] = process, hits
                _put(self._leased, key, of_user)
        return lease

    def _others(self, process: int, key: tuple[str, str]) -> set[int]:
        """Return the other processes that may hold something."""
        with self._lock:
            of_user = self._leased.get(key, {})
            return {holder for holder, _ in of_user.values()} - {process}

    def _call_back(self, process: int, key: tuple[str, str]) -> None:
        """Have a process give back what it holds."""
        self._take_back(key, self._recall(process, *key))
        now = self._windows.clock()
        with self._lock:
            of_user = self._leased.get(key, {})
            for number, (holder, hits) in list(of_user.items()):
                if holder == process and hits.time < now:  # else it may be on its way there
                    del of_user[number]

    def _take_back(self, key: tuple[str, str], back: Back) -> None:
        with self._lock:
            of_user = self._leased.get(key, {})
            for number, left in back:
                if number in of_user:
                    self._windows.give_back(key, of_user.pop(number)[1], left)


class LeasedCounter(Counter):
    """Counts in one of several processes, with what it leases of an owner.

    ``lease`` is ``Owner.lease`` for this process. What was paid is known where it was: ``others``
    ask the other processes (``spend_here``). Safe to use from many threads.
    """

    def __init__(
        self,
        lease: Callable[[Rate, str, int, Back], Lease | float],
        others: Sequence[Callable[[str, str], bool]],
    ) -> None:
        super().__init__()
        self._lease = lease
        self._others = others
        self._held_lock = threading.Lock()
        self._held: OrderedDict[tuple[str, str], list[Lease]] = OrderedDict()

    def take(self, rate: Rate, user: str, amount: int = 1) -> float | None:
        """Count ``amount`` for ``user``; return None, or the seconds to wait for room for one."""
        key = rate.name, user
        with self._held_lock:
            now = time.monotonic()
            for lease in self._held.get(key, ()):
                if lease.left >= amount and lease.until > now:
                    lease.left -= amount
                    return None
        found = self._lease(rate, user, amount, self.recall(*key))
        if not isinstance(found, Lease):
            return found
        if found.left:
            with self._held_lock:
                _put(self._held, key, [*self._held.get(key, ()), found])
        return None

    def recall(self, name: str, user: str) -> Back:
        """Give back what this process holds of that rate for that user."""
        with self._held_lock:
            return [(lease.number, lease.left) for lease in self._held.pop((name, user), ())]

    def spend(self, thing: str, user: str) -> bool:
        """Return whether ``user`` has paid for ``thing`` at any process, once for each payment."""
        return self.spend_here(thing, user) or any(other(thing, user) for other in self._others)

    def spend_here(self, thing: str, user: str) -> bool:
        """Return whether that was paid at this process, once for each payment."""
        return super().spend(thing, user)


def _put(kept: OrderedDict[K, V], key: K, value: V) -> None:
    """Put it last; the first goes if there are too many."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _MOST:
        kept.popitem(last=False)
