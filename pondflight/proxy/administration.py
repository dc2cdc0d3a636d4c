"""What administrators see and do: workers, and the statements in them.

Workers know best what they run, so they are asked, all at the same time and with little patience:
one that does not answer is shown without what only it knows.
"""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from pondflight import control
from pondflight.errors import InvalidArgument, NotFound, PondflightError
from pondflight.workers.pool import Pool
from pondflight.workers.worker import Worker

ACTIONS: Final = frozenset(
    {control.WORKERS, control.STOP_WORKER, control.STATEMENTS, control.CANCEL_STATEMENT}
)
MOST_STATEMENTS: Final = 500

_PATIENCE: Final = 1.0
_TEXTS: Final = ("masked", "full", "none")


class Administration:
    """Answers the actions of ``ACTIONS``. Who may send them is decided by the caller."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._calls = ThreadPoolExecutor(16, thread_name_prefix="administration")
        self._lock = threading.Lock()
        self._samples: dict[str, tuple[float, float]] = {}

    def close(self) -> None:
        """Let go of the threads."""
        self._calls.shutdown(wait=False, cancel_futures=True)

    def answer(self, kind: str, body: bytes) -> bytes:
        """The answer to an action, as JSON."""
        request = _request(body)
        answer: dict[str, Any]
        match kind:
            case control.WORKERS:
                answer = {"workers": self._workers()}
            case control.STOP_WORKER:
                answer = {"worker": self._stop(request)}
            case control.STATEMENTS:
                answer = {"statements": self._statements(request.get("text", "masked"))}
            case _:
                worker, _user = self._find(request.get("worker"))
                wanted = {"statement": str(request.get("statement", ""))}
                answer = worker.control(control.CANCEL_STATEMENT, json.dumps(wanted).encode())
                if not answer["cancelled"]:
                    raise NotFound("this statement does not run any more")
        return json.dumps(answer).encode()

    def _workers(self) -> list[dict[str, Any]]:
        workers = self._pool.workers()
        statuses = self._calls.map(lambda pair: _ask(pair[0], control.STATUS, b""), workers)
        found = [
            self._view(worker, user, status)
            for (worker, user), status in zip(workers, statuses, strict=True)
        ]
        with self._lock:
            known = {worker.handle.id for worker, _ in workers}
            for gone in self._samples.keys() - known:
                del self._samples[gone]
        return found

    def _view(self, worker: Worker, user: str, status: dict[str, Any]) -> dict[str, Any]:
        now = time.monotonic()
        running = max(worker.in_flight, status.get("running", 0))
        return {
            "id": worker.handle.id,
            "name": worker.handle.name,
            "state": "busy" if running else "idle",
            "user": user or None,
            "key": worker.handle.user,
            "age": now - worker.started,
            "idle": None if running else now - worker.last_used,
            "running": running,
            "memory": status.get("rss_bytes"),
            "cpu": self._cores(worker.handle.id, status.get("cpu_seconds"), now),
            "outdated": False,
        }

    def _cores(self, worker_id: str, seconds: float | None, now: float) -> float | None:
        """Cores in use since the last time that somebody looked."""
        if seconds is None:
            return None
        with self._lock:
            before = self._samples.get(worker_id)
            self._samples[worker_id] = (now, seconds)
        if before is None or now <= before[0]:
            return None
        return max(0.0, (seconds - before[1]) / (now - before[0]))

    def _stop(self, request: dict[str, Any]) -> dict[str, Any]:
        worker, user = self._find(request.get("worker"))
        view = self._view(worker, user, _ask(worker, control.STATUS, b""))
        if view["running"] and request.get("force") is not True:
            raise InvalidArgument(
                f"the worker runs {view['running']} statement(s): wait, or stop it by force"
            )
        self._pool.stop(worker)
        return view

    def _statements(self, text: object) -> list[dict[str, Any]]:
        if text not in _TEXTS:
            raise InvalidArgument(f"text must be one of {', '.join(_TEXTS)}")
        workers = self._pool.workers()
        body = json.dumps({"text": text}).encode()
        answers = self._calls.map(lambda pair: _ask(pair[0], control.STATEMENTS, body), workers)
        found = [
            {**statement, "worker": worker.handle.id, "user": user}
            for (worker, user), answer in zip(workers, answers, strict=True)
            for statement in answer.get("statements", [])
        ]
        found.sort(key=lambda s: (s["state"] != "running", -s["started"]))
        return found[:MOST_STATEMENTS]

    def _find(self, wanted: object) -> tuple[Worker, str]:
        for worker, user in self._pool.workers():
            if wanted in (worker.handle.id, worker.handle.name, user):
                return worker, user
        raise NotFound("there is no such worker")


def _ask(worker: Worker, action: str, body: bytes) -> dict[str, Any]:
    try:
        return worker.control(action, body, timeout=_PATIENCE)
    except PondflightError:
        return {}


def _request(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise InvalidArgument("the body must be a JSON object")
    return request
