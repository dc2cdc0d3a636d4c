"""Health checks, which find workers that hang, or that died while idle."""

from __future__ import annotations

import logging

from pondflight.errors import DeadlineExceeded, PondflightError, Unavailable
from pondflight.workers.backends.base import Backend, BackendError
from pondflight.workers.roster import Roster, end_of
from pondflight.workers.runtime import Runtime
from pondflight.workers.states import Reason
from pondflight.workers.worker import Worker

log = logging.getLogger(__name__)

FAILURES = 3
"""Failed checks in a row before a worker is ended."""

SELDOM = 4
"""Intervals between checks of a worker for which nobody waits.

No more: workers count the proxies that have asked within 30 s (``WorkerStatus``).
"""

_THREADS = 16
"""Threads, each of which a hanging worker holds for some seconds."""


class Pulse:
    """Asks workers for their status: every ``interval`` seconds where a call waits for an answer.

    Where none waits, or answers come, it asks less often. This does more than find the dead: a
    connection whose network has gone silent is only seen to be dead if something is sent, and
    administrators are shown the workers' answers.
    """

    def __init__(self, roster: Roster, backend: Backend, interval: float, runtime: Runtime) -> None:
        self._roster = roster
        self._backend = backend
        self._interval = interval
        self._runtime = runtime
        self._stop = runtime.event()
        self._asking: set[Worker] = set()
        self._executor = runtime.executor(_THREADS, "worker-pulse")
        self._thread = runtime.thread(self._loop, "worker-pulse")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the health checks."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def check(self, worker: Worker) -> None:
        """Check one worker, and end it after too many failures."""
        try:
            worker.ask(timeout=self._interval * 0.75)
        except (Unavailable, DeadlineExceeded):
            self._failed(worker)
        except PondflightError as error:
            worker.last_heard = self._runtime.monotonic()  # it answers, if strangely
            log.debug("a worker refused a health check: %s", error)

    def _failed(self, worker: Worker) -> None:
        worker.failures += 1
        try:
            ended = end_of(worker, self._backend)
        except BackendError:
            ended = None
        if ended is not None:
            self._roster.retire(worker, *ended)
        elif worker.failures >= FAILURES:
            self._roster.retire(worker, Reason.UNRESPONSIVE)

    def _loop(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._check_all()
            except Exception:
                log.exception("health checks could not begin")

    def _check_all(self) -> None:
        for worker in self._roster.usable():
            if worker not in self._asking and not worker.claimed and self._is_due(worker):
                self._asking.add(worker)
                try:
                    self._executor.submit(self._check, worker)
                except BaseException:
                    self._asking.discard(worker)
                    raise

    def _is_due(self, worker: Worker) -> bool:
        now, moment = self._runtime.monotonic(), self._interval / 2
        waits = worker.in_flight or worker.failures
        if waits and now - worker.last_heard > self._interval - moment:
            return True
        return now - worker.asked > SELDOM * self._interval - moment

    def _check(self, worker: Worker) -> None:
        try:
            self.check(worker)
        except Exception:
            log.exception("health check failed")
        finally:
            self._asking.discard(worker)
