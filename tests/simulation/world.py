"""Proxies, users and an operator with bad luck, and what has to hold all the while.

``run`` lives through one seed. First everything that can break does; then nothing more does, and
what is left has to be in order: no container that no proxy knows, nobody who still waits.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from pondflight.errors import DeadlineExceeded, PondflightError
from pondflight.flightsql.status import ConnectionLost
from pondflight.workers.admission import Ticket
from pondflight.workers.naming import Naming, user_in
from pondflight.workers.policy import PoolSettings, Shape, User
from pondflight.workers.pool import Pool
from tests.simulation.engine import (
    Container,
    Engine,
    Faults,
    Refused,
    SimulatedBackend,
    SimulatedEngine,
)
from tests.simulation.scheduler import Group, Scheduler, SimulatedRuntime, Task

INSTANCE = "0123456789ab"
SECRET = "the secret of all proxies of the simulation"
PATIENCE = 40.0
_LOOK_SECONDS = 0.5
LATE = 25.0
"""Seconds after its deadline within which a caller has to hear: two calls of a silent engine."""


class Violation(AssertionError):
    """Something that must hold did not."""


class GaveUp(PondflightError):
    """The caller's deadline has passed."""


@dataclass(frozen=True)
class Size:
    """How large a world is; times in seconds."""

    users: int = 25
    visits: int = 80
    seconds: float = 150.0
    proxies: int = 3
    max_workers: int = 8
    idle_timeout: float = 20.0
    sweep_interval: float = 10.0
    health_interval: float = 4.0
    start_timeout: float = 10.0
    queue_timeout: float = 15.0
    misfortunes: int = 20
    statement: float = 4.0
    """The mean of how long one runs."""


SMALL = Size()
LARGE = Size(
    users=10_000,
    visits=15_000,
    seconds=7200.0,
    max_workers=250,
    idle_timeout=120.0,
    sweep_interval=30.0,
    health_interval=20.0,
    start_timeout=30.0,
    queue_timeout=30.0,
    misfortunes=300,
    statement=20.0,
)


@dataclass
class Report:
    """What a run has seen."""

    seed: int
    steps: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)
    warm: int = 0
    """Statements that found their worker ready; none of them asked the backend for anything."""


