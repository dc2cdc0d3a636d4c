"""Whose worker is which: the part of the package that the proxy talks to.

A call takes a lease of its user's worker, and a leased worker is never stopped for idleness. All
who wait for the same worker share one start. The modules beside this one start, adopt, sweep and
check workers; docs/workers.md tells how they fit together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress

from pondflight.control import Json
from pondflight.errors import InvalidArgument, NotFound, PondflightError, Unavailable
from pondflight.telemetry.logs import get_logger
from pondflight.workers.admission import Admission
from pondflight.workers.adoption import Adoption
from pondflight.workers.backends.base import (
    Backend,
    BackendError,
    BackendUnreachable,
    Problem,
    WorkerExit,
    WorkerHandle,
)
from pondflight.workers.connection import Connection
from pondflight.workers.health_checks import Pulse
from pondflight.workers.losses import epitaph
from pondflight.workers.naming import Naming
from pondflight.workers.policy import PoolSettings, User
from pondflight.workers.readiness import Readiness
from pondflight.workers.roster import Roster, end_of, reason_of
from pondflight.workers.runtime import MACHINE, Runtime
from pondflight.workers.starting import Starter
from pondflight.workers.states import Reason, State
from pondflight.workers.sweep import Sweeper
from pondflight.workers.view import WorkerView
from pondflight.workers.worker import Lease, Worker

__all__ = ["Lease", "Pool", "PoolSettings", "User", "WorkerView"]

events = get_logger()

_WAIT_SECONDS = 0.05
_FRESH_SECONDS = 0.25
_PROBE_SECONDS = 1.0
_INQUEST_SECONDS = 1.2
_CLOSING_THREADS = 16
_BUSY = "a statement is running on the worker: wait, or use --force"


class Pool:
    """All workers of this proxy."""

    def __init__(
        self, backend: Backend, settings: PoolSettings, runtime: Runtime = MACHINE
    ) -> None:
        self.backend = backend
        self.settings = settings
        self._runtime = runtime
        self._closing = False
        self._naming = Naming(settings.secret, settings.instance)
        self._roster = Roster(backend, runtime, settings.idle_timeout)
        adoption = Adoption(self._roster, backend, settings, self._naming, runtime)
        self._starter = Starter(self._roster, backend, settings, self._naming, adoption, runtime)
        self._admission = Admission(
            self._roster,
            settings,
            runtime,
            fulfil=self._starter.fulfil,
            exists=self._starter.exists,
        )
        self._sweeper = Sweeper(self._roster, backend, settings, adoption, runtime)
        self._pulse = Pulse(self._roster, backend, settings.health_interval, runtime)
        self._readiness = Readiness(backend, runtime)
        backend.on_exit(self._exited)
        self._readiness.start()
        self._sweeper.start()
        self._admission.start()
        self._pulse.start()

    # -- for calls ----------------------------------------------------------------------------

    def lease(self, user: User, still_wanted: Callable[[], None]) -> Lease:
        """Return a lease of the worker of ``user``, which is started first if there is none.

        Waits for the start; ``still_wanted`` is called meanwhile, and raises to give up. Raises
        ``Unavailable`` if the worker cannot be started.
        """
        key = self.key(user)
        while True:
            with self._roster.changed:
                worker = self._roster.users.get(key) or self._begin(key, user)
                worker.subject = user.subject
                lease = self._roster.lease(worker) if worker.state.usable else None
                worker.waiting += lease is None
            if lease is None:
                self._wait(worker, still_wanted)
            elif self._is_there(lease):
                return lease

    def lease_running(self, user: User) -> Lease | None:
        """Return a lease of the worker of ``user``, if one is ready."""
        with self._roster.changed:
            worker = self._roster.users.get(self.key(user))
            if worker is None or not worker.state.usable:
                return None
            return self._roster.lease(worker)

    def connection(self, key: str) -> Connection | None:
        """Return the connection to the worker with that key, if it is ready, and note its use."""
        with self._roster.changed:
            worker = self._roster.users.get(key)
            if worker is None or not worker.state.usable:
                return None
            worker.used()
            return worker.connection

    def prestart(self, user: User) -> None:
        """Begin to start a worker that will be needed soon; its errors appear when it is needed."""
        key = self.key(user)
        with self._roster.changed:
            if key not in self._roster.users and self._admission.has_room():
                try:
                    self._begin(key, user)
                except PondflightError:
                    return

    def key(self, user: User) -> str:
        """Return the key of the worker that serves ``user``; stable across restarts."""
        return self.key_of(user.subject, self.settings.access(user))

    def key_of(self, subject: str, access: str = "") -> str:
        """Return the worker key of a token's ``sub``: see ``Naming.key``."""
        return self._naming.key(subject, access)

    def lost(self, lease: Lease, user: User) -> Unavailable:
        """Return what to tell the caller after the connection to a leased worker broke."""
        worker = lease.worker
        ended = self._inquest(worker)
        if ended is None:
            # Health checks decide whether it stays.
            return Unavailable(
                "the connection to your worker was lost; whether this call has had its effect is "
                "not known: look before you repeat it"
            )
        self._roster.retire(worker, *ended)
        return Unavailable(
            f"{epitaph(ended, self._memory_limit(user))} while this call was running; what it "
            "held in memory is gone; the next call starts a new one"
        )

    def refused(self, lease: Lease) -> None:
        """Note that a leased worker takes no more statements, since another proxy ends it."""
        lease.worker.replaced = True
        self._roster.retire(lease.worker, Reason.REMOVED)

    def told(self, user: User, session: str, offered: str | None = None) -> Unavailable | None:
        """Return, once, what a call of a session has to be told before it runs.

        Its worker ended by itself since its last call, and had kept something for the session.
        ``offered`` is the session that a client without one is offered.
        """
        end = self._roster.losses.take(self.key(user), session, offered)
        if end is None:
            return None
        return Unavailable(
            f"{epitaph(end, self._memory_limit(user))}; temporary tables, settings and open "
            "transactions of this session are gone, and so are tables in memory: run the statement "
            "again to go on without them"
        )

    # -- for administrators -------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Return whether new workers can be started, as far as is known."""
        return not self._closing and self.backend.reachable and not self._readiness.problems

    @property
    def shared(self) -> bool:
        """Return whether a proxy elsewhere uses the workers too, according to their last status."""
        return self.backend.outlives_proxy and any(
            worker.status.other_proxies > self.settings.siblings for worker in self._roster.usable()
        )

    @property
    def users(self) -> dict[str, str]:
        """Return the users who have called here: their ``sub`` by their worker's key."""
        with self._roster.changed:
            found = self._roster.users.items()
            return {key: worker.subject for key, worker in found if worker.subject}

    def learn(self, users: Mapping[str, str]) -> None:
        """Learn whose workers those are that other proxies have started."""
        with self._roster.changed:
            for key, worker in self._roster.users.items():
                worker.subject = worker.subject or users.get(key, "")

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return what prevents new workers from starting, for operators."""
        return self._readiness.problems

    @property
    def started(self) -> int:
        """Return the number of workers started since the proxy began."""
        return self._roster.started

    def stats(self) -> dict[str, int]:
        """Return the numbers of workers now, and of those started and stopped since the start."""
        with self._roster.changed:
            return {
                "active": sum(worker.state.usable for worker in self._roster.users.values()),
                "total_spawned": self._roster.started,
                "total_stopped": self._roster.stopped.total(),
            }

    def counts(self) -> Json:
        """Return figures for metrics: workers by state, ends by reason, queued users, warm ones."""
        with self._roster.changed:
            states = Counter(worker.state for worker in self._roster.all())
            return {
                "states": {state.value: states[state] for state in State if state != State.GONE},
                "stopped": {reason.value: self._roster.stopped[reason] for reason in Reason},
                "queued": len(self._admission),
                "warm": len(self._roster.spares),
            }

    def workers(self) -> list[WorkerView]:
        """Return a view of every worker, oldest first."""
        with self._roster.changed:
            views = [self._view(worker) for worker in self._roster.all()]
        return sorted(views, key=lambda view: -view.age)

    def connections(self) -> list[tuple[WorkerView, Connection]]:
        """Return the workers that calls can be sent to."""
        with self._roster.changed:
            usable = self._roster.usable()
            return [(self._view(worker), worker.connection) for worker in usable]

    def worker_log(self, wanted: str) -> tuple[WorkerView, list[str]]:
        """Return one worker, by id, name or user, and the last lines that it wrote."""
        worker = self._find(wanted)
        lines: list[str] = []
        if worker.started:
            try:
                lines = self.backend.logs(worker.handle)
            except BackendError as error:
                raise Unavailable("the container engine does not answer") from error
        with self._roster.changed:
            return self._view(worker), lines

    def stop_worker(self, wanted: str, *, force: bool = False) -> WorkerView:
        """Stop a worker, by id, name or user; a busy one only with ``force``.

        Raises ``NotFound``, or ``InvalidArgument`` if it is busy or the name is ambiguous.
        """
        worker = self._find(wanted)
        running = worker.in_flight
        if not force and not running and worker.state.usable:
            try:
                running = worker.ask().running or 0
            except PondflightError as error:
                raise Unavailable("the worker does not answer: use --force") from error
        if running and not force:
            raise InvalidArgument(_BUSY)
        with self._roster.changed:
            view = self._view(worker)
            running = worker.in_flight if not force else 0
            retired = not running and self._roster.retire(worker, Reason.REQUESTED)
        if running:
            raise InvalidArgument(_BUSY)
        if not retired:
            raise InvalidArgument(f"the worker is {worker.state}: it cannot be stopped now")
        return view

    def sweep(self) -> None:
        """Compare with the backend's list, and end what is due, now."""
        self._sweeper.sweep()

    def close(self) -> None:
        """Turn away users who wait; stop the workers, or leave them to the next proxy."""
        with self._roster.changed:
            self._closing = True
        self._readiness.close()
        self._sweeper.close()
        self._pulse.close()
        self._admission.close(Unavailable("the server is shutting down"))
        if not (self.backend.outlives_proxy and self.settings.keep_workers):
            self._retire_own()
        self._roster.close()
        self.backend.close()

    def _retire_own(self) -> None:
        """End the workers that no other proxy uses."""
        with self._runtime.executor(_CLOSING_THREADS, "worker-close") as executor:
            for worker in self._roster.all():
                executor.submit(self._retire_if_own, worker)

    def _retire_if_own(self, worker: Worker) -> None:
        if self.backend.outlives_proxy and worker.state.usable:
            with suppress(PondflightError):
                status = worker.connection.status(timeout=_PROBE_SECONDS, last=True)
                if status.other_proxies:
                    return
        self._roster.retire(worker, Reason.SHUTDOWN)

    # -- inside -------------------------------------------------------------------------------

    def _begin(self, key: str, user: User) -> Worker:
        """Return a new worker, queued to be started. Call it under the lock."""
        if self._closing:
            raise Unavailable("the server is shutting down")
        self._starter.backoff.check(key)
        worker = Worker(self._runtime, key, user.subject)
        self._admission.enter(worker, user)
        self._roster.users[key] = worker
        return worker

    def _wait(self, worker: Worker, still_wanted: Callable[[], None]) -> None:
        """Wait until a worker has started; raise why it could not be.

        The caller was counted as waiting before, and no longer is when this returns.
        """
        try:
            while not worker.settled.wait(_WAIT_SECONDS):
                still_wanted()
        finally:
            with self._roster.changed:
                worker.waiting -= 1
        if worker.error is not None:
            raise worker.error.with_traceback(None)  # one error for all who wait
        tried_again = False
        with self._roster.changed:
            while worker.state is State.STOPPING:
                if worker.stop_failed and not tried_again:
                    tried_again = True
                    self._roster.retry_stops()
                elif worker.stop_failed:
                    raise Unavailable(
                        "your last worker cannot be removed: the container engine does not "
                        "answer; try again in a moment",
                        retry_after=5.0,
                    )
                self._roster.changed.wait(_WAIT_SECONDS)
                still_wanted()

    def _is_there(self, lease: Lease) -> bool:
        """Return whether the worker still runs; if it has died, remove it."""
        worker = lease.worker
        if self._runtime.monotonic() - worker.last_heard < _FRESH_SECONDS:
            return True
        if worker.answers(timeout=_PROBE_SECONDS):
            return True
        try:
            ended = end_of(worker, self.backend)
        except BackendUnreachable:
            ended = None
        if ended is None:
            return True  # it hangs: health checks decide about it
        self._roster.retire(worker, *ended)
        lease.release()
        return False

    def _inquest(self, worker: Worker) -> tuple[Reason, WorkerExit] | None:
        """Return why a worker ended whose connection broke; None if it runs, or is not known."""
        deadline = self._runtime.monotonic() + _INQUEST_SECONDS
        while True:
            if worker.ended is not None:
                return worker.ended
            with suppress(BackendUnreachable):
                ended = end_of(worker, self.backend)
                if ended is not None:
                    return ended
            if self._runtime.monotonic() > deadline or worker.answers(timeout=_PROBE_SECONDS / 2):
                return None
            self._runtime.sleep(_WAIT_SECONDS)

    def _exited(self, handle: WorkerHandle, end: WorkerExit) -> None:
        for worker in self._roster.usable():
            if worker.generation == handle.generation:
                self._roster.retire(worker, reason_of(end), end)

    def _find(self, wanted: str) -> Worker:
        """Return a worker by id (12 characters are enough), name, user or key."""
        with self._roster.changed:
            for worker in self._roster.all():
                names = {worker.key, worker.subject} - {""}
                if worker.started:
                    names |= {worker.handle.id, worker.handle.id[:12], worker.handle.name}
                if wanted in names:
                    return worker
        raise NotFound("there is no such worker")

    def _memory_limit(self, user: User) -> int:
        return self.settings.shape(user).memory_limit

    def _view(self, worker: Worker) -> WorkerView:
        return WorkerView.of(worker, self._naming, self.settings.spec_hash)
