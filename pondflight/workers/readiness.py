"""Whether new workers can be started, checked with the backend repeatedly.

A missing image or network keeps every new user out, while users who have a worker notice nothing.
So this is not part of liveness: a restart would not help.
"""

from __future__ import annotations

import logging

from pondflight.telemetry.logs import Event, get_logger
from pondflight.workers.backends.base import Backend, Problem
from pondflight.workers.runtime import Runtime

log = logging.getLogger(__name__)
events = get_logger()

_WELL_SECONDS = 15.0
_ILL_SECONDS = 3.0


class Readiness:
    """Checks every 15 seconds, and every 3 while something is wrong."""

    def __init__(self, backend: Backend, runtime: Runtime) -> None:
        self._backend = backend
        self._problems: tuple[Problem, ...] = ()
        self._stop = runtime.event()
        self._thread = runtime.thread(self._loop, "worker-readiness")

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return what prevents workers from starting, as of the last check."""
        return self._problems

    def start(self) -> None:
        """Check now, and go on in the background."""
        self.look()
        self._thread.start()

    def close(self) -> None:
        """Stop checking."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Check now; log new problems, and that all is well again."""
        before, self._problems = self._problems, tuple(self._backend.check())
        for problem in self._problems:
            if problem not in before:
                events.error(
                    Event.WORKERS_CANNOT_START,
                    check=problem.check,
                    error=problem.message,
                    advice=problem.advice,
                )
        if before and not self._problems:
            events.info(Event.WORKERS_CAN_START)

    def _loop(self) -> None:
        while not self._stop.wait(_ILL_SECONDS if self._problems else _WELL_SECONDS):
            try:
                self.look()
            except Exception:
                log.exception("the backend could not be asked what keeps workers from starting")
