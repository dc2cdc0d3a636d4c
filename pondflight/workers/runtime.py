"""What the pool takes from the machine: time, threads, locks and random numbers.

It is a parameter of the pool. In a server it is the machine itself; in ``tests/simulation``, it is
a clock and threads under the control of a seed, so that hours pass in seconds and every run can be
repeated.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from pondflight.threads import started


class Condition(AbstractContextManager[object], Protocol):
    """The part of ``threading.Condition`` that the pool uses. Its lock is reentrant."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for ``notify_all``, at most ``timeout`` seconds; the lock is free meanwhile."""

    def notify_all(self) -> None:
        """Wake everyone who waits."""


class Event(Protocol):
    """The part of ``threading.Event`` that the pool uses."""

    def is_set(self) -> bool:
        """Return whether it has been set."""

    def set(self) -> None:
        """Set it, and wake everyone who waits."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most ``timeout`` seconds; return whether it is."""


class Thread(Protocol):
    """A thread that does not keep the process alive."""

    def start(self) -> None:
        """Start the thread."""

    def is_alive(self) -> bool:
        """Return whether the thread has started and not ended."""

    def join(self) -> None:
        """Wait until the thread has ended."""


class Outcome(Protocol):
    """The part of ``concurrent.futures.Future`` that the pool uses."""

    def result(self) -> Any:
        """Wait for the function to end; return what it returned, or raise what it raised."""


class Executor(AbstractContextManager["Executor"], Protocol):
    """The part of ``concurrent.futures.Executor`` that the pool uses."""

    def submit(self, function: Callable[..., object], /, *arguments: object) -> Outcome:
        """Run a function on one of the threads. Raises ``RuntimeError`` after ``shutdown``."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Take no more functions; wait for those that run."""


class Runtime(Protocol):
    """Time, threads and locks; times in seconds. Everything that waits in the pool uses it."""

    def monotonic(self) -> float:
        """Return the time of a clock that nobody sets."""

    def time(self) -> float:
        """Return seconds since the epoch; the clock may be changed at any moment."""

    def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds``."""

    def condition(self) -> Condition:
        """Return a condition with a lock of its own."""

    def event(self) -> Event:
        """Return an event that is not set."""

    def lock(self) -> AbstractContextManager[object]:
        """Return a lock."""

    def thread(self, target: Callable[[], None], name: str) -> Thread:
        """Return a thread that has not started."""

    def executor(self, threads: int, name: str) -> Executor:
        """Return an executor with at most ``threads`` threads."""

    def token(self) -> str:
        """Return 16 hexadecimal digits that are unique."""

    def uniform(self, low: float, high: float) -> float:
        """Return a random number between the two."""


class Machine:
    """The machine that this process runs on."""

    def monotonic(self) -> float:
        """Return ``time.monotonic()``."""
        return time.monotonic()

    def time(self) -> float:
        """Return ``time.time()``."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds``."""
        time.sleep(seconds)

    def condition(self) -> Condition:
        """Return a condition over a reentrant lock."""
        return threading.Condition()

    def event(self) -> Event:
        """Return an event."""
        return threading.Event()

    def lock(self) -> AbstractContextManager[object]:
        """Return a lock."""
        return threading.Lock()

    def thread(self, target: Callable[[], None], name: str) -> Thread:
        """Return a daemon thread."""
        return threading.Thread(target=target, name=name, daemon=True)

    def executor(self, threads: int, name: str) -> Executor:
        """Return a pool whose threads run already, so that none is missing later."""
        return started(threads, name)

    def token(self) -> str:
        """Return random digits from the operating system."""
        return secrets.token_hex(8)

    def uniform(self, low: float, high: float) -> float:
        """Return a random number; not for secrets."""
        return random.uniform(low, high)  # noqa: S311


MACHINE = Machine()
