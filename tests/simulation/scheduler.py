"""Threads that run one at a time, in an order that a seed decides, under a clock of their own.

Each is a greenlet. It can be interrupted wherever the pool may meet another thread: at a lock, a
wait, a sleep, or a call of the backend. When no thread can run, the clock jumps to the next one
that wakes up. So hours take seconds, and the same seed always gives the same run.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Self

from greenlet import getcurrent, greenlet

_SWITCHES = 0.1
"""How likely another thread goes on at a lock that is free."""


class Killed(BaseException):
    """The process of this thread was killed: it does nothing any more."""


class Group:
    """A process: all of its threads end at once. ``skew`` is how wrong its clock is, in seconds."""

    def __init__(self, name: str, skew: float = 0.0) -> None:
        self.name = name
        self.skew = skew
        self.alive = True


class Task:
    """A thread."""

    __slots__ = ("done", "epoch", "function", "greenlet", "group", "joining", "ready", "woken")

    def __init__(self, function: Callable[[], None], group: Group) -> None:
        self.function = function
        self.group = group
        self.greenlet: greenlet | None = None
        self.epoch = 0
        self.ready = False
        self.woken = False
        self.done = False
        self.joining: list[Task] = []


class Scheduler:
    """Runs tasks. ``now`` is in seconds."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.steps = 0
        self.errors: list[BaseException] = []
        """What tasks ended with, other than by being killed."""
        self._hub: greenlet = getcurrent()
        self._ready: list[Task] = []
        self._timers: list[tuple[float, int, Task, int]] = []
        self._count = itertools.count()
        self._tasks: dict[Task, None] = {}  # in order, as a set is not
        self.current: Task | None = None

    # -- from outside -------------------------------------------------------------------------

    def spawn(self, function: Callable[[], None], group: Group) -> Task:
        """Begin a thread."""
        task = Task(function, group)
        self._tasks[task] = None
        self._make_ready(task)
        return task

    def run(self, until: float, after_step: Callable[[], None] = lambda: None) -> None:
        """Let time pass until then, or until an error."""
        while not self.errors:
            if self._ready:
                self._step()
                after_step()
                continue
            while self._timers and self._timers[0][2].epoch != self._timers[0][3]:
                heapq.heappop(self._timers)  # it was woken before its time
            if not self._timers or self._timers[0][0] > until:
                self.now = until
                return
            when, _, task, _ = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            self._make_ready(task)

    def kill(self, group: Group) -> None:
        """End a process wherever its threads are just now, as ``kill -9`` does."""
        group.alive = False
        for task in [task for task in self._tasks if task.group is group]:
            if task is not self.current:
                self._make_ready(task)  # to be unwound

    # -- from inside a thread -----------------------------------------------------------------

    def me(self) -> Task:
        """Return the running thread; raises ``Killed`` if its process has been."""
        task = self.current
        assert task is not None, "this is no thread of the simulation"
        if not task.group.alive:
            raise Killed
        return task

    def maybe_switch(self) -> None:
        """Perhaps let others go on first."""
        if self.random.random() < _SWITCHES:
            self.switch()

    def switch(self) -> None:
        """Let others go on first."""
        task = self.me()
        self._make_ready(task)
        self._hub.switch()
        self.me()

    def block(self, timeout: float | None = None) -> bool:
        """Wait to be woken, at most ``timeout`` seconds; return whether that was so."""
        task = self.me()
        task.epoch += 1
        task.woken = False
        if timeout is not None:
            when = self.now + timeout if timeout > 0.0 else self.now
            heapq.heappush(self._timers, (when, next(self._count), task, task.epoch))
        self._hub.switch()
        if not task.group.alive:
            raise Killed
        return task.woken

    def wake(self, task: Task) -> None:
        """Let a thread go on that blocks."""
        if not task.ready and not task.done:
            task.woken = True
            self._make_ready(task)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        until = self.now + seconds
        while True:
            self.block(until - self.now)
            if self.now >= until:
                return

    # -- the hub ------------------------------------------------------------------------------

    def _make_ready(self, task: Task) -> None:
        if not task.ready and not task.done:
            task.ready = True
            task.epoch += 1
            self._ready.append(task)

    def _step(self) -> None:
        ready = self._ready
        if len(ready) > 1:
            chosen = int(self.random.random() * len(ready))
            ready[chosen], ready[-1] = ready[-1], ready[chosen]
        task = ready.pop()
        task.ready = False
        self.steps += 1
        if task.greenlet is None:
            if not task.group.alive:
                self._finish(task)
                return
            task.greenlet = greenlet(lambda: self._body(task), self._hub)
        self.current = task
        task.greenlet.switch()
        self.current = None

    def _body(self, task: Task) -> None:
        try:
            task.function()
        except Killed:
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._finish(task)

    def _finish(self, task: Task) -> None:
        task.done = True
        self._tasks.pop(task, None)
        for other in task.joining:
            self.wake(other)


