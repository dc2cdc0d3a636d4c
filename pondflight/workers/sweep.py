"""The sweep: compares the backend's list with the roster, and corrects both.

It looks at the state, not at events, so that a missed message does no harm. Whatever it finds
wrong, it finds again the next time.
"""

from __future__ import annotations

import contextlib
import logging

from pondflight.errors import PondflightError
from pondflight.telemetry.logs import Event, get_logger
from pondflight.workers.adoption import Adoption
from pondflight.workers.backends.base import Backend, BackendUnreachable, Phase, WorkerHandle
from pondflight.workers.policy import PoolSettings
from pondflight.workers.roster import Roster, reason_of
from pondflight.workers.runtime import Runtime
from pondflight.workers.states import Reason, State
from pondflight.workers.worker import Worker

log = logging.getLogger(__name__)
events = get_logger()

_CONCURRENT_ADOPTIONS = 8
_SHORTEST_SECONDS = 0.2
_UNREACHABLE_SECONDS = 5.0
_OUTDATED_SECONDS = 60.0
_OLD_SECONDS = 1.0


class Sweeper:
    """Sweeps periodically, on a thread of its own."""

    def __init__(
        self,
        roster: Roster,
        backend: Backend,
        settings: PoolSettings,
        adoption: Adoption,
        runtime: Runtime,
    ) -> None:
        self._roster = roster
        self._backend = backend
        self._settings = settings
        self._adoption = adoption
        self._runtime = runtime
        self._reachable = True
        self._stop = runtime.event()
        self._one_at_a_time = runtime.lock()
        self._thread = runtime.thread(self._loop, "worker-sweep")

    def start(self) -> None:
        """Sweep once, so that existing workers are known, and go on in the background."""
        self.sweep()
        self._thread.start()

    def close(self) -> None:
        """Stop sweeping."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def sweep(self) -> None:
        """Sweep now. An engine that does not answer is logged once, and nothing else happens."""
        with self._one_at_a_time:
            self._roster.retry_stops()
            try:
                self._reconcile()
            except BackendUnreachable as error:
                if self._reachable:
                    events.error(Event.ENGINE_UNREACHABLE, error=str(error))
                self._reachable = False
            else:
                if not self._reachable:
                    events.info(Event.ENGINE_REACHABLE)
                self._reachable = True
            self._end_idle()
            self._end_surplus()

    def _loop(self) -> None:
        settings = self._settings
        while not self._stop.wait(
            min(
                settings.sweep_interval,
                max(_SHORTEST_SECONDS, settings.idle_timeout / 4),
                settings.sweep_interval if self._reachable else _UNREACHABLE_SECONDS,
            )
        ):
            try:
                self.sweep()
            except Exception:
                log.exception("sweep failed")

    # -- what is there ------------------------------------------------------------------------

    def _reconcile(self) -> None:
        began = self._runtime.monotonic()
        listed = {handle.generation: handle for handle in self._backend.list_workers()}
        known = {w.generation: w for w in self._roster.all() if w.generation}
        for generation, worker in list(known.items()):
            handle = listed.get(generation)
            if handle is None:
                # Not listed because it came later, or because somebody removed it.
                if worker.state.usable and worker.since < began:
                    self._roster.retire(worker, Reason.REMOVED)
            elif handle.user and not worker.key:
                # A warm worker that another proxy has claimed, and that now belongs to a user.
                if self._roster.let_go(worker):
                    del known[generation]
            elif handle.phase is Phase.ENDED and worker.state.usable:
                end = self._backend.exit_of(handle)
                if end is not None:
                    self._roster.retire(worker, reason_of(end), end)
        self._adoption.forget_all_but(listed)
        self._adopt([h for g, h in listed.items() if g not in known])

    def _adopt(self, unknown: list[WorkerHandle]) -> None:
        if not unknown:
            return
        with self._runtime.executor(_CONCURRENT_ADOPTIONS, "worker-adopt") as executor:
            for handle, future in [
                (h, executor.submit(self._adoption.adopt_unknown, h)) for h in unknown
            ]:
                try:
                    future.result()
                except BackendUnreachable:
                    raise
                except Exception:
                    log.exception("worker %s can be neither adopted nor removed", handle.id)

    # -- what has to go -----------------------------------------------------------------------

    def _end_idle(self) -> None:
        for worker in self._roster.usable():
            if worker.key:
                reason, seconds = self._due(worker)
                if self._is_quiet(worker, seconds):
                    self._roster.retire(worker, reason)

    def _due(self, worker: Worker) -> tuple[Reason, float]:
        """Return the reason to stop the worker soonest, and the idle seconds needed for it."""
        settings = self._settings
        if self._too_old(worker):
            return Reason.MAX_LIFETIME, min(settings.idle_timeout, _OLD_SECONDS)
        if worker.handle.spec_hash != settings.spec_hash:
            return Reason.OUTDATED, min(settings.idle_timeout, _OUTDATED_SECONDS)
        return Reason.IDLE_TIMEOUT, settings.idle_timeout

    def _too_old(self, worker: Worker) -> bool:
        lifetime = self._settings.max_lifetime
        return bool(lifetime) and worker.age > lifetime

    def _is_quiet(self, worker: Worker, seconds: float) -> bool:
        """Return whether no caller of any proxy has used the worker for that long."""

        def quiet() -> bool:
            return not worker.in_flight and worker.idle > seconds

        if not quiet():
            return False
        with contextlib.suppress(PondflightError):
            return not worker.ask().running and quiet()
        return False

    def _end_surplus(self) -> None:
        with self._roster.changed:
            spares = [spare for spare in self._roster.spares if spare.state is State.READY]
        fresh = []
        for spare in sorted(spares, key=lambda spare: (-spare.age, spare.generation)):
            outdated = spare.handle.spec_hash != self._settings.spec_hash
            if outdated or self._too_old(spare):
                self._roster.retire(spare, Reason.OUTDATED if outdated else Reason.MAX_LIFETIME)
            else:
                fresh.append(spare)
        for spare in fresh[self._settings.warm :]:
            self._roster.retire(spare, Reason.SURPLUS)
