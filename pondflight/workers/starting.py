"""How a user gets a worker: by claiming a warm one, adopting an existing one, or starting one.

Two proxies may want the same at the same time. The name of the user's worker is the lock between
them: only one container can have it, and the second proxy adopts what the first has started. A warm
worker learns its user before it is claimed, and refuses another user from then on; so it serves
only one user, whatever proxies do at the same moment.
"""

from __future__ import annotations

import contextlib
import logging

from pondflight.errors import (
    DeadlineExceeded,
    PermissionDenied,
    PondflightError,
    Unavailable,
)
from pondflight.flightsql.status import ConnectionLost
from pondflight.telemetry import metrics
from pondflight.telemetry.logs import Event, get_logger
from pondflight.workers.admission import Crowded, Ticket
from pondflight.workers.adoption import Adoption
from pondflight.workers.backends.base import (
    Backend,
    BackendError,
    BackendUnreachable,
    NameTaken,
    NoRoom,
    NoSuchWorker,
    Phase,
    StartFailed,
    WorkerHandle,
)
from pondflight.workers.backoff import Backoff
from pondflight.workers.connection import Connection
from pondflight.workers.naming import Naming
from pondflight.workers.policy import PoolSettings, User
from pondflight.workers.roster import Roster
from pondflight.workers.runtime import Runtime
from pondflight.workers.spec import WorkerSpec
from pondflight.workers.states import Reason
from pondflight.workers.worker import Worker

log = logging.getLogger(__name__)
events = get_logger()

_OUTCOMES = {
    Event.CONTAINER_SPAWNED: "started",
    Event.CONTAINER_WARMED: "warmed",
    Event.CONTAINER_CLAIMED: "claimed",
    Event.CONTAINER_ADOPTED: "adopted",
}
_RETRY_SECONDS = 0.01
_LIFE_SIGN_SECONDS = 0.5
_ASK_SECONDS = 3.0
_NAME_SECONDS = 0.05
_TAKEN_SECONDS = 5.0
_HANGS_SECONDS = 12.0
"""Seconds without an answer until a worker is given up, as in health checks."""
_NO_ROOM_SECONDS = (0.05, 0.3)


class _Retired(Exception):
    """The worker takes no more statements: another proxy was about to end it."""


