"""What starts workers in the simulation, and all that can go wrong with it.

An ``Engine`` has containers and is shared by all proxies, as Docker is. ``SimulatedBackend`` is how
one proxy sees it, ``SimulatedConnection`` how it speaks to one worker.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pyarrow import flight

from pondflight.errors import DeadlineExceeded, PermissionDenied, Unauthenticated, Unavailable
from pondflight.flightsql.status import ConnectionLost
from pondflight.workers.backends.base import (
    BackendUnreachable,
    ExitCallback,
    NameTaken,
    NoRoom,
    NoSuchWorker,
    Phase,
    Problem,
    StartFailed,
    WorkerExit,
    WorkerHandle,
)
from pondflight.workers.circuit import Circuit
from pondflight.workers.connection import STATUS_SECONDS, WorkerStatus
from pondflight.workers.losses import KeptSessions
from pondflight.workers.naming import user_in
from pondflight.workers.spec import WorkerSpec
from tests.simulation.scheduler import Event, Group, Killed, Scheduler, SimulatedRuntime, Task

CALL_SECONDS = 10.0
"""How long a proxy waits for the engine."""
RECENTLY = 1.0
"""What was decided while a worker hung may be asked of the engine so many seconds after that."""


@dataclass(eq=False)
class Container:
    """A worker. Times are the scheduler's."""

    id: str
    name: str
    generation: str
    credential: str
    spec_hash: str
    made: float
    created: float
    """By the clock of the engine's machine."""
    phase: Phase = Phase.CREATED
    end: WorkerExit | None = None
    removed: bool = False
    runs_at: float = 0.0
    answers_at: float = 0.0
    """It boots until then."""
    silent_until: float = -1.0
    """It hangs until then."""
    claimant: str = ""
    owner: str = ""
    served: set[str] = field(default_factory=set)
    """The users whose statements it has run."""
    retired: bool = False
    fresh: bool = True
    """Nobody has told it anything since it began."""
    running: Counter[str] = field(default_factory=Counter)
    """Statements, by proxy."""
    last_used: float = 0.0
    heard: dict[str, float] = field(default_factory=dict)
    """When each proxy last asked for its status."""
    ended: Event | None = None
    leaving: int = 0
    """Calls to remove it that the engine has yet to answer: it is not restarted meanwhile."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.phase is Phase.RUNNING and not self.removed


@dataclass
class Faults:
    """How likely what goes wrong, of one call or start."""

    lost: float = 0.0
    """An answer of the engine is lost; half of the time it has done what it was asked."""
    slow: float = 0.0
    """An answer takes seconds."""
    stillborn: float = 0.0
    """A worker ends before it is ready."""
    never_ready: float = 0.0


@dataclass(frozen=True)
class Latency:
    """How long things take, in seconds: from, to. ``calls`` of a start go before it is admitted.

    ``leg``    a call on its way to the engine, and the answer on its way back
    ``place``  from the admission until the worker's process runs, and its proxy knows
    ``boot``   from then on until it answers
    ``page``   workers in one answer to a list
    """

    leg: tuple[float, float] = (0.001, 0.02)
    place: tuple[float, float] = (0.0, 0.0)
    boot: tuple[float, float] = (0.05, 0.6)
    calls: tuple[str, ...] = ("list",)
    page: int = 1 << 30


DOCKER = Latency()
KUBERNETES = Latency(
    leg=(0.005, 0.04), place=(0.6, 4.0), boot=(0.4, 1.0), calls=("count", "rival"), page=500
)


class Refused(Unavailable):
    """A worker that is being ended has not run a statement."""


class Engine:
    """All containers, and the faults that are on."""

    def __init__(self, scheduler: Scheduler, faults: Faults, latency: Latency = DOCKER) -> None:
        self.scheduler = scheduler
        self.faults = faults
        self.latency = latency
        self.machine = Group("engine")
        self.containers: dict[str, Container] = {}
        self.names: dict[str, Container | None] = {}
        """Who has a name; None: something that is no worker."""
        self.silent_until = -1.0
        self.refuses_until = -1.0
        self.calls: Counter[str] = Counter()
        self.violations: list[str] = []
        self._ids = 0

    @property
    def quiet(self) -> bool:
        """Whether it answers."""
        return self.scheduler.now >= max(self.silent_until, self.refuses_until)

    def alive(self) -> list[Container]:
        """Return the containers that run."""
        return [c for c in self.containers.values() if c.alive]

    def count(self) -> int:
        """Return how many containers have not ended."""
        return sum(c.phase is not Phase.ENDED for c in self.containers.values())

    # -- what it does -------------------------------------------------------------------------

    def create(self, spec: WorkerSpec) -> Container:
        """Make a container; raises ``NameTaken``."""
        if spec.name in self.names:
            raise NameTaken(spec.name)
        self._ids += 1
        now = self.scheduler.now
        made = Container(
            f"c{self._ids}",
            spec.name,
            spec.generation,
            spec.credential,
            spec.spec_hash,
            now,
            1.7e9 + now + self.machine.skew,
        )
        made.ended = Event(self.scheduler)
        self.containers[made.id] = self.names[spec.name] = made
        return made

    def start(self, container: Container) -> None:
        """Let it run."""
        if container.removed:
            raise StartFailed("it has been removed", [])
        random, faults = self.scheduler.random, self.faults
        container.phase = Phase.RUNNING
        container.last_used = self.scheduler.now
        container.runs_at = self.scheduler.now
        if self.latency.place[1]:
            container.runs_at += random.uniform(*self.latency.place)
        container.answers_at = container.runs_at + random.uniform(*self.latency.boot)
        if random.random() < faults.never_ready:
            container.answers_at = float("inf")
        elif random.random() < faults.stillborn:
            container.answers_at = float("inf")
            self.later(random.uniform(0.05, 3.0), lambda: self.crash(container, 1))

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after a while, whatever becomes of the proxies."""

        def wait() -> None:
            self.scheduler.sleep(seconds)
            action()

        self.scheduler.spawn(wait, self.machine)

    def crash(self, container: Container, code: int = 137) -> None:
        """Its process ends."""
        if container.alive:
            container.phase = Phase.ENDED
            container.end = WorkerExit(code, out_of_memory=code == 137 and self._flip())
            self._end(container)

    def remove(self, container: Container) -> None:
        """Remove it, running or not."""
        if not container.removed:
            container.removed = True
            del self.containers[container.id]
            if self.names.get(container.name) is container:
                del self.names[container.name]
            self._end(container)

    def restart(self, container: Container) -> None:
        """``docker restart``: a new process, which knows nobody, at the same address.

        Docker refuses it from the moment at which it has been asked to remove the container.
        """
        if container.alive and not container.leaving:
            self._end(container)
            container.ended = Event(self.scheduler)
            container.owner = container.claimant = ""
            container.retired, container.fresh = False, True
            container.served.clear()
            container.answers_at = self.scheduler.now + 0.5

    def forget_proxy(self, name: str) -> None:
        """A proxy is gone: its statements end with their connections."""
        for container in self.containers.values():
            container.running.pop(name, None)

    def _end(self, container: Container) -> None:
        container.running.clear()
        if container.ended is not None:
            container.ended.set()

    def _flip(self) -> bool:
        return self.scheduler.random.random() < 0.5

    def handle(self, container: Container) -> WorkerHandle:
        """Return what a backend tells of it."""
        return WorkerHandle(
            id=container.id,
            name=container.name,
            user=user_in(container.name),
            generation=container.generation,
            location=f"sim://{container.id}" if container.alive else "",
            spec_hash=container.spec_hash,
            created=container.created,
            phase=container.phase,
        )


