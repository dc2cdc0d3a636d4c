"""User to worker: one start per user however many callers, and an end to idle workers.

The pool holds a table of what it knows and compares it with what the backend lists; timers per
worker would drift from the truth. Statements keep a worker by leases; only a worker without one
is ever stopped for idleness.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pondflight import metrics
from pondflight.errors import PondflightError, Unavailable
from pondflight.logs import Event, get_logger
from pondflight.workers.backends.base import Backend, StartFailed, WorkerHandle, WorkerSpec
from pondflight.workers.worker import Lease, Worker

log = logging.getLogger(__name__)
events = get_logger()

_WAIT_SECONDS = 0.05
_CONCURRENT_STARTS = 4
_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 30.0


@dataclass(frozen=True, slots=True)
class User:
    """Whose worker is wanted. ``claims`` are those of the token; they decide what it may see."""

    subject: str
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)
    demo: bool = False


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """What the pool goes by; sizes in bytes, times in seconds.

    ``configuration`` gives what the worker of a user is told after its start; ``demo_memory`` and
    ``demo_cpu`` are the limits of a demo user's.
    """

    instance: str
    secret: str
    memory_limit: int
    cpu_limit: float
    idle_timeout: float
    max_workers: int
    configuration: Callable[[User], dict[str, Any]]
    demo_memory: int | None = None
    demo_cpu: float | None = None
    start_timeout: float = 30.0
    sweep_interval: float = 30.0


@dataclass(eq=False)
class _Start:
    """A start under way, and all who wait for it."""

    done: threading.Event = field(default_factory=threading.Event)
    error: PondflightError | None = None


@dataclass(slots=True)
class _Backoff:
    """After a failed start: no new attempt before ``until``; meanwhile, the same error."""

    until: float
    seconds: float
    error: PondflightError


class Pool:
    """All workers of this proxy."""

    def __init__(self, backend: Backend, settings: PoolSettings) -> None:
        self.backend = backend
        self.settings = settings
        self.started = 0
        self.stopped = 0
        self._lock = threading.Lock()
        self._workers: dict[str, Worker] = {}
        self._subjects: dict[str, str] = {}
        self._starts: dict[str, _Start] = {}
        self._backoff: dict[str, _Backoff] = {}
        self._starters = ThreadPoolExecutor(_CONCURRENT_STARTS, thread_name_prefix="worker-start")
        self._closing = threading.Event()
        backend.on_exit(self._exited)
        interval = min(settings.sweep_interval, max(0.2, settings.idle_timeout / 4))
        self._sweeper = threading.Thread(
            target=self._sweep_forever, args=(interval,), name="worker-sweep", daemon=True
        )
        self._sweeper.start()

    # -- for calls ----------------------------------------------------------------------------

    def lease(self, user: User, still_wanted: Callable[[], None]) -> Lease:
        """A lease of the worker of ``user``; started first, if there is none.

        Waits for the start; ``still_wanted`` is called meanwhile and raises to give up. Raises
        ``Unavailable`` if the worker cannot be started.
        """
        key = self.key_of(user.subject)
        while True:
            with self._lock:
                lease = self._lease(key)
                if lease is not None:
                    return lease
                start = self._start(key, user)
            while not start.done.wait(_WAIT_SECONDS):
                still_wanted()
            if start.error is not None:
                raise start.error

    def lease_running(self, user: User) -> Lease | None:
        """A lease of the worker of ``user``, if there is one that is ready."""
        with self._lock:
            return self._lease(self.key_of(user.subject))

    def prestart(self, user: User) -> None:
        """Begin to start a worker that will be wanted soon; errors show when it is."""
        key = self.key_of(user.subject)
        with self._lock:
            if key not in self._workers:
                try:
                    self._start(key, user)
                except PondflightError:
                    return

    def key_of(self, subject: str) -> str:
        """The name that a token's ``sub`` has everywhere else: a keyed hash.

        Different subjects never share one, whatever characters they are made of.
        """
        digest = hmac.new(self.settings.secret.encode(), b"user\0" + subject.encode(), "sha256")
        return digest.hexdigest()[:32]

    def lost(self, lease: Lease) -> None:
        """The connection to a leased worker broke: find out whether the worker lives."""
        if not lease.worker.answers():
            self._remove(lease.worker.handle, "crashed")

    def stats(self) -> dict[str, int]:
        """Workers now, and started and stopped since the proxy began."""
        with self._lock:
            return {
                "active": len(self._workers),
                "total_spawned": self.started,
                "total_stopped": self.stopped,
            }

    def by_state(self) -> dict[str, int]:
        """Workers, by state."""
        with self._lock:
            busy = sum(1 for worker in self._workers.values() if worker.in_flight)
            return {
                "starting": len(self._starts),
                "busy": busy,
                "idle": len(self._workers) - busy,
            }

    def close(self) -> None:
        """Stop everything."""
        self._closing.set()
        self._starters.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            workers = list(self._workers.values())
        for worker in workers:
            self._remove(worker.handle, "shutdown")
        self.backend.close()

    # -- starting -----------------------------------------------------------------------------

    def _lease(self, key: str) -> Lease | None:
        worker = self._workers.get(key)
        if worker is None:
            return None
        worker.in_flight += 1
        return Lease(worker, self._lock)

    def _start(self, key: str, user: User) -> _Start:
        start = self._starts.get(key)
        if start is not None:
            return start
        if self._closing.is_set():
            raise Unavailable("the server is shutting down")
        backoff = self._backoff.get(key)
        if backoff is not None and time.monotonic() < backoff.until:
            raise backoff.error
        start = self._starts[key] = _Start()
        self._subjects[key] = user.subject
        self._starters.submit(self._run_start, key, user, start)
        return start

    def _run_start(self, key: str, user: User, start: _Start) -> None:
        began = time.monotonic()
        try:
            self._make_room()
            worker = self._start_worker(key, user)
            with self._lock:
                self._workers[key] = worker
                self._backoff.pop(key, None)
                self.started += 1
            metrics.WORKER_STARTS.labels("started", "").inc()
            metrics.WORKER_START_SECONDS.labels("started").observe(time.monotonic() - began)
            events.info(
                Event.CONTAINER_SPAWNED, user_id=user.subject, container_id=worker.handle.id
            )
        except Exception as error:  # noqa: BLE001  waiters must be told, whatever it is
            metrics.WORKER_STARTS.labels("failed", type(error).__name__).inc()
            metrics.WORKER_START_SECONDS.labels("failed").observe(time.monotonic() - began)
            start.error = self._failed(key, user, error)
        finally:
            with self._lock:
                self._starts.pop(key, None)
            start.done.set()

    def _start_worker(self, key: str, user: User) -> Worker:
        generation = secrets.token_hex(8)
        credential = self._credential(key, generation)
        spec = WorkerSpec(
            name=f"pondflight-{self.settings.instance}-{key}",
            instance=self.settings.instance,
            user=key,
            generation=generation,
            credential_sha256=hashlib.sha256(credential.encode()).hexdigest(),
            memory_limit=(user.demo and self.settings.demo_memory) or self.settings.memory_limit,
            cpu_limit=(user.demo and self.settings.demo_cpu) or self.settings.cpu_limit,
        )
        deadline = time.monotonic() + self.settings.start_timeout
        handle = self.backend.start(spec)
        worker = Worker(handle, credential)
        try:
            worker.prepare(self.settings.configuration(user), deadline)
        except Exception as error:
            lines = self.backend.logs(handle)
            worker.close()
            self.backend.stop(handle)
            raise StartFailed(str(error), lines) from error
        return worker

    def _credential(self, key: str, generation: str) -> str:
        message = f"worker\0{self.settings.instance}\0{key}\0{generation}".encode()
        return hmac.new(self.settings.secret.encode(), message, "sha256").hexdigest()

    def _failed(self, key: str, user: User, error: Exception) -> PondflightError:
        """Tell the operator everything, the caller enough, and remember it for a while."""
        events.error(Event.CONTAINER_SPAWN_FAILED, user_id=user.subject, error=str(error))
        if isinstance(error, StartFailed):
            for line in error.log:
                log.warning("worker log: %s", line)
        elif not isinstance(error, PondflightError):
            log.error("worker start failed", exc_info=error)
        leaf = (
            error
            if isinstance(error, PondflightError)
            else Unavailable("your worker could not be started: try again in a moment")
        )
        with self._lock:
            known = self._backoff.get(key)
            seconds = min(_LONGEST_BACKOFF, known.seconds * 2) if known else _FIRST_BACKOFF
            self._backoff[key] = _Backoff(time.monotonic() + seconds, seconds, leaf)
        return leaf

    def _make_room(self) -> None:
        with self._lock:
            if len(self._workers) < self.settings.max_workers:
                return
            idle = [w for w in self._workers.values() if w.in_flight == 0]
            if not idle:
                raise Unavailable(
                    f"all {self.settings.max_workers} workers are busy "
                    "(containers.max_per_host): try again in a moment",
                    retry_after=5.0,
                )
            oldest = min(idle, key=lambda w: w.last_used)
        self._remove(oldest.handle, "evicted")

    # -- ending -------------------------------------------------------------------------------

    def _remove(self, handle: WorkerHandle, reason: str, exit_code: int | None = None) -> None:
        with self._lock:
            worker = self._workers.get(handle.user)
            if worker is None or worker.handle.id != handle.id:
                return  # another worker has taken its place
            if reason in ("idle_timeout", "evicted") and worker.in_flight:
                return
            del self._workers[handle.user]
            self.stopped += 1
            subject = self._subjects.get(handle.user, "")
        metrics.WORKER_STOPS.labels(reason).inc()
        worker.close()
        self.backend.stop(handle)
        extra = {} if exit_code is None else {"exit": exit_code}
        events.info(Event.CONTAINER_STOPPED, user_id=subject, reason=reason, **extra)

    def _exited(self, handle: WorkerHandle, exit_code: int | None) -> None:
        self._remove(handle, "crashed", exit_code)

    def _sweep_forever(self, interval: float) -> None:
        while not self._closing.wait(interval):
            try:
                self.sweep()
            except Exception:
                log.exception("sweep failed")

    def sweep(self) -> None:
        """Stop workers that were idle for too long."""
        now = time.monotonic()
        with self._lock:
            idle = [
                worker.handle
                for worker in self._workers.values()
                if not worker.in_flight and now - worker.last_used > self.settings.idle_timeout
            ]
        for handle in idle:
            self._remove(handle, "idle_timeout")
