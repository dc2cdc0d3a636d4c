"""A circuit breaker: an engine that has failed three times in a row is left alone for a while."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from pondflight.workers.backends.base import BackendUnreachable


class Circuit:
    """Counts failures in a row. While open, calls are refused, except for one probe at a time.

    ``first`` and ``longest`` (seconds) are how long it stays open; each failed probe doubles it.
    ``clock`` returns seconds.
    """

    def __init__(
        self,
        *,
        threshold: int = 3,
        first: float = 1.0,
        longest: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = threshold
        self._first = first
        self._longest = longest
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._wait = first
        self._until = 0.0
        self._probing = False

    @property
    def closed(self) -> bool:
        """Return whether the circuit is closed, so that calls are made."""
        return self._failures < self._threshold

    def admits(self) -> bool:
        """Return whether to try a call now. If so, call ``succeeded`` or ``failed`` after it."""
        with self._lock:
            if self.closed:
                return True
            if self._probing or self._clock() < self._until:
                return False
            self._probing = True
            return True

    @contextlib.contextmanager
    def call(self, engine: str, answers: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Make one call inside, to what ``engine`` names ("the Docker engine at …").

        Raises ``BackendUnreachable`` if the circuit is open. Exceptions in ``answers`` count as
        answers; any other one counts as a failure, or a probe would never end.
        """
        if not self.admits():
            raise BackendUnreachable(
                f"{engine} has not answered several times: not asked again for some seconds"
            )
        try:
            yield
        except answers:
            self.succeeded()
            raise
        except BaseException:
            self.failed()
            raise
        self.succeeded()

    def succeeded(self) -> None:
        """Record that a call was answered, even with an error."""
        with self._lock:
            self._failures = 0
            self._wait = self._first
            self._probing = False

    def failed(self) -> None:
        """Record that a call was not answered."""
        with self._lock:
            was_open = not self.closed
            self._failures += 1
            if self.closed:
                return
            if was_open and self._probing:
                self._wait = min(self._longest, self._wait * 2)
            self._until = self._clock() + self._wait
            self._probing = False
