"""Sessions whose worker ended by itself: the next call of each is told before it runs.

Temporary tables, settings and open transactions are gone with a worker. Otherwise, a client would
not notice, and get different answers to the same questions.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from pondflight import control
from pondflight.flightsql.client import HeaderListener
from pondflight.units import format_size
from pondflight.workers.backends.base import WorkerExit
from pondflight.workers.states import Reason

End = tuple[Reason, WorkerExit]

UNASKED = frozenset(
    {
        Reason.CRASHED,
        Reason.OUT_OF_MEMORY,
        Reason.UNRESPONSIVE,
        Reason.REQUESTED,
        Reason.REMOVED,
    }
)
"""Ends that a session's client did not cause by being idle."""

_KILLED = 137
_REMEMBERED = 10_000
_MOST_SESSIONS = 1000


class KeptSessions:
    """The sessions for which a worker keeps state, according to ``control.KEPT_HEADER``."""

    def __init__(self) -> None:
        self.names: OrderedDict[str, None] = OrderedDict()
        self.listener = HeaderListener(control.KEPT_HEADER, self._add)

    def _add(self, value: str) -> None:
        self.names[value.removeprefix("s-")] = None
        while len(self.names) > _MOST_SESSIONS:
            self.names.popitem(last=False)


class Losses:
    """The sessions that still have to be told, by the key of the worker and the session."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: OrderedDict[tuple[str, str], End] = OrderedDict()

    def note(self, key: str, sessions: Iterable[str], end: End) -> None:
        """Note that the worker of ``key`` ended, with the state that it kept for ``sessions``."""
        with self._lock:
            for session in sessions:
                self._ends[key, session] = end
            while len(self._ends) > _REMEMBERED:
                self._ends.popitem(last=False)

    def take(self, key: str, session: str) -> End | None:
        """Return, once, how the worker ended of which a call of ``session`` has to be told."""
        with self._lock:
            return self._ends.pop((key, session), None)


_CRASHES = {
    _KILLED: "your worker ended (killed, by its {limit} or from outside)",
    control.OVERRAN: "your worker ended: a statement passed its time limit and could not be "
    "interrupted",
    control.BROKEN: "your worker ended: DuckDB failed and could not go on",
}
_ENDS = {
    Reason.OUT_OF_MEMORY: "your worker ended: it needed more than its {limit}",
    Reason.UNRESPONSIVE: "your worker ended: it did not answer any more, and was killed",
    Reason.REQUESTED: "your worker was stopped by an administrator",
}


def epitaph(ended: End, memory_limit: int) -> str:
    """Return how a worker with that memory limit ended, as the beginning of a sentence."""
    reason, end = ended
    told = _ENDS.get(reason, "your worker ended")
    if reason is Reason.CRASHED and end.code is not None:
        told = _CRASHES.get(end.code, told)
    return told.format(limit=f"memory limit of {format_size(memory_limit)}")