class Lock:
    """A lock that may be taken twice."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._owner: Task | None = None
        self._depth = 0
        self._waiting: list[Task] = []

    def __enter__(self) -> Self:
        scheduler = self._scheduler
        me = scheduler.me()
        if self._owner is not me:
            scheduler.maybe_switch()
            while self._owner is not None:
                self._waiting.append(me)
                scheduler.block()
            self._owner = me
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        me = self._scheduler.me()
        assert self._owner is me, "a lock is left by a thread that does not have it"
        self._depth -= 1
        if self._depth == 0:
            self._free()
            self._scheduler.maybe_switch()

    def _free(self) -> None:
        self._owner = None
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            self._scheduler.wake(task)

    def give(self) -> int:
        """Free it wholly; return how often it had been taken."""
        assert self._owner is self._scheduler.me(), "a condition needs its lock"
        depth, self._depth = self._depth, 0
        self._free()
        return depth

    def take_back(self, depth: int) -> None:
        """Take it as often as before."""
        with self:
            self._depth = depth + 1


class Condition(Lock):
    """A condition with a lock of its own."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self._sleeping: list[Task] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for ``notify_all``."""
        me = self._scheduler.me()
        self._sleeping.append(me)
        depth = self.give()
        woken = self._scheduler.block(timeout)
        if me in self._sleeping:
            self._sleeping.remove(me)
        self.take_back(depth)
        return woken

    def notify_all(self) -> None:
        """Wake all who wait."""
        sleeping, self._sleeping = self._sleeping, []
        for task in sleeping:
            self._scheduler.wake(task)


class Event:
    """An event."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._set = False
        self._waiting: list[Task] = []

    def is_set(self) -> bool:
        """Return whether it has been set."""
        return self._set

    def set(self) -> None:
        """Set it."""
        self._set = True
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            self._scheduler.wake(task)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set."""
        if not self._set:
            me = self._scheduler.me()
            self._waiting.append(me)
            self._scheduler.block(timeout)
            if me in self._waiting:
                self._waiting.remove(me)
        return self._set


class Thread:
    """A thread of a group."""

    def __init__(self, scheduler: Scheduler, group: Group, target: Callable[[], None]) -> None:
        self._scheduler = scheduler
        self._group = group
        self._target = target
        self._task: Task | None = None

    def start(self) -> None:
        """Begin."""
        self._task = self._scheduler.spawn(self._target, self._group)

    def is_alive(self) -> bool:
        """Return whether it has begun and not ended."""
        return self._task is not None and not self._task.done

    def join(self) -> None:
        """Wait for its end."""
        while self._task is not None and not self._task.done:
            self._task.joining.append(self._scheduler.me())
            self._scheduler.block()


class Outcome:
    """What became of a function that was submitted."""

    def __init__(self, scheduler: Scheduler, function: Callable[[], Any]) -> None:
        self._ended = Event(scheduler)
        self._function = function
        self._value: Any = None
        self._error: Exception | None = None

    def run(self) -> None:
        """Run the function."""
        try:
            self._value = self._function()
        except Exception as error:
            self._error = error
        self._ended.set()

    def result(self) -> Any:
        """Wait for the function's end."""
        self._ended.wait()
        if self._error is not None:
            raise self._error
        return self._value


class Executor:
    """At most so many threads at a time."""

    def __init__(self, scheduler: Scheduler, group: Group, threads: int) -> None:
        self._scheduler = scheduler
        self._group = group
        self._threads = threads
        self._running = 0
        self._closed = False
        self._queue: deque[Outcome] = deque()
        self._waiting: list[Task] = []

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Outcome:
        """Run a function."""
        self._scheduler.me()
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        outcome = Outcome(self._scheduler, lambda: function(*arguments))
        self._queue.append(outcome)
        if self._running < self._threads:
            self._running += 1
            self._scheduler.spawn(self._work, self._group)
        return outcome

    def _work(self) -> None:
        while self._queue:
            self._queue.popleft().run()
        self._running -= 1
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            self._scheduler.wake(task)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take nothing more."""
        self._closed = True
        if cancel_futures:
            self._queue.clear()
        while wait and self._running:
            self._waiting.append(self._scheduler.me())
            self._scheduler.block()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()


class SimulatedRuntime:
    """``pondflight.workers.runtime.Runtime`` for one process."""

    def __init__(self, scheduler: Scheduler, group: Group) -> None:
        self.scheduler = scheduler
        self.group = group

    def monotonic(self) -> float:
        """Return simulated seconds; not from zero, since nothing may count on that."""
        return 1000.0 + self.scheduler.now

    def time(self) -> float:
        """Return what the clock of this process says."""
        return 1.7e9 + self.scheduler.now + self.group.skew

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.scheduler.sleep(seconds)

    def condition(self) -> Condition:
        """Return a condition."""
        return Condition(self.scheduler)

    def event(self) -> Event:
        """Return an event."""
        return Event(self.scheduler)

    def lock(self) -> Lock:
        """Return a lock."""
        return Lock(self.scheduler)

    def thread(self, target: Callable[[], None], name: str) -> Thread:
        """Return a thread."""
        return Thread(self.scheduler, self.group, target)

    def executor(self, threads: int, name: str) -> Executor:
        """Return an executor."""
        return Executor(self.scheduler, self.group, threads)

    def token(self) -> str:
        """Return digits that the seed decides."""
        return f"{self.scheduler.random.getrandbits(64):016x}"

    def uniform(self, low: float, high: float) -> float:
        """Return a number that the seed decides."""
        return self.scheduler.random.uniform(low, high)
