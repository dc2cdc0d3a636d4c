"""Tells a deployment's own workers from everything else on an engine, and counts room."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pondflight.telemetry.logs import Event, get_logger
from pondflight.workers.backends.base import (
    Backend,
    BackendError,
    NoRoom,
    Phase,
    StartFailed,
    WorkerHandle,
)
from pondflight.workers.naming import is_worker
from pondflight.workers.spec import WorkerSpec

events = get_logger()


class Ownership:
    """Recognises the workers of a deployment (``instance``).

    Labels are copied along with containers and may be anybody's; another version may use other
    names and formats. What cannot be read is left alone, and logged once.
    """

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self._foreign: set[str] = set()
        self._lock = threading.Lock()

    def own(self, engine_id: str, read: Callable[[], WorkerHandle]) -> WorkerHandle | None:
        """Return the worker that ``read`` finds in ``engine_id``; None if it is not one of ours.

        ``read`` may raise whatever reading an unexpected format raises.
        """
        try:
            worker = read()
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            pass
        else:
            if worker.generation and is_worker(worker.name, self.instance):
                return worker
        with self._lock:
            known = engine_id in self._foreign
            self._foreign.add(engine_id)
        if not known:
            events.warning(Event.CONTAINER_FOREIGN, container_id=engine_id)
        return None


def require_room(there: Iterable[WorkerHandle], most: int) -> list[WorkerHandle]:
    """Raise ``NoRoom`` if there is one worker too many, now that everybody can see the new one.

    Returns those that have not ended. Of all who create a worker at the same moment, whoever checks
    last sees all others. So if everybody gives way who sees one too many, there is never one too
    many.
    """
    alive = [worker for worker in there if worker.phase is not Phase.ENDED]
    if len(alive) > most:
        raise NoRoom
    return alive


def require_files(spec: WorkerSpec, mounts: Sequence[str], remedy: str) -> None:
    """Raise ``StartFailed`` for a file of the host that is not below one of ``mounts``.

    ``remedy`` is what the operator can do, as a phrase.
    """
    for file in spec.files:
        if not any(Path(file.path).is_relative_to(mount) for mount in mounts):
            raise StartFailed(
                f"the database file {file.path} is one of a host, and workers there have none of "
                f"those: {remedy}",
                [],
            )


def remove_unseen(backend: Backend, spec: WorkerSpec) -> None:
    """Remove what an engine may have created although its answer came too late."""
    with contextlib.suppress(BackendError):
        found = backend.find(spec.name)
        if found is not None and found.generation == spec.generation:
            backend.stop(found)
