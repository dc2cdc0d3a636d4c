"""A worker as the proxy sees it: its state, its connection, and who uses it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from types import MappingProxyType

from pyarrow import flight

from pondflight.errors import DeadlineExceeded, PondflightError, Unauthenticated, Unavailable
from pondflight.flightsql.status import ConnectionLost
from pondflight.workers.backends.base import WorkerExit, WorkerHandle
from pondflight.workers.connection import PROXY, STATUS_SECONDS, Connection, WorkerStatus
from pondflight.workers.runtime import Condition, Runtime
from pondflight.workers.states import Reason, State, step

# Ids of calls are unique among the proxies that share a worker; nobody else can use them.
_calls = itertools.count()


class Worker:
    """One worker, from the first wish for it to its end.

    ``key`` is its user's; empty for a warm worker. ``subject`` is the user's ``sub``, unknown
    (empty) until that user's first call if the worker was adopted. ``generation`` is what tells
    it from every other worker there ever was. All fields belong to the roster's lock.
    """

    def __init__(self, runtime: Runtime, key: str, subject: str = "", generation: str = "") -> None:
        self._runtime = runtime
        self.key = key
        self.subject = subject
        self.generation = generation
        self.state = State.STARTING
        self.since = self._runtime.monotonic()
        """When it was wished for; once it exists: when that was known here."""
        self.queued = False
        """It waits for its turn to be started."""
        self.waiting = 0
        """Callers who wait for it."""
        self.claimed = False
        """A warm worker that is about to become somebody's."""
        self.adopted = False
        """Another proxy has used it before."""
        self.in_flight = 0
        self.last_used = self._runtime.monotonic()
        self.last_heard = 0.0
        """When it last said anything; monotonic."""
        self.failures = 0
        """Health checks that failed in a row."""
        self.replaced = False
        """What answers there is not what was started: it knows no user, takes no more statements,
        or is somebody else."""
        self.ended: tuple[Reason, WorkerExit] | None = None
        """Why it is ended, and how it ended if it did so by itself."""
        self.stop_failed = False
        """Its end was asked for, and what runs it did not answer."""
        self.settled = runtime.event()
        """Set when the start has succeeded or failed."""
        self.error: PondflightError | None = None
        self.status = WorkerStatus()
        self.cpu: float | None = None
        """Cores in use, between the last two health checks."""
        self._handle: WorkerHandle | None = None
        self._connection: Connection | None = None
        self.asked = 0.0
        """When it last answered for its status; monotonic."""
        self._born = self.since

    def move(self, state: State) -> None:
        """Take a step; ``IllegalTransition`` if there is no such step."""
        self.state = step(self.state, state)

    def attach(
        self, handle: WorkerHandle, connection: Connection, age: float | None = None
    ) -> None:
        """It has been started, or found; ``age`` in seconds, where more is known than its date."""
        self._handle = handle
        self._connection = connection
        self.generation = handle.generation
        self.since = self._runtime.monotonic()
        self._born = self.since - max(
            0.0, self._runtime.time() - handle.created if age is None else age
        )

    def detach(self) -> None:
        """Give up the handle and the connection, which another worker has taken over."""
        self._handle = self._connection = None

    @property
    def age(self) -> float:
        """Seconds since it was created, whatever happens to the clock once it is attached."""
        return self._runtime.monotonic() - self._born

    @property
    def started(self) -> bool:
        """Whether the backend has created the worker, so that it has a handle."""
        return self._handle is not None

    @property
    def handle(self) -> WorkerHandle:
        """The backend's handle of the worker; available from READY on."""
        assert self._handle is not None
        return self._handle

    @property
    def connection(self) -> Connection:
        """The connection; there is one from READY on."""
        assert self._connection is not None
        return self._connection

    @property
    def client(self) -> flight.FlightClient:
        """The Flight client for calls of its user."""
        return self.connection.client

    @property
    def name(self) -> str:
        """The name for the log: the user if known, else the user's key."""
        return self.subject or self.key

    def options(
        self,
        *,
        session: str = "",
        offer: str | None = None,
        call_id: str | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> flight.FlightCallOptions:
        """Options of a call to this worker; ``timeout`` in seconds."""
        return self.connection.options(
            session=session, offer=offer, call_id=call_id, timeout=timeout, headers=headers
        )

    def ask(self, *, timeout: float = STATUS_SECONDS) -> WorkerStatus:
        """Its own word on itself; raises a leaf if it does not answer, or is another by now."""
        try:
            status = self.connection.status(timeout=timeout)
        except Unauthenticated as error:
            self.replaced = True
            raise ConnectionLost("another worker has its address") from error
        if self.key and status.owner == "":
            self.replaced = True
            raise ConnectionLost("the worker was started anew")
        if status.retired:
            self.replaced = True
            raise ConnectionLost("the worker is being ended by another proxy")
        now = self._runtime.monotonic()
        before, elapsed = self.status.cpu_seconds, now - self.asked
        if status.cpu_seconds is not None and before is not None and elapsed > 0:
            self.cpu = max(0.0, (status.cpu_seconds - before) / elapsed)
        self.status, self.asked = status, now
        self.last_heard = now
        self.failures = 0
        if status.idle_seconds is not None:
            self.last_used = max(self.last_used, now - status.idle_seconds)
        return status

    def answers(self, *, timeout: float) -> bool:
        """Return whether the worker answers at all, even with an error."""
        try:
            self.ask(timeout=timeout)
        except (Unavailable, DeadlineExceeded):
            return False
        except PondflightError:
            return True
        return True

    def heard(self) -> None:
        """It has said something just now."""
        self.last_heard = self._runtime.monotonic()

    def used(self) -> None:
        """A call of it has just ended."""
        self.last_used = self._runtime.monotonic()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()


class Lease:
    """The right to use a worker for one call. A leased worker is never stopped for idleness."""

    def __init__(self, worker: Worker, changed: Condition) -> None:
        self.worker = worker
        self.call_id = f"{PROXY}-{next(_calls)}"
        self._changed = changed
        self._open = True

    def heard(self) -> None:
        """The worker has answered: for a moment nobody needs to ask whether it is there."""
        self.worker.heard()

    def release(self) -> None:
        """The call is over. May be called twice."""
        with self._changed:
            if not self._open:
                return
            self._open = False
            worker = self.worker
            worker.in_flight -= 1
            worker.used()
            if not worker.in_flight and worker.state is State.BUSY:
                worker.move(State.IDLE)

    def cancel(self) -> None:
        """Ask the worker to cancel this call; a failure to reach it is no matter."""
        with contextlib.suppress(PondflightError):
            self.worker.connection.cancel(self.call_id)
