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

# Call ids are unique among the proxies that share a worker; nobody else can use them.
_calls = itertools.count()


class Worker:
    """One worker, from the first request for it to its end.

    ``key`` is its user's; empty for a warm worker. ``subject`` is the user's ``sub``; for an
    adopted worker, it is empty until that user's first call. ``generation`` is unique for every
    worker. The roster's lock protects all fields.
    """

    def __init__(self, runtime: Runtime, key: str, subject: str = "", generation: str = "") -> None:
        self._runtime = runtime
        self.key = key
        self.subject = subject
        self.generation = generation
        self.state = State.STARTING
        self.since = self._runtime.monotonic()
        """When it was requested; once it exists: when that was known here."""
        self.queued = False
        """Whether it waits for its turn to be started."""
        self.waiting = 0
        """The number of callers who wait for it."""
        self.claimed = False
        """Whether a warm worker is being given to a user."""
        self.adopted = False
        """Whether another proxy has used it before."""
        self.in_flight = 0
        self.last_used = self._runtime.monotonic()
        self.last_heard = 0.0
        """When it last answered; monotonic."""
        self.failures = 0
        """Health checks that failed in a row."""
        self.replaced = False
        """Whether another worker answers in its place.

        That one knows no user, takes no more statements, or is somebody else's.
        """
        self.ended: tuple[Reason, WorkerExit] | None = None
        """Why it is ended, and how it ended if it did so by itself."""
        self.stop_failed = False
        """Whether its stop was requested, and the backend did not answer."""
        self.settled = runtime.event()
        """Set when the start has succeeded or failed."""
        self.error: PondflightError | None = None
        self.status = WorkerStatus()
        self.cpu: float | None = None
        """Cores in use, between the last two health checks."""
        self._handle: WorkerHandle | None = None
        self._connection: Connection | None = None
        self.asked = 0.0
        """When it last answered a request for its status; monotonic."""
        self._born = self.since

    def move(self, state: State) -> None:
        """Change the state. Raises ``IllegalTransition`` if the table has no such transition."""
        self.state = step(self.state, state)

    def attach(
        self, handle: WorkerHandle, connection: Connection, age: float | None = None
    ) -> None:
        """Set handle and connection of a started or found worker.

        ``age`` is in seconds, if more is known than its creation time.
        """
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
        """Return the seconds since it was created; once attached, clock changes do not matter."""
        return self._runtime.monotonic() - self._born

    @property
    def idle(self) -> float:
        """Return the seconds since it was last used."""
        return self._runtime.monotonic() - self.last_used

    @property
    def started(self) -> bool:
        """Return whether the backend has created the worker, so that it has a handle."""
        return self._handle is not None

    @property
    def handle(self) -> WorkerHandle:
        """Return the backend's handle of the worker; available from READY on."""
        assert self._handle is not None
        return self._handle

    @property
    def connection(self) -> Connection:
        """Return the connection; available from READY on."""
        assert self._connection is not None
        return self._connection

    @property
    def client(self) -> flight.FlightClient:
        """Return the Flight client for its user's calls."""
        return self.connection.client

    @property
    def name(self) -> str:
        """Return the name for the log: the user if known, else the user's key."""
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
        """Return options for a call to this worker; ``timeout`` in seconds."""
        return self.connection.options(
            session=session, offer=offer, call_id=call_id, timeout=timeout, headers=headers
        )

    def ask(self, *, timeout: float = STATUS_SECONDS) -> WorkerStatus:
        """Return its status. Raises our errors if it does not answer, or is another by now."""
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
        """Note that the worker has answered just now."""
        self.last_heard = self._runtime.monotonic()

    def used(self) -> None:
        """Note that a call has just ended."""
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
        """Note that the worker has answered, so that it need not be checked for a moment."""
        self.worker.heard()

    def release(self) -> None:
        """End the lease, since the call is over. May be called twice."""
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
        """Ask the worker to cancel this call; ignore a failure to reach it."""
        with contextlib.suppress(PondflightError):
            self.worker.connection.cancel(self.call_id)
