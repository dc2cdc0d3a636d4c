"""What administrators see and do: workers, and the statements in them.

Only the workers know what they run, so all are asked at the same time, with a short timeout: one
that does not answer is left out.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Final

from pondflight import control
from pondflight.control import Json
from pondflight.errors import InvalidArgument, NotFound, PondflightError
from pondflight.workers.connection import Connection
from pondflight.workers.pool import Pool

ACTIONS: Final = frozenset(
    {
        control.WORKERS,
        control.WORKER,
        control.STOP_WORKER,
        control.STATEMENTS,
        control.CANCEL_STATEMENT,
    }
)
MOST_STATEMENTS: Final = 500

_PATIENCE: Final = 1.0
_TEXTS: Final = ("masked", "full", "none")


class Administration:
    """Answers the actions of ``ACTIONS``. The caller decides who may send them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._calls = ThreadPoolExecutor(16, thread_name_prefix="administration")

    def close(self) -> None:
        """Shut down the threads without waiting for them."""
        self._calls.shutdown(wait=False, cancel_futures=True)

    def answer(self, kind: str, body: bytes) -> Json:
        """Run an administrator's action and return its answer as a JSON object."""
        if kind == control.WORKER:
            view, lines = self._pool.worker_log(_text(body))
            return {"worker": asdict(view), "log": lines}
        request = _request(body)
        match kind:
            case control.WORKERS:
                return {"workers": [asdict(view) for view in self._pool.workers()]}
            case control.STOP_WORKER:
                return {"worker": self._stop(request)}
            case control.STATEMENTS:
                return {"statements": self._statements(request.get("text", "masked"))}
        return self._cancel(request)

    def _stop(self, request: Json) -> Json:
        wanted, force = request.get("worker"), request.get("force", False)
        if not isinstance(wanted, str) or not isinstance(force, bool):
            raise InvalidArgument(
                'the body is not {"worker": id, name or user, "force": true or false}'
            )
        return asdict(self._pool.stop_worker(wanted, force=force))

    def _statements(self, text: object) -> list[Json]:
        if not isinstance(text, str) or text not in _TEXTS:
            raise InvalidArgument(f"text must be one of {', '.join(_TEXTS)}")
        workers = self._pool.connections()
        answers = self._calls.map(lambda pair: _ask(pair[1], text), workers)
        found = [
            {**statement, "worker": view.id, "user": view.user}
            for (view, _), statements in zip(workers, answers, strict=True)
            for statement in statements
        ]
        found.sort(key=lambda s: (s["state"] != "running", -s["started"]))
        return found[:MOST_STATEMENTS]

    def _cancel(self, request: Json) -> Json:
        wanted, statement = request.get("worker"), str(request.get("statement", ""))
        for view, connection in self._pool.connections():
            if wanted in {view.id, view.name, view.user}:
                if not connection.cancel_statement(statement, timeout=_PATIENCE):
                    raise NotFound("this statement is not running any more")
                return {"cancelled": True}
        raise NotFound("there is no such worker")


def _ask(connection: Connection, text: str) -> list[Json]:
    try:
        return connection.statements(text, timeout=_PATIENCE)
    except PondflightError:
        return []


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise InvalidArgument("the body is not text in UTF-8") from None


def _request(body: bytes) -> Json:
    try:
        request = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise InvalidArgument("the body is not a JSON object")
    return request