class SimulatedBackend:
    """The engine, as one proxy sees it."""

    name = "simulated"
    outlives_proxy = True

    def __init__(self, engine: Engine, runtime: SimulatedRuntime) -> None:
        self.engine = engine
        self.runtime = runtime
        self.ending = False
        """The proxy ends, and may take its workers with it."""
        self.callers: set[Task | None] = set()
        """The threads that have asked the engine for anything."""
        self._circuit = Circuit(clock=runtime.monotonic)

    @property
    def reachable(self) -> bool:
        """Whether the engine has answered recently."""
        return self._circuit.closed

    @contextmanager
    def _call(self, what: str) -> Iterator[None]:
        """Ask the engine: it may be away, slow, or do what it is asked while its answer is lost."""
        scheduler, engine = self.runtime.scheduler, self.engine
        random, faults = scheduler.random, engine.faults
        scheduler.me()
        self.callers.add(scheduler.current)
        self.engine.calls[what] += 1
        if not self._circuit.admits():
            raise BackendUnreachable("it has not answered lately")
        scheduler.sleep(random.uniform(*engine.latency.leg))
        if random.random() < faults.slow:
            scheduler.sleep(random.uniform(0.5, 8.0))
        if scheduler.now < engine.refuses_until:
            self._circuit.failed()
            raise BackendUnreachable("it refuses connections")
        lost = random.random() < faults.lost
        if scheduler.now < engine.silent_until or (lost and random.random() < 0.5):
            scheduler.sleep(CALL_SECONDS)
            self._circuit.failed()
            raise BackendUnreachable("it does not answer")
        try:
            yield
        except BaseException:
            self._circuit.succeeded()  # a refusal is an answer: a probe has ended
            raise
        if lost:
            scheduler.sleep(CALL_SECONDS)
            self._circuit.failed()
            raise BackendUnreachable("its answer did not come")
        scheduler.sleep(random.uniform(*engine.latency.leg))
        self._circuit.succeeded()

    def on_exit(self, callback: ExitCallback) -> None:
        """Do nothing: exits are unseen."""

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        """Create and start, in two calls, as Docker is asked."""
        made: Container | None = None
        try:
            with self._call("create"):
                made = self.engine.create(spec)
            there = 0
            for what in self.engine.latency.calls:
                with self._call(what):
                    there = self.engine.count()
            if there > spec.most:
                raise NoRoom  # noqa: TRY301
            with self._call("start"):
                self.engine.start(made)
            self._await_running(made)
        except Killed:
            raise
        except BaseException:
            if made is not None:
                try:
                    with self._call("remove"):
                        self.engine.remove(made)
                except BackendUnreachable:
                    pass
            raise
        return self.engine.handle(made)

    def _await_running(self, made: Container) -> None:
        wait = made.runs_at - self.runtime.scheduler.now
        if wait > 0:
            self.runtime.scheduler.sleep(wait)
            with self._call("look"):
                if not made.alive:
                    raise StartFailed("it ended before it ran", [])

    def stop(self, handle: WorkerHandle) -> None:
        """Remove the container, whatever runs on it."""
        container = self.engine.containers.get(handle.id)
        if container is None:
            with self._call("remove"):
                return
        container.leaving += 1
        asked = self.runtime.scheduler.now
        try:
            with self._call("remove"):
                if not container.removed:
                    self._check_stop(container, asked)
                    self.engine.remove(container)
        finally:
            container.leaving -= 1

    def _check_stop(self, container: Container, asked: float) -> None:
        busy = container.alive and container.running.total()
        well = asked - container.silent_until > RECENTLY
        if busy and well and not self.ending:
            self.engine.violations.append(
                f"{container.name} was stopped by {self.runtime.group.name} while it ran "
                f"{dict(container.running)}"
            )

    def claim(self, handle: WorkerHandle, name: str) -> WorkerHandle:
        """Rename it."""
        with self._call("claim"):
            container = self.engine.containers.get(handle.id)
            if container is None:
                raise NoSuchWorker(handle.id)
            if self.engine.names.get(name, container) is not container:
                raise NameTaken(name)
            del self.engine.names[container.name]
            container.name = name
            self.engine.names[name] = container
        return self.engine.handle(container)

    def list_workers(self) -> list[WorkerHandle]:
        """All containers, a page at a time."""
        for _ in range(len(self.engine.containers) // self.engine.latency.page):
            with self._call("list"):
                pass
        with self._call("list"):
            return [self.engine.handle(c) for c in self.engine.containers.values()]

    def find(self, name: str) -> WorkerHandle | None:
        """The container that has the name."""
        with self._call("find"):
            container = self.engine.names.get(name)
            return None if container is None else self.engine.handle(container)

    def logs(self, handle: WorkerHandle) -> list[str]:
        """One line."""
        with self._call("logs"):
            pass
        return ["a line"]

    def exit_of(self, handle: WorkerHandle) -> WorkerExit | None:
        """How it ended."""
        with self._call("inspect"):
            container = self.engine.containers.get(handle.id)
            return WorkerExit() if container is None else container.end

    def check(self) -> list[Problem]:
        """Whether it answers."""
        try:
            with self._call("check"):
                return []
        except BackendUnreachable as error:
            return [Problem("engine", str(error), "wait")]

    def close(self) -> None:
        """Nothing to let go of."""


class SimulatedConnection:
    """A proxy's connection to a worker."""

    client: flight.FlightClient

    def __init__(self, backend: SimulatedBackend, location: str, credential: str) -> None:
        self._backend = backend
        self._scheduler = backend.runtime.scheduler
        self._id = location.removeprefix("sim://")
        self._credential = credential
        self._container = backend.engine.containers.get(self._id)
        self.kept = KeptSessions()
        self.fetched: deque[str] = deque(maxlen=0)

    def options(
        self,
        *,
        session: str = "",
        offer: str | None = None,
        call_id: str | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> flight.FlightCallOptions:
        """Return nothing of use: no call of Flight is made."""
        return flight.FlightCallOptions()

    def _reach(self, timeout: float) -> Container:
        """Get through to the worker, or not."""
        scheduler, container = self._scheduler, self._container
        if container is not None and container.alive and scheduler.now < container.answers_at:
            # Asking a hundred times while it boots finds nothing that asking ten times does not.
            scheduler.sleep(scheduler.random.uniform(0.02, 0.12))
            raise ConnectionLost("nobody listens yet")
        scheduler.sleep(scheduler.random.uniform(0.0005, 0.005))
        if container is None or not container.alive or scheduler.now < container.answers_at:
            raise ConnectionLost("nobody listens")
        if scheduler.now < container.silent_until:
            wait = min(timeout, container.silent_until - scheduler.now)
            if container.ended is not None:
                container.ended.wait(wait)
            if not container.alive:
                raise ConnectionLost("it ended")
            if scheduler.now < container.silent_until:
                raise DeadlineExceeded("it does not answer")
        if container.credential != self._credential:
            raise Unauthenticated
        return container

    def configure(self, configuration: dict[str, Any], *, owner: str, timeout: float) -> None:
        """Tell it its owner."""
        container = self._reach(timeout)
        container.fresh = False
        if container.claimant and container.claimant != owner:
            raise PermissionDenied("it serves another user")
        container.claimant = owner
        self._scheduler.sleep(self._scheduler.random.uniform(0.001, 0.2))
        if not container.alive:
            raise ConnectionLost("it ended")
        if container.claimant == owner:
            container.owner = owner

    def ping(self, *, timeout: float) -> None:
        """Ask whether it answers."""
        self._reach(timeout)

    def status(self, *, timeout: float = STATUS_SECONDS, last: bool = False) -> WorkerStatus:
        """Return what it says of itself."""
        container = self._reach(timeout)
        now, me = self._scheduler.now, self._backend.runtime.group.name
        container.heard[me] = now
        if last:
            del container.heard[me]
        return WorkerStatus(
            owner=container.owner,
            promised=bool(container.claimant) and not container.owner,
            running=container.running.total(),
            idle_seconds=now - container.last_used,
            memory=1,
            cpu_seconds=0.0,
            retired=container.retired,
            fresh=container.fresh,
            other_proxies=sum(
                now - when < 30 for who, when in container.heard.items() if who != me
            ),
        )

    def retire(self, quiet: float, *, timeout: float) -> bool:
        """Let it take no more statements."""
        container = self._reach(timeout)
        idle = self._scheduler.now - container.last_used
        if not container.running.total() and idle >= quiet:
            container.retired = True
        return container.retired

    def run(self, key: str, seconds: float) -> None:
        """Run a statement of the user ``key`` for so long; raises a leaf if the worker ends."""
        container, me = self._reach(20.0), self._backend.runtime.group.name
        if container.retired:
            raise Refused("it takes no more")
        if container.owner != key:
            raise PermissionDenied("it serves another user, or nobody")
        container.served.add(key)
        self._check_only_one(container, key)
        container.running[me] += 1
        container.last_used = self._scheduler.now
        ended = container.ended
        assert ended is not None
        if ended.wait(seconds):
            raise ConnectionLost("it ended")
        container.running[me] -= 1
        container.last_used = self._scheduler.now

    def _check_only_one(self, container: Container, key: str) -> None:
        others = [
            c.id for c in self._backend.engine.alive() if key in c.served and c is not container
        ]
        if others or container.served != {key}:
            self._backend.engine.violations.append(
                f"{container.id} runs a statement of {key}, as does {others}; it has served "
                f"{container.served}"
            )

    def cancel(self, call_id: str) -> None:
        """Nothing is cancelled."""

    def statements(self, text: str, *, timeout: float) -> list[dict[str, Any]]:
        """Return nothing."""
        return []

    def cancel_statement(self, statement: str, *, timeout: float) -> bool:
        """Cancel nothing."""
        return False

    def close(self) -> None:
        """Nothing to close."""


class SimulatedEngine:
    """``pondflight.workers.engines.Engine`` for one proxy."""

    name = "simulated"
    port = 1

    def __init__(self, backend: SimulatedBackend) -> None:
        self._backend = backend

    def arguments(self, spec: WorkerSpec, *, scratch: str, memory: int) -> list[str] | None:
        """Return None: nothing is run."""
        return None

    def environment(self, spec: WorkerSpec, *, scratch: str) -> dict[str, str]:
        """Return nothing."""
        return {}

    def connect(self, location: str, credential: str) -> SimulatedConnection:
        """Return a connection."""
        return SimulatedConnection(self._backend, location, credential)
