"""Sessions whose worker ended by itself: the next call of each is told before it runs.

Temporary tables, settings, open transactions and tables in memory are gone with a worker. Otherwise
a client would not notice, and get different answers to the same questions, or an error that there
is no such table.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

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
        Reason.EVICTED,
        Reason.MAX_LIFETIME,
        Reason.OUTDATED,
    }
)
"""Ends that a session's client did not cause by being idle."""

_KILLED = 137
_REMEMBERED = 10_000
_MOST_SESSIONS = 1000


class KeptSessions:
    """The sessions for which a worker keeps something, according to ``control.KEPT_HEADER``.

    The empty name stands for all clients that keep no session.
    """

    def __init__(self) -> None:
        self.listener = HeaderListener(control.KEPT_HEADER, self._add)
        self._tables = False
        """Whether it has tables in memory, which belong to all sessions."""
        self._called: dict[str, bool] = {}
        """The sessions that have called through this proxy, and whether something is kept."""
        self._offered: dict[str, bool] = {}
        """The same for sessions offered to clients without one, and not taken up yet."""

    def called(self, session: str, offered: str | None = None) -> None:
        """Note a call from a session, or from none, whose client is offered one."""
        self._called.setdefault(session, self._offered.pop(session, False))
        if offered is not None:
            self._offered.setdefault(offered, False)
        for sessions in (self._called, self._offered):
            while len(sessions) > _MOST_SESSIONS:
                sessions.pop(next(iter(sessions)), None)

    @property
    def names(self) -> list[str]:
        """Return the sessions that lose something if the worker ends."""
        return [name for name, kept in self._all() if kept or self._tables]

    @property
    def others(self) -> list[str]:
        """Return the sessions that are known to lose nothing."""
        return [name for name, kept in self._all() if not (kept or self._tables)]

    def _all(self) -> list[tuple[str, bool]]:
        called, offered = self._called.copy(), self._offered.copy()
        if "" in called:
            # A client that takes up none has its state in the default session.
            called[""] = any(offered.values())
        return [*called.items(), *offered.items()]

    def _add(self, value: str) -> None:
        marks, _, session = value.partition("-")
        self._tables = self._tables or "t" in marks
        if "s" in marks:
            sessions = self._offered if session in self._offered else self._called
            sessions[session] = True


@dataclass
class _Unknown:
    """The end of a worker that may have kept something for anybody but the sessions ``except_``."""

    end: End
    until: float
    except_: set[str]


class Losses:
    """The sessions that still have to be told, by the key of the worker and the session.

    Each is remembered for ``seconds`` by ``clock``; one that is idle for longer is told nothing.
    """

    def __init__(self, clock: Callable[[], float], seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._lock = threading.Lock()
        self._ends: OrderedDict[tuple[str, str], tuple[End, float]] = OrderedDict()
        self._unknown: OrderedDict[str, _Unknown] = OrderedDict()

    def note(self, key: str, kept: KeptSessions, end: End) -> None:
        """Note that the worker of ``key`` ended, and with it what it kept."""
        with self._lock:
            for session in kept.names:
                self._ends[key, session] = end, self._clock() + self._seconds
            while len(self._ends) > _REMEMBERED:
                self._ends.popitem(last=False)

    def note_unknown(self, key: str, end: End, except_: Iterable[str] = ()) -> None:
        """Note the end of the worker of ``key``, which other proxies used before this one.

        What it kept is not known here, only that it kept nothing for the sessions ``except_``.
        """
        with self._lock:
            self._unknown[key] = _Unknown(end, self._clock() + self._seconds, set(except_))
            while len(self._unknown) > _MOST_SESSIONS:
                self._unknown.popitem(last=False)

    def take(self, key: str, session: str, offered: str | None = None) -> End | None:
        """Return, once, how the worker ended of which a call of ``session`` has to be told.

        ``offered`` is the session that is offered to the client of a call without one: it began
        after any such end.
        """
        with self._lock:
            now = self._clock()
            known, until = self._ends.pop((key, session), (None, now))
            known = known if now < until else None
            unknown = self._unknown.get(key)
            if unknown is None:
                return known
            told = not session or session in unknown.except_
            unknown.except_.update({session, offered or ""})
            if now >= unknown.until or len(unknown.except_) > _MOST_SESSIONS:
                del self._unknown[key]
                return known
            return known if told else unknown.end


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
    Reason.EVICTED: "your worker was idle and had to make room for another user's",
    Reason.MAX_LIFETIME: "your worker was replaced, since it had run for so long",
    Reason.OUTDATED: "your worker was replaced, since the server's settings have changed",
}


def epitaph(ended: End, memory_limit: int) -> str:
    """Return how a worker with that memory limit ended, as the beginning of a sentence."""
    reason, end = ended
    told = _ENDS.get(reason, "your worker ended")
    if reason is Reason.CRASHED and end.code is not None:
        told = _CRASHES.get(end.code, told)
    return told.format(limit=f"memory limit of {format_size(memory_limit)}")
