"""The contract between the pool and what starts workers.

Nothing outside this package knows a process from a container. One suite of tests
(``tests/workers/test_backend_contract.py``) runs against every backend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What the pool asks for.

    ``name``              unique for instance and user: the lock between two proxies
    ``instance``          deployment that the worker belongs to
    ``user``              hash of the token's ``sub``
    ``generation``        random; goes into the credential
    ``credential_sha256`` all that the worker learns of its credential
    ``memory_limit``      bytes
    ``cpu_limit``         cores, fractions allowed
    ``storage``           name of the storage that outlives the worker, 64 hexadecimal digits;
                          empty: it has none
    """

    name: str
    instance: str
    user: str
    generation: str
    credential_sha256: str
    memory_limit: int
    cpu_limit: float
    storage: str = ""


@dataclass(frozen=True, slots=True)
class WorkerHandle:
    """A worker that a backend has started.

    ``id`` is what operators know it by (process id, container id); ``location`` is where it
    will listen, as a Flight URI.
    """

    id: str
    name: str
    user: str
    generation: str
    location: str


class StartFailed(Exception):
    """The worker did not start. ``log`` has the last lines that it wrote."""

    def __init__(self, reason: str, log: list[str]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.log = log


ExitCallback = Callable[[WorkerHandle, int | None], None]
"""Told of a worker that ended unasked, with its exit code if that is known."""


class Backend(Protocol):
    """Starts, stops and finds workers. All methods may be called from any thread."""

    name: str

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        """Start a worker; it need not be ready. Raises ``StartFailed``; leaves nothing behind."""

    def stop(self, handle: WorkerHandle) -> None:
        """End a worker and all that it left. Not there any more is fine."""

    def list_workers(self) -> list[WorkerHandle]:
        """The workers of this instance that exist, whoever started them."""

    def logs(self, handle: WorkerHandle) -> list[str]:
        """The last lines that the worker wrote, oldest first, at most 20."""

    def alive(self, handle: WorkerHandle) -> bool:
        """Whether the worker still runs."""

    def on_exit(self, callback: ExitCallback) -> None:
        """Whom to tell when a worker ends unasked. Called once, before the first start."""

    def close(self) -> None:
        """Let go of everything; end the workers if they cannot outlive this process."""
