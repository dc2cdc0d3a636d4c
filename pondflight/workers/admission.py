"""Who is started when: first come, first served, a few at a time, and never too many in all.

If all places are taken, the worker that has been idle longest makes room. If all are busy, users
wait in a bounded queue, each with a deadline. Warm workers are started with what is left.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pondflight.errors import Cancelled, PondflightError, Unavailable
from pondflight.flightsql.status import leaf_of
from pondflight.workers.backends.base import BackendError
from pondflight.workers.policy import PoolSettings, User
from pondflight.workers.roster import Roster
from pondflight.workers.runtime import Runtime
from pondflight.workers.states import Reason, State
from pondflight.workers.worker import Worker

log = logging.getLogger(__name__)

QUIET_SECONDS = 1.0
"""Seconds.

A worker is not evicted between two calls of one statement, which are closer than this.
"""

_LOOK_SECONDS = 0.2
_PAUSE_SECONDS = 5.0
_WARM_RETRY_SECONDS = 30.0
_NARROW_SECONDS = 30.0
"""Seconds for which a backend that had no room is assumed to have no more."""


@dataclass(eq=False)
class Ticket:
    """A place in the queue; ``user`` is None for a warm worker."""

    worker: Worker
    user: User | None
    waited: float = 0.0
    """Seconds without room. Those in which others were being started do not count."""
    spare: Worker | None = None
    """A warm worker that is reserved for it."""
    looked: bool = False
    exempt: bool = False
    """Whether it needs no room, since its worker exists and only has to be adopted."""


class Crowded(Exception):
    """Other proxies were faster: they have taken the last place, or the warm worker itself."""

    def __init__(self, fits: int | None = None) -> None:
        super().__init__()
        self.fits = fits
        """How many workers the backend has room for, if it said so."""


class Admission:
    """Runs starts on threads of its own.

    ``fulfil`` starts the worker of a ticket: it settles the worker or raises ``Crowded``.
    ``exists`` returns whether the engine has a worker for a user's key already.
    """

    def __init__(
        self,
        roster: Roster,
        settings: PoolSettings,
        runtime: Runtime,
        *,
        fulfil: Callable[[Ticket], None],
        exists: Callable[[str], bool],
    ) -> None:
        self._roster = roster
        self._settings = settings
        self._runtime = runtime
        self._fulfil = fulfil
        self._exists = exists
        self._queue: deque[Ticket] = deque()
        self._running = 0
        self._making_room = False
        self._warm_after = 0.0
        self._closed = False
        self._fits = settings.max_workers
        self._narrow_until = 0.0
        self._executor = runtime.executor(settings.concurrent_starts + 1, "worker-start")
        self._thread = runtime.thread(self._loop, "worker-admission")

    def start(self) -> None:
        """Begin. Existing workers have to be known by then, or too many are started."""
        self._thread.start()

    def __len__(self) -> int:
        """Return the number of users waiting for a worker."""
        return len(self._queue)

    def has_room(self) -> bool:
        """Return whether another worker may start now. Call it under the lock."""
        return self._roster.occupied() + len(self._queue) < self._most()

    def enter(self, worker: Worker, user: User) -> None:
        """Join the queue. Raises ``Unavailable`` if it is too long. Call it under the lock."""
        if len(self._queue) >= self._settings.queue_size and not self.has_room():
            raise Unavailable(
                f"all {self._most()} workers are busy ({self._limit()}), and "
                f"{len(self._queue)} users wait already (workers.queue_size): try again later",
                retry_after=5.0,
            )
        worker.queued = True
        self._queue.append(Ticket(worker, user))
        self._roster.changed.notify_all()

    def close(self, error: PondflightError) -> None:
        """Turn away users who still wait, and wait for the starts that run."""
        with self._roster.changed:
            self._closed = True
            queue, self._queue = list(self._queue), deque()
            self._roster.changed.notify_all()
        for ticket in queue:
            self._roster.give_up(ticket.worker, error)
        self._thread.join()
        self._executor.shutdown(wait=True)

    # -- the loop -----------------------------------------------------------------------------

    def _loop(self) -> None:
        with self._roster.changed:
            looked, full = self._runtime.monotonic(), False
            while not self._closed:
                try:
                    was_full, full = full, self._admit()
                    self._warm()
                    before, looked = looked, self._runtime.monotonic()
                    if was_full and full:
                        self._expire(looked - before)
                except Exception:
                    log.exception("the queue of starts could not be served")
                self._roster.changed.wait(self._pause())

    def _pause(self) -> float:
        """Return the seconds until the next check is due, if nothing happens before."""
        until_warm = self._warm_after - self._runtime.monotonic()
        soon = until_warm if 0.0 < until_warm < _PAUSE_SECONDS else _PAUSE_SECONDS
        return _LOOK_SECONDS if self._queue else soon

    def _expire(self, seconds: float) -> None:
        """Turn away users who have waited too long; the last check was ``seconds`` ago."""
        for ticket in [t for t in self._queue if not t.worker.waiting]:
            self._queue.remove(ticket)
            self._roster.give_up(ticket.worker, _nobody_waits())
        for ticket in self._queue:
            ticket.waited += seconds
        late = [t for t in self._queue if t.waited >= self._settings.queue_timeout]
        for ticket in late:
            self._queue.remove(ticket)
            self._roster.give_up(
                ticket.worker,
                Unavailable(
                    f"all {self._most()} workers were busy for "
                    f"{self._settings.queue_timeout:g} s ({self._limit()}, "
                    "workers.queue_timeout): try again later",
                    retry_after=self._settings.queue_timeout,
                ),
            )

    def _admit(self) -> bool:
        """Start those whose turn it is; return whether the next one waits for room."""
        while self._queue and self._running < self._settings.concurrent_starts:
            ticket = self._queue[0]
            ticket.spare = self._take_spare(ticket.user)
            if ticket.spare or ticket.exempt or self._below_limit():
                self._queue.popleft()
                self._run(ticket)
            elif not ticket.worker.waiting:
                self._queue.popleft()
                self._roster.give_up(ticket.worker, _nobody_waits())
            else:
                self._make_room(ticket)
                return True
        return False

    def _warm(self) -> None:
        settings = self._settings
        if self._queue or self._runtime.monotonic() < self._warm_after:
            return
        while (
            sum(not spare.claimed for spare in self._roster.spares) < settings.warm
            and self._running < settings.concurrent_starts
            and self._below_limit()
        ):
            worker = Worker(self._runtime, "", generation=self._runtime.token())
            self._roster.spares.append(worker)
            self._run(Ticket(worker, None))

    def _below_limit(self) -> bool:
        return self._roster.occupied() < self._most()

    def _most(self) -> int:
        """Return how many workers there may be: the setting, or what the backend has room for."""
        if self._runtime.monotonic() < self._narrow_until:
            return min(self._fits, self._settings.max_workers)
        return self._settings.max_workers

    def _limit(self) -> str:
        narrow = self._most() < self._settings.max_workers
        return "their network is full" if narrow else "containers.max_per_host"

    def _take_spare(self, user: User | None) -> Worker | None:
        if user is None or self._settings.shape(user) != self._settings.shape(None):
            return None
        ready = [
            spare
            for spare in self._roster.spares
            if spare.state is State.READY
            and not spare.claimed
            and spare.handle.spec_hash == self._settings.spec_hash
        ]
        if not ready:
            return None
        oldest = min(ready, key=lambda spare: (-spare.age, spare.generation))
        oldest.claimed = True
        return oldest

    def _run(self, ticket: Ticket) -> None:
        ticket.worker.queued = False
        ticket.worker.since = self._runtime.monotonic()
        try:
            self._executor.submit(self._run_start, ticket)
        except Exception as error:
            log.exception("a worker cannot be started")
            if ticket.spare is not None:
                ticket.spare.claimed = False
            self._roster.give_up(ticket.worker, leaf_of(error))
            return
        self._running += 1

    def _run_start(self, ticket: Ticket) -> None:
        crowded = False
        try:
            self._fulfil(ticket)
        except Crowded as error:
            crowded = True
            if error.fits is not None:
                self._fits = error.fits
                self._narrow_until = self._runtime.monotonic() + _NARROW_SECONDS
        except Exception as error:
            log.exception("the start of a worker could not be completed")
            if not ticket.worker.settled.is_set():
                self._roster.give_up(ticket.worker, leaf_of(error))
        finally:
            with self._roster.changed:
                self._running -= 1
                if crowded:
                    self._again(ticket)
                elif ticket.user is None and ticket.worker.state is State.GONE:
                    self._warm_after = self._runtime.monotonic() + _WARM_RETRY_SECONDS
                self._roster.changed.notify_all()

    def _again(self, ticket: Ticket) -> None:
        if ticket.user is None:
            self._warm_after = self._runtime.monotonic() + _WARM_RETRY_SECONDS
            self._roster.give_up(ticket.worker, None)
        elif self._closed:
            self._roster.give_up(ticket.worker, Unavailable("the server is shutting down"))
        else:
            ticket.worker.queued = True
            ticket.exempt = False
            self._queue.appendleft(ticket)

    # -- making room --------------------------------------------------------------------------

    def _make_room(self, ticket: Ticket) -> None:
        """Stop the workers that have been idle longest, one at a time."""
        stopping = any(worker.state is State.STOPPING for worker in self._roster.all())
        if self._making_room or (stopping and ticket.looked):
            return
        self._executor.submit(self._find_room, ticket)
        self._making_room = True

    def _find_room(self, ticket: Ticket) -> None:
        try:
            if not ticket.looked:
                ticket.exempt = self._exists(ticket.worker.key)
                ticket.looked = True
            if not ticket.exempt:
                self._evict_one()
        except (BackendError, PondflightError):
            ticket.looked = True
        except Exception:
            log.exception("no room could be made")
        finally:
            with self._roster.changed:
                self._making_room = False
                if ticket.exempt:
                    self._roster.changed.notify_all()
                # Otherwise the end of a worker wakes this thread, and if none ends, the next check
                # is early enough: checking at once would keep a core busy for as long as all
                # workers are.

    def _evict_one(self) -> None:
        with self._roster.changed:
            # A warm worker would not do, or was claimed meanwhile. It holds nobody's data.
            spares = [spare for spare in self._roster.spares if not spare.claimed]
        if any(spare.state is State.STARTING for spare in spares):
            return  # it will be there in a moment
        if any(self._roster.retire(spare, Reason.SURPLUS) for spare in spares):
            return
        with self._roster.changed:
            quiet_since = self._runtime.monotonic() - QUIET_SECONDS
            idle = [
                worker
                for worker in self._roster.users.values()
                if worker.state.usable and not worker.in_flight and worker.last_used <= quiet_since
            ]
        for worker in sorted(idle, key=lambda worker: worker.last_used):
            with contextlib.suppress(PondflightError):
                # Another proxy may use it: only the worker knows.
                if not worker.ask().running and worker.last_used <= quiet_since:
                    self._roster.retire(worker, Reason.EVICTED)
                    return


def _nobody_waits() -> Cancelled:
    return Cancelled("nobody waits for this start")
