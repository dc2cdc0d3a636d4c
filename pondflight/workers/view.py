"""What administrators see of a worker."""

from __future__ import annotations

from dataclasses import dataclass

from pondflight.workers.naming import Naming
from pondflight.workers.worker import Worker


@dataclass(frozen=True, slots=True)
class WorkerView:
    """What an administrator sees of a worker.

    ``user`` is None for a warm worker, and for an adopted one whose user has not called since.
    ``memory`` is in bytes, ``cpu`` in cores, times in seconds; None if not known.
    """

    id: str
    name: str
    state: str
    user: str | None
    key: str
    age: float
    idle: float | None
    running: int
    memory: int | None
    cpu: float | None
    outdated: bool

    @classmethod
    def of(cls, worker: Worker, naming: Naming, spec_hash: str) -> WorkerView:
        """Return the view of ``worker``; ``spec_hash`` is that of the current settings."""
        handle = worker.handle if worker.started else None
        return cls(
            id=handle.id if handle else "",
            name=handle.name if handle else naming.of(worker.key, worker.generation),
            state=worker.state.value,
            user=worker.subject or None,
            key=worker.key,
            age=worker.age,
            idle=None if worker.in_flight or not handle else worker.idle,
            running=max(worker.in_flight, worker.status.running or 0),
            memory=worker.status.memory,
            cpu=worker.cpu,
            outdated=handle is not None and handle.spec_hash != spec_hash,
        )
