"""Workers that this proxy did not start: those of an earlier proxy, or of another one."""

from __future__ import annotations

from collections.abc import Container

from pondflight.errors import PondflightError
from pondflight.flightsql.status import ConnectionLost
from pondflight.telemetry.logs import Event, get_logger
from pondflight.workers.backends.base import Backend, Phase, WorkerHandle
from pondflight.workers.connection import Connection, WorkerStatus
from pondflight.workers.naming import Naming
from pondflight.workers.policy import PoolSettings
from pondflight.workers.roster import Roster
from pondflight.workers.runtime import Runtime
from pondflight.workers.states import Reason, State
from pondflight.workers.worker import Worker

events = get_logger()

_STATUS_SECONDS = 2.0


class Adoption:
    """Takes over what works, removes what is dead, and leaves young workers alone.

    A worker younger than the start timeout may be in the middle of its start in another proxy, so
    it is never removed, whatever it looks like.
    """

    def __init__(
        self,
        roster: Roster,
        backend: Backend,
        settings: PoolSettings,
        naming: Naming,
        runtime: Runtime,
    ) -> None:
        self._roster = roster
        self._backend = backend
        self._settings = settings
        self._naming = naming
        self._runtime = runtime
        self._seen_since: dict[str, float] = {}
        self._odd_since: dict[str, float] = {}
        self._silent_since: dict[str, float] = {}

    def connect(self, handle: WorkerHandle) -> Connection:
        """Return a connection to a worker of this deployment; nothing is sent yet.

        Raises ``ConnectionLost`` if it has no address, as one that has ended.
        """
        if not handle.location:
            raise ConnectionLost("the worker has no address")
        credential = self._naming.credential(handle.generation)
        return self._settings.engine.connect(handle.location, credential)

    def age(self, handle: WorkerHandle) -> float:
        """Return the seconds since the worker was first seen here.

        Its creation time does not count: if a clock is set while another proxy starts it, or
        another host's clock differs, it would look old and half started, and be removed.
        """
        now = self._runtime.monotonic()
        return now - self._seen_since.setdefault(handle.generation, now)

    def forget_all_but(self, generations: Container[str]) -> None:
        """Forget when workers that are gone were first seen."""
        for since in (self._seen_since, self._odd_since, self._silent_since):
            for generation in [g for g in list(since) if g not in generations]:
                since.pop(generation, None)

    def adopt_unknown(self, handle: WorkerHandle) -> None:
        """Decide what to do with a worker that the backend has listed."""
        if self._is_known(handle):
            return
        young = self.age(handle) < self._settings.start_timeout
        if handle.phase is Phase.RUNNING:
            self._adopt(handle, young=young)
        elif not young:
            self._remove(handle)

    def _is_known(self, handle: WorkerHandle) -> bool:
        with self._roster.changed:
            if handle.user and handle.user in self._roster.users:
                return True
            return any(w.generation == handle.generation for w in self._roster.all())

    def _adopt(self, handle: WorkerHandle, *, young: bool) -> None:
        try:
            connection = self.connect(handle)
        except ConnectionLost:
            return  # it is ending: the next sweep finds it dead
        try:
            status = connection.status(timeout=_STATUS_SECONDS)
        except PondflightError:
            connection.close()
            if self._is_silent_for_long(handle) and not young:
                self._remove(handle)
            return
        self._silent_since.pop(handle.generation, None)
        if not self._is_in_order(handle, status):
            connection.close()
            if self._is_odd_for_long(handle) and not young:
                self._remove(handle)
            return
        worker = Worker(self._runtime, handle.user)
        worker.adopted = True
        worker.attach(handle, connection)
        worker.status = status
        worker.last_heard = self._runtime.monotonic()
        worker.last_used = self._runtime.monotonic() - (status.idle_seconds or 0.0)
        if self._enroll(worker):
            events.info(
                Event.CONTAINER_ADOPTED, user_id=worker.name or None, container_id=handle.id
            )
        else:
            connection.close()

    def _is_in_order(self, handle: WorkerHandle, status: WorkerStatus) -> bool:
        """Return whether it serves the user in its name, or nobody if the name is nobody's.

        Otherwise its proxy went away in the middle of a start, of a claim, or of ending it; or that
        proxy is about to configure it, or to remove it since it has not answered in time.
        """
        if status.retired or status.promised or status.fresh:
            return False
        return status.owner is None or status.owner == handle.user

    def _is_odd_for_long(self, handle: WorkerHandle) -> bool:
        """Return whether it has been out of order for longer than any claim takes.

        A warm worker is told its user before it is claimed; another proxy may be doing so now.
        """
        now = self._runtime.monotonic()
        return now - self._odd_since.setdefault(handle.generation, now) >= (
            self._settings.start_timeout
        )

    def _is_silent_for_long(self, handle: WorkerHandle) -> bool:
        """Return whether it has been silent for so long that its start has failed, or it hangs.

        Perhaps only this proxy cannot reach it: a proxy that reaches no worker at all removes none.
        """
        now = self._runtime.monotonic()
        since = self._silent_since.setdefault(handle.generation, now)
        return now - since >= self._settings.start_timeout and any(
            worker.last_heard > since for worker in self._roster.usable()
        )

    def _enroll(self, worker: Worker) -> bool:
        with self._roster.changed:
            if self._is_known(worker.handle):
                return False
            worker.move(State.READY)
            worker.settled.set()
            if worker.key:
                self._roster.users[worker.key] = worker
            else:
                self._roster.spares.append(worker)
            self._roster.changed.notify_all()
        return True

    def remove_dead(self, handle: WorkerHandle) -> None:
        """Remove a worker of a user that has ended, and that this proxy has never used."""
        end = self._backend.exit_of(handle)
        if end is not None and end.code:
            self._roster.losses.note_unknown(handle.user, (Reason.CRASHED, end))
        self._backend.stop(handle)

    def _remove(self, handle: WorkerHandle) -> None:
        if handle.user and handle.phase is Phase.ENDED:
            self.remove_dead(handle)
        else:
            self._backend.stop(handle)
        self._roster.count_stop(Reason.LEFTOVER)
        events.info(
            Event.CONTAINER_STOPPED,
            user_id=handle.user or None,
            reason=Reason.LEFTOVER,
            container_id=handle.id,
        )