class Proxy:
    """One proxy, which may be killed and come again."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.lives = 0
        self.group = Group("none")
        self.pool: Pool | None = None
        self.backend: SimulatedBackend | None = None

    def begin(self) -> None:
        """Start it; takes as long as its first sweep."""
        self.lives += 1
        skew = self.world.scheduler.random.choice([0.0, 0.0, -400.0, 400.0])
        self.group = Group(f"proxy{self.number}.{self.lives}", skew)
        runtime = SimulatedRuntime(self.world.scheduler, self.group)
        backend = SimulatedBackend(self.world.engine, runtime)

        def build() -> None:
            pool = Pool(backend, self.world.pool_settings(backend), runtime)
            self.world.watch_order(pool)
            self.backend, self.pool = backend, pool

        self.world.scheduler.spawn(build, self.group)

    def kill(self) -> None:
        """``kill -9``."""
        self.pool = None
        self.world.scheduler.kill(self.group)
        self.world.engine.forget_proxy(self.group.name)

    def end(self) -> None:
        """SIGTERM; on a thread of its own, since that takes a while."""
        pool, backend, group = self.pool, self.backend, self.group
        if pool is None or backend is None:
            return
        self.pool = None

        def close() -> None:
            backend.ending = True
            pool.close()

        self.world.scheduler.spawn(close, group)


class World:
    """One seed."""

    def __init__(self, seed: int, size: Size = SMALL) -> None:
        self.size = size
        self.report = Report(seed)
        self.scheduler = Scheduler(seed)
        self.random = self.scheduler.random
        self.nature = Group("nature")
        self.faults = Faults()
        self.engine = Engine(self.scheduler, self.faults)
        self.naming = Naming(SECRET, INSTANCE)
        self.warm = self.random.choice([0, 0, 1, 2])
        self.keeps = self.random.random() < 0.8
        self.proxies = [Proxy(self, n) for n in range(self.random.randint(1, size.proxies))]
        self.calm = False
        self._unknown: dict[str, float] = {}
        self._waiting = 0

    def pool_settings(self, backend: SimulatedBackend) -> PoolSettings:
        """Return the settings of one proxy's pool."""
        size = self.size
        return PoolSettings(
            instance=INSTANCE,
            secret=SECRET,
            shape=lambda _: Shape(1, 1.0),
            idle_timeout=size.idle_timeout,
            max_workers=size.max_workers,
            configuration=lambda _: {},
            engine=SimulatedEngine(backend),
            start_timeout=size.start_timeout,
            sweep_interval=size.sweep_interval,
            health_interval=size.health_interval,
            queue_size=20,
            queue_timeout=size.queue_timeout,
            warm=self.warm,
            keep_workers=self.keeps,
            max_lifetime=self.random.choice([0.0, 60.0]),
        )

    # -- time ---------------------------------------------------------------------------------

    def live(self) -> Report:
        """Run it all."""
        # Callers look less often whether they are still wanted: half of all steps were theirs.
        with mock.patch("pondflight.workers.pool._WAIT_SECONDS", _LOOK_SECONDS):
            return self._live()

    def _live(self) -> Report:
        scheduler, size = self.scheduler, self.size
        for proxy in self.proxies:
            proxy.begin()
        self._spawn(self._arrivals)
        if size.misfortunes:
            self._spawn(self._misfortunes)
        self._spawn(self._watch)
        self._run(size.seconds)
        self._calm_down()
        # What waits ends, what is half done is found, what is idle goes.
        settled = PATIENCE + 2 * size.start_timeout + 3 * size.sweep_interval
        self._run(scheduler.now + settled + 2 * size.idle_timeout + 60)
        self._check_end()
        self.report.steps = scheduler.steps
        return self.report

    def _run(self, until: float) -> None:
        self.scheduler.run(until, self._after_step)
        for error in self.scheduler.errors:
            raise error
        self._after_step()

    def _after_step(self) -> None:
        if self.engine.violations:
            raise Violation("; ".join(self.engine.violations))

    def _spawn(self, function: Callable[[], None]) -> None:
        self.scheduler.spawn(function, self.nature)

    def _calm_down(self) -> None:
        self.calm = True
        # A proxy that reaches no worker at all takes none for dead: each has one user more.
        soon = self.size.start_timeout + 2 * self.size.sweep_interval
        for seconds in (soon, soon + 60.0):  # one that was ending comes again in between
            self.engine.later(seconds, self._last_users)
        self.engine.silent_until = self.engine.refuses_until = -1.0
        self.faults.__dict__.update(Faults().__dict__)
        for proxy in self.proxies:
            if proxy.pool is None and not proxy.group.alive:
                proxy.begin()
        for name in [name for name, what in self.engine.names.items() if what is None]:
            del self.engine.names[name]
        for container in self.engine.containers.values():
            container.silent_until = min(container.silent_until, self.scheduler.now)

    def _last_users(self) -> None:
        for proxy in self.proxies:
            if proxy.pool is not None:
                self._visit(f"last{proxy.number}", proxy)

    # -- users --------------------------------------------------------------------------------

    def _arrivals(self) -> None:
        pause = self.size.seconds / self.size.visits
        for _ in range(self.size.visits):
            self.scheduler.sleep(self.random.expovariate(1 / pause))
            if self.calm:
                return
            # Some users come far more often than others, and some come in crowds.
            user = int(self.random.paretovariate(0.6)) % self.size.users
            for _ in range(self.random.choice([1, 1, 1, 1, 4])):
                self._visit(f"user{user}")

    def _visit(self, subject: str, through: Proxy | None = None) -> None:
        ready = [proxy for proxy in self.proxies if proxy.pool is not None]
        ready = ready if through is None else [through]
        if not ready:
            self.report.outcomes["no proxy"] += 1
            return
        proxy = self.random.choice(ready)
        pool, backend = proxy.pool, proxy.backend
        assert pool is not None
        assert backend is not None
        visit = Visit(self, pool, backend, subject)
        visit.task = self.scheduler.spawn(visit.run, proxy.group)

    # -- misfortunes --------------------------------------------------------------------------

    def _misfortunes(self) -> None:
        pause = self.size.seconds / self.size.misfortunes
        while True:
            self.scheduler.sleep(self.random.expovariate(1 / pause))
            if self.calm:
                return
            self.random.choice(
                [
                    self._engine_silent,
                    self._engine_refuses,
                    self._engine_unreliable,
                    self._workers_fail,
                    self._worker_dies,
                    self._worker_dies,
                    self._worker_hangs,
                    self._worker_restarts,
                    self._worker_removed,
                    self._clock_jumps,
                    self._proxy_killed,
                    self._proxy_killed,
                    self._proxy_ends,
                    self._name_taken,
                ]
            )()

    def _for(self, low: float, high: float) -> float:
        return self.scheduler.now + self.random.uniform(low, high)

    def _engine_silent(self) -> None:
        self.engine.silent_until = self._for(2, 40)

    def _engine_refuses(self) -> None:
        self.engine.refuses_until = self._for(1, 40)

    def _engine_unreliable(self) -> None:
        self.faults.lost, self.faults.slow = 0.05, 0.2
        self.engine.later(self.random.uniform(5, 40), self._engine_reliable)

    def _engine_reliable(self) -> None:
        self.faults.lost = self.faults.slow = 0.0

    def _workers_fail(self) -> None:
        self.faults.stillborn, self.faults.never_ready = 0.3, 0.2
        self.engine.later(self.random.uniform(5, 40), self._workers_succeed)

    def _workers_succeed(self) -> None:
        self.faults.stillborn = self.faults.never_ready = 0.0

    def _some_worker(self) -> Container | None:
        alive = self.engine.alive()
        return self.random.choice(alive) if alive else None

    def _worker_dies(self) -> None:
        if worker := self._some_worker():
            self.engine.crash(worker)

    def _worker_hangs(self) -> None:
        if worker := self._some_worker():
            worker.silent_until = self._for(1, 60)

    def _worker_restarts(self) -> None:
        if worker := self._some_worker():
            self.engine.restart(worker)

    def _worker_removed(self) -> None:
        if worker := self._some_worker():
            self.engine.remove(worker)

    def _clock_jumps(self) -> None:
        group = self.random.choice([self.engine.machine, *(p.group for p in self.proxies)])
        group.skew += self.random.choice([-3600.0, -60.0, 60.0, 3600.0])

    def _proxy_killed(self) -> None:
        proxy = self.random.choice(self.proxies)
        if proxy.pool is not None or proxy.group.alive:
            proxy.kill()
            self.engine.later(self.random.uniform(0.5, 20), lambda: self._again(proxy))

    def _proxy_ends(self) -> None:
        proxy = self.random.choice(self.proxies)
        if proxy.pool is not None:
            proxy.end()
            self.engine.later(60.0, lambda: self._replace(proxy))

    def _replace(self, proxy: Proxy) -> None:
        proxy.kill()
        self._again(proxy)

    def _again(self, proxy: Proxy) -> None:
        if not proxy.group.alive:
            proxy.begin()

    def _name_taken(self) -> None:
        key = self.naming.key(f"user{self.random.randrange(self.size.users)}")
        name = self.naming.of_user(key)
        if name not in self.engine.names:
            self.engine.names[name] = None
            self.engine.later(self.random.uniform(1, 20), lambda: self._name_free(name))

    def _name_free(self, name: str) -> None:
        if name in self.engine.names and self.engine.names[name] is None:
            del self.engine.names[name]

    # -- what has to hold ---------------------------------------------------------------------

    def watch_order(self, pool: Pool) -> None:
        """See that users are served in the order in which they came."""
        queue = pool._admission
        came: deque[Ticket] = deque()
        run, again, enter = queue._run, queue._again, queue.enter

        def watched_enter(worker: Any, user: User) -> None:
            enter(worker, user)
            came.append(queue._queue[-1])

        def watched_run(ticket: Ticket) -> None:
            if ticket.user is not None:
                waiting = [other for other in came if other in queue._queue or other is ticket]
                if waiting and waiting[0] is not ticket:
                    self.engine.violations.append("a user was served before one who came earlier")
                came.remove(ticket)
            run(ticket)

        def watched_again(ticket: Ticket) -> None:
            if ticket.user is not None:
                came.appendleft(ticket)
            again(ticket)

        methods: dict[str, Any] = {
            "_run": watched_run,
            "_again": watched_again,
            "enter": watched_enter,
        }
        for name, method in methods.items():
            setattr(queue, name, method)

    def _watch(self) -> None:
        """See every two seconds that nothing has been left behind for long."""
        size = self.size
        # Half started or half claimed ones are left alone for a while; then the next sweep is due,
        # and every call of it may take its time.
        longest = 2 * size.start_timeout + 2 * size.sweep_interval + 30
        while True:
            self.scheduler.sleep(2.0)
            now = self.scheduler.now
            known = self._known()
            if not self.engine.quiet or self.faults.lost or not known:
                self._unknown.clear()
                continue
            orphans = {c.id for c in self.engine.containers.values() if c.generation not in known}
            self._unknown = {i: self._unknown.get(i, now) for i in orphans}
            for identifier, since in self._unknown.items():
                container = self.engine.containers[identifier]
                hangs = now - container.silent_until < longest
                if now - since > longest and not hangs:
                    raise Violation(
                        f"{identifier} ({container.phase}) is known to no proxy for {longest} s"
                    )

    def _known(self) -> set[str]:
        return {
            worker.generation
            for proxy in self.proxies
            if proxy.pool is not None
            for worker in [*proxy.pool._roster.users.values(), *proxy.pool._roster.spares]
        }

    def _check_end(self) -> None:
        if self._waiting:
            raise Violation(f"{self._waiting} callers still wait")
        known = self._known()
        leaked = [c.id for c in self.engine.containers.values() if c.generation not in known]
        if leaked:
            raise Violation(f"left behind: {leaked}")
        users = [c.id for c in self.engine.containers.values() if user_in(c.name) and c.owner]
        if users:
            raise Violation(f"not ended, though idle: {users}")
        for proxy in self.proxies:
            if proxy.pool is not None:
                self.report.stopped.update(proxy.pool._roster.stopped)