class Starter:
    """Fulfils tickets, on the threads of the admission."""

    def __init__(
        self,
        roster: Roster,
        backend: Backend,
        settings: PoolSettings,
        naming: Naming,
        adoption: Adoption,
        runtime: Runtime,
    ) -> None:
        self.backoff = Backoff(runtime)
        self._roster = roster
        self._backend = backend
        self._settings = settings
        self._naming = naming
        self._adoption = adoption
        self._runtime = runtime

    def exists(self, key: str) -> bool:
        """Return whether the engine has a running worker for a user."""
        handle = self._backend.find(self._naming.of_user(key))
        return handle is not None and handle.phase is Phase.RUNNING

    def fulfil(self, ticket: Ticket) -> None:
        """Settle the worker of a ticket, or raise ``Crowded``."""
        worker, began = ticket.worker, self._runtime.monotonic()
        try:
            if ticket.user is None:
                how = self._start_spare(worker)
            else:
                how = self._obtain(worker, ticket.user, ticket.spare)
        except Crowded:
            raise
        except Exception as error:  # noqa: BLE001  waiters must be told, whatever it is
            metrics.worker_start("failed", self._runtime.monotonic() - began, type(error).__name__)
            self._roster.give_up(worker, self._failed(worker, error))
            return
        metrics.worker_start(_OUTCOMES[how], self._runtime.monotonic() - began)
        self.backoff.succeeded(worker.key)
        self._roster.ready(worker)
        events.info(how, user_id=worker.name or None, container_id=worker.handle.id)

    # -- three ways ---------------------------------------------------------------------------

    def _obtain(self, worker: Worker, user: User, spare: Worker | None) -> Event:
        deadline = self._deadline()
        if spare is not None and self._claim(spare, worker, user, deadline):
            return Event.CONTAINER_CLAIMED
        taken_since = None
        while True:
            try:
                self._start_one(worker, user)
            except NameTaken:
                if self._adopt(worker, user, deadline):
                    return Event.CONTAINER_ADOPTED
            else:
                return Event.CONTAINER_SPAWNED
            # What had the name has been removed, or is not ours.
            now = self._runtime.monotonic()
            taken_since = taken_since or now
            if now - taken_since > _TAKEN_SECONDS:
                name = self._naming.of_user(worker.key)
                raise StartFailed(
                    f"the name {name} is taken by something that is not a worker of this "
                    "deployment, or is not removed: look for it, and remove it",
                    [],
                )
            self._runtime.sleep(_NAME_SECONDS)

    def _claim(self, spare: Worker, worker: Worker, user: User, deadline: float) -> bool:
        connection = spare.connection
        try:
            self._configure(connection, worker.key, user, deadline)
            handle = self._backend.claim(spare.handle, self._naming.of_user(worker.key))
        except PermissionDenied:
            self._roster.forget(spare)  # another proxy was faster
            connection.close()
            return False
        except (PondflightError, BackendError) as error:
            ended = isinstance(error, NoSuchWorker | ConnectionLost)
            with self._roster.changed:
                spare.key = worker.key  # it may have been told its user: nobody else can have it
                spare.claimed = False
                self._roster.retire(spare, Reason.CRASHED if ended else Reason.SURPLUS)
            return False
        # One of the two has it at any moment, so that a sweep does not take it for an unknown one.
        worker.attach(handle, connection, spare.age)
        spare.detach()
        self._roster.forget(spare)
        return True

    def _adopt(self, worker: Worker, user: User, deadline: float) -> bool:
        """Take over the worker that has the user's name; return False if there is none any more.

        A worker that has ended, takes no more statements, was left half started, or hangs is
        removed. A fresh one is never used: its starter may be about to give it up, and could not
        be told.
        """
        name, began = self._naming.of_user(worker.key), self._runtime.monotonic()
        patience = min(_HANGS_SECONDS, self._settings.start_timeout / 2)
        while True:
            waited = self._runtime.monotonic() - began > patience
            handle = self._backend.find(name)
            if handle is None:
                return False
            try:
                if handle.phase is Phase.RUNNING and self._try_adopt(
                    worker, user, handle, deadline, waited=waited
                ):
                    return True
            except _Retired:
                self._backend.stop(handle)
                return False
            old = self._adoption.age(handle) > self._settings.start_timeout
            hangs = handle.phase is Phase.RUNNING and waited
            if handle.phase is Phase.ENDED:  # another proxy may be ending it, so it is not counted
                self._adoption.remove_dead(handle)
                return False
            if old and (hangs or handle.phase is Phase.CREATED):
                self._backend.stop(handle)
                self._roster.count_stop(Reason.UNRESPONSIVE if hangs else Reason.LEFTOVER)
                return False
            if self._runtime.monotonic() >= deadline + _LIFE_SIGN_SECONDS:  # by then it is old
                raise StartFailed("the worker that exists does not answer", [])
            self._runtime.sleep(_NAME_SECONDS)

    def _try_adopt(
        self, worker: Worker, user: User, handle: WorkerHandle, deadline: float, *, waited: bool
    ) -> bool:
        try:
            connection = self._adoption.connect(handle)
        except ConnectionLost:
            return False
        try:
            # This finds a worker that hangs sooner than configuring it would.
            status = connection.status()
            if status.fresh and not waited:
                # Its starter is about to configure it, or could not and removes it any moment.
                connection.close()
                return False
            if status.retired or (status.fresh and connection.retire(0.0, timeout=_ASK_SECONDS)):
                raise _Retired  # noqa: TRY301
            self._configure(connection, worker.key, user, deadline)
            connection.ping(timeout=self._left(deadline))
        except (ConnectionLost, DeadlineExceeded):
            connection.close()
            return False
        except BaseException:
            connection.close()
            raise
        worker.attach(handle, connection)
        worker.adopted = True
        return True

    def _start_one(self, worker: Worker, user: User) -> None:
        worker.generation = self._runtime.token()
        deadline = self._deadline()
        handle = self._launch(worker, user)
        self._make_ready(worker, user, handle, deadline)

    def _deadline(self) -> float:
        return self._runtime.monotonic() + self._settings.start_timeout

    def _left(self, deadline: float) -> float:
        """Return the seconds until ``deadline``, and always a little more than none."""
        return max(0.1, deadline - self._runtime.monotonic())

    def _start_spare(self, worker: Worker) -> Event:
        deadline = self._deadline()
        handle = self._launch(worker, None)
        self._make_ready(worker, None, handle, deadline)
        return Event.CONTAINER_WARMED

    # -- steps --------------------------------------------------------------------------------

    def _launch(self, worker: Worker, user: User | None) -> WorkerHandle:
        shape = self._settings.shape(user)
        spec = WorkerSpec(
            name=self._naming.of(worker.key, worker.generation),
            instance=self._settings.instance,
            user=worker.key,
            generation=worker.generation,
            credential=self._naming.credential(worker.generation),
            spec_hash=self._settings.spec_hash,
            memory_limit=shape.memory_limit,
            cpu_limit=shape.cpu_limit,
            most=self._settings.max_workers,
            storage=shape.storage,
            files=shape.files,
            walls=shape.walls,
        )
        try:
            handle = self._backend.start(spec)
        except NoRoom as full:
            for other in self._backend.list_workers():
                self._adoption.adopt_unknown(other)
            # Others who found no room should come at another moment.
            self._runtime.sleep(self._runtime.uniform(*_NO_ROOM_SECONDS))
            raise Crowded(full.fits) from None
        with self._roster.changed:
            self._roster.started += 1
        return handle

    def _make_ready(
        self, worker: Worker, user: User | None, handle: WorkerHandle, deadline: float
    ) -> None:
        try:
            connection = self._connect(handle)
        except BaseException as error:
            raise self._cleared(handle, error) from error
        try:
            self._configure_when_up(connection, worker.key, user, handle, deadline)
            connection.ping(timeout=self._left(deadline))
        except BaseException as error:
            used = self._is_used(connection, error)
            connection.close()
            if isinstance(error, PermissionDenied) and not worker.key:
                raise Crowded from error  # another proxy has found it, and claimed it already
            raise (error if used else self._cleared(handle, error)) from error
        # Its date is from before a change of the clock, if the clock was set meanwhile.
        worker.attach(handle, connection, self._adoption.age(handle))

    def _is_used(self, connection: Connection, error: BaseException) -> bool:
        """Return whether another proxy has adopted it meanwhile, and runs statements on it."""
        with contextlib.suppress(PondflightError):
            return isinstance(error, Exception) and not connection.retire(
                0.0, timeout=_LIFE_SIGN_SECONDS
            )
        return False

    def _connect(self, handle: WorkerHandle) -> Connection:
        """Connect to a worker that was just started, unless it has ended already."""
        if handle.phase is Phase.ENDED:
            self._raise_if_ended(handle)
        try:
            return self._adoption.connect(handle)
        except ConnectionLost:
            self._raise_if_ended(handle)
            raise StartFailed("the worker has no address in its network", []) from None

    def _configure_when_up(
        self,
        connection: Connection,
        key: str,
        user: User | None,
        handle: WorkerHandle,
        deadline: float,
    ) -> None:
        looked = self._runtime.monotonic()
        while True:
            try:
                self._configure(connection, key, user, deadline)
            except ConnectionLost:
                now = self._runtime.monotonic()
                if now >= deadline:
                    raise self._not_in_time() from None
                if now - looked > _LIFE_SIGN_SECONDS:
                    looked = now
                    self._raise_if_ended(handle)
                self._runtime.sleep(_RETRY_SECONDS)  # not listening yet
            except DeadlineExceeded:
                raise self._not_in_time() from None
            else:
                return

    def _configure(
        self, connection: Connection, key: str, user: User | None, deadline: float
    ) -> None:
        settings = self._settings
        configuration = dict(settings.preparation) if user is None else settings.configuration(user)
        connection.configure(configuration, owner=key, timeout=self._left(deadline))

    def _raise_if_ended(self, handle: WorkerHandle) -> None:
        end = None
        with contextlib.suppress(BackendUnreachable):  # then it is asked again
            end = self._backend.exit_of(handle)
        if end is not None:
            memory = ": out of memory (containers.memory_limit)" if end.out_of_memory else ""
            raise StartFailed(f"the worker ended with exit code {end.code}{memory}", [])

    def _not_in_time(self) -> StartFailed:
        return StartFailed(
            f"the worker was not ready within {self._settings.start_timeout:g} s "
            "(workers.start_timeout)",
            [],
        )

    def _cleared(self, handle: WorkerHandle, error: BaseException) -> BaseException:
        """Remove what is left of a start; return the error with the worker's last lines."""
        lines: list[str] = []
        with contextlib.suppress(BackendError):
            lines = self._backend.logs(handle)
        with contextlib.suppress(BackendError):
            # What cannot be removed now, the sweep removes.
            self._backend.stop(handle)
        self._roster.count_stop(Reason.START_FAILED)
        if isinstance(error, StartFailed):
            return StartFailed(error.reason, lines, advice=error.advice)
        if isinstance(error, PondflightError):
            return StartFailed(error.message, lines, advice=error.message)
        return error

    def _failed(self, worker: Worker, error: Exception) -> PondflightError:
        """Log everything for the operator; return the caller's error, remembered for a while."""
        reference = self._runtime.token()[:8]
        user_id = worker.name or None
        events.error(
            Event.CONTAINER_SPAWN_FAILED, user_id=user_id, error=str(error), reference=reference
        )
        if isinstance(error, BackendUnreachable):
            return Unavailable(
                "your worker cannot be started: the container engine does not answer; "
                "try again in a moment",
                retry_after=5.0,
            )
        advice = ""
        if isinstance(error, StartFailed):
            advice = f" ({error.advice})" if error.advice else ""
            for line in error.log:
                events.error(Event.CONTAINER_LOG, reference=reference, line=line)
        elif not isinstance(error, PondflightError):
            log.error("worker start failed, reference %s", reference, exc_info=error)
        leaf = Unavailable(
            f"your worker could not be started{advice}: try again in a moment; "
            f"the server's log has more under the reference {reference}"
        )
        self.backoff.failed(worker.key, leaf)
        return leaf
