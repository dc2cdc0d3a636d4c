"""The table of workers that this proxy knows, its lock, and the only way to end a worker."""

from __future__ import annotations

import logging
from collections import Counter
from functools import partial

from pondflight.errors import PermissionDenied, PondflightError
from pondflight.telemetry import metrics
from pondflight.telemetry.logs import Event, get_logger
from pondflight.workers.backends.base import Backend, BackendError, WorkerExit
from pondflight.workers.losses import UNASKED, Losses
from pondflight.workers.runtime import Runtime
from pondflight.workers.states import Reason, State
from pondflight.workers.worker import Lease, Worker

log = logging.getLogger(__name__)
events = get_logger()

_CONCURRENT_STOPS = 8
_WITHDRAW_SECONDS = 10.0
_QUIET_SECONDS = 0.1
"""Seconds between two calls of one statement."""
_NOBODY = "nobody"
"""Owner of a warm worker that is to be stopped. No user's key is spelled like this."""


class Roster:
    """Users' workers by key, warm workers, and counters.

    ``changed`` is the lock for all of it; it is notified of changes that threads wait for, but not
    of calls that begin and end. A worker that is being stopped keeps its place until it is gone, so
    that nothing is started beside it.
    """

    def __init__(self, backend: Backend, runtime: Runtime, remember: float) -> None:
        self.changed = runtime.condition()
        self.users: dict[str, Worker] = {}
        self.spares: list[Worker] = []
        self.started = 0
        self.stopped: Counter[Reason] = Counter()
        self.losses = Losses(runtime.monotonic, remember)
        """The sessions that have yet to be told that their worker ended; for ``remember`` s."""
        self._backend = backend
        self._stops = runtime.executor(_CONCURRENT_STOPS, "worker-stop")

    # -- looking ------------------------------------------------------------------------------

    def all(self) -> list[Worker]:
        """Return all workers, in every state."""
        with self.changed:
            return [*self.users.values(), *self.spares]

    def usable(self) -> list[Worker]:
        """Return the workers that calls can be sent to."""
        return [worker for worker in self.all() if worker.state.usable]

    def occupied(self) -> int:
        """Return how many there are, even half started or half stopped, but not queued.

        Call it under the lock.
        """
        users = sum(not worker.queued for worker in self.users.values())
        return users + sum(not spare.claimed for spare in self.spares)

    # -- using --------------------------------------------------------------------------------

    def lease(self, worker: Worker) -> Lease:
        """Return a lease of a usable worker. Call it under the lock."""
        worker.in_flight += 1
        if worker.state is not State.BUSY:
            worker.move(State.BUSY)
        return Lease(worker, self.changed)

    def ready(self, worker: Worker) -> None:
        """Mark a worker as ready, and wake those who wait for it."""
        with self.changed:
            worker.move(State.READY)
            worker.settled.set()
            self.changed.notify_all()

    def give_up(self, worker: Worker, error: PondflightError | None) -> None:
        """Note that the start of a worker has failed, and nothing is left of it."""
        with self.changed:
            worker.move(State.GONE)
            worker.error = error
            self._remove(worker)
            worker.settled.set()
            self.changed.notify_all()

    def forget(self, worker: Worker) -> None:
        """Remove a worker's entry, but not the worker, which is in use elsewhere."""
        with self.changed:
            worker.move(State.GONE)
            self._remove(worker)
            self.changed.notify_all()

    def let_go(self, spare: Worker) -> bool:
        """Remove a warm worker that another proxy has claimed; False if this one needs it."""
        with self.changed:
            if not spare.state.usable or spare.claimed:
                return False
            self.forget(spare)
        spare.close()
        return True

    # -- ending -------------------------------------------------------------------------------

    def retire(self, worker: Worker, reason: Reason, end: WorkerExit | None = None) -> bool:
        """Begin to end a worker; return whether it may be ended for that reason now.

        ``end`` is set if it has ended already, and only has to be removed.
        """
        with self.changed:
            if not worker.state.usable or worker.claimed:
                return False
            if reason.spares_busy and worker.in_flight:
                return False
            worker.move(State.STOPPING)
            worker.ended = reason, end or WorkerExit()
            if not reason.spares_busy:
                self._note_losses(worker)
            self.changed.notify_all()
        self._submit(worker)
        return True

    def count_stop(self, reason: Reason) -> None:
        """Count a worker that has ended, by reason."""
        with self.changed:
            self.stopped[reason] += 1
        metrics.WORKER_STOPS.labels(reason.value).inc()

    def retry_stops(self) -> None:
        """Try again to stop the workers whose stop has failed."""
        with self.changed:
            failed = [worker for worker in self.all() if worker.stop_failed]
            for worker in failed:
                worker.stop_failed = False
        for worker in failed:
            self._submit(worker, again=True)

    def close(self) -> None:
        """Wait for workers that are being stopped; close all connections."""
        self._stops.shutdown(wait=True)
        for worker in self.all():
            worker.close()

    def _submit(self, worker: Worker, *, again: bool = False) -> None:
        try:
            self._stops.submit(partial(self._end, worker, again=again))
        except RuntimeError:  # shut down: the next proxy finds it
            worker.stop_failed = True

    def _end(self, worker: Worker, *, again: bool) -> None:
        assert worker.ended is not None
        reason, end = worker.ended
        # A worker that hung or crashed may run again by now, and another proxy may have adopted it.
        revived = worker.replaced or (again and reason is not Reason.REQUESTED)
        if (reason.spares_busy or revived) and not self._withdraw(worker):
            worker.close()
            self.forget(worker)
            return
        if reason.spares_busy:
            self._note_losses(worker)
        try:
            self._backend.stop(worker.handle)
        except Exception as error:
            if not isinstance(error, BackendError):
                log.exception("a worker could not be ended")
            with self.changed:
                worker.stop_failed = True
                self.changed.notify_all()
            return
        worker.close()
        with self.changed:
            worker.move(State.GONE)
            self._remove(worker)
            self.count_stop(reason)
            self.changed.notify_all()
        extra = {} if end.code is None else {"exit": end.code}
        events.info(
            Event.CONTAINER_STOPPED,
            user_id=worker.name or None,
            reason=reason,
            container_id=worker.handle.id,
            **extra,
        )

    def _note_losses(self, worker: Worker) -> None:
        assert worker.ended is not None
        reason, _ = worker.ended
        if reason in UNASKED and worker.key:
            kept = worker.connection.kept
            self.losses.note(worker.key, kept, worker.ended)
            if worker.adopted:
                self.losses.note_unknown(worker.key, worker.ended, kept.others)

    def _withdraw(self, worker: Worker) -> bool:
        """Let a worker take no more statements; return False if another proxy uses or claimed it.

        A warm worker is claimed for nobody; the worker itself refuses whoever comes later.
        """
        try:
            if worker.key:
                # A restarted worker holds nobody's data: only running statements count.
                quiet = 0.0 if worker.replaced else _QUIET_SECONDS
                return worker.connection.retire(quiet, timeout=_WITHDRAW_SECONDS)
            worker.connection.configure({}, owner=_NOBODY, timeout=_WITHDRAW_SECONDS)
        except PermissionDenied:
            return False
        except PondflightError:
            return True  # it hangs, or is dead
        return True

    def _remove(self, worker: Worker) -> None:
        if worker in self.spares:
            self.spares.remove(worker)
        if self.users.get(worker.key) is worker:
            del self.users[worker.key]


def end_of(worker: Worker, backend: Backend) -> tuple[Reason, WorkerExit] | None:
    """Return why and how a worker ended that this proxy did not end; None while it runs.

    Raises ``BackendUnreachable``.
    """
    if worker.replaced:  # for example by ``docker restart``: it runs, but has lost everything
        return Reason.CRASHED, WorkerExit()
    end = backend.exit_of(worker.handle)
    return None if end is None else (reason_of(end), end)


def reason_of(end: WorkerExit) -> Reason:
    """Return why a worker ended that this proxy did not end."""
    if end.out_of_memory:
        return Reason.OUT_OF_MEMORY
    return Reason.REMOVED if end.code is None else Reason.CRASHED