class Visit:
    """One statement of one user through one proxy."""

    def __init__(self, world: World, pool: Pool, backend: SimulatedBackend, subject: str) -> None:
        self.world = world
        self.pool = pool
        self.backend = backend
        self.user = User(subject)
        self.deadline = world.scheduler.now + PATIENCE
        self.task: Task | None = None

    def run(self) -> None:
        """Get a worker, use it, and let it go."""
        world = self.world
        world._waiting += 1
        try:
            outcome = self._run()
        finally:
            world._waiting -= 1
            if world.scheduler.now > self.deadline + LATE and self.backend.runtime.group.alive:
                late = world.scheduler.now - self.deadline
                world.engine.violations.append(f"a caller heard {late:.0f} s after its deadline")
        world.report.outcomes[outcome] += 1

    def _run(self) -> str:
        key = self.pool.key(self.user)
        warm = self._is_warm(key)
        try:
            lease = self.pool.lease(self.user, self._still_wanted)
        except PondflightError as error:
            return type(error).__name__
        if warm and self.task in self.backend.callers:
            self.world.engine.violations.append("a call to a warm worker asked the backend")
        self.world.report.warm += warm
        self.deadline = self.world.scheduler.now + PATIENCE
        random, seconds = self.world.random, self.world.size.statement
        run: Any = lease.worker.connection
        try:
            run.run(key, min(PATIENCE / 2, random.expovariate(1 / seconds)))
        except Refused:
            self.pool.refused(lease)
            return "refused"
        except ConnectionLost:
            self.pool.lost(lease, self.user)
            return "lost"
        except DeadlineExceeded:
            return "hung"
        except PondflightError as error:
            return type(error).__name__
        finally:
            lease.release()
        return "answered"

    def _is_warm(self, key: str) -> bool:
        worker = self.pool._roster.users.get(key)
        return (
            worker is not None
            and worker.state.usable
            and self.world.scheduler.now + 1000.0 - worker.last_heard < 0.2
        )

    def _still_wanted(self) -> None:
        if self.world.scheduler.now > self.deadline:
            raise GaveUp("the deadline has passed")


def run(seed: int, size: Size = SMALL) -> Report:
    """Live through one seed; raises ``Violation``, or whatever else a thread ended with."""
    return World(seed, size).live()
