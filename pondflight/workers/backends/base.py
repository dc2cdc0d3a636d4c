"""The contract between the pool and what starts workers.

Nothing outside this package distinguishes a process from a container. One suite of tests
(``tests/workers/contract.py``) runs against every backend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pondflight.workers.spec import WorkerSpec

LOG_LINES = 20
LOG_LINE_LENGTH = 4096


class Phase(StrEnum):
    """The state of a worker as the backend sees it, ready or not."""

    CREATED = "created"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class WorkerHandle:
    """A worker that a backend has started.

    ``id``        what operators know it by (process id, container id)
    ``user``      hash of the ``sub`` of the user whom its name belongs to; empty for a warm worker
    ``location``  where it will listen, as a Flight URI; empty if it does not run
    ``created``   seconds since the epoch
    """

    id: str
    name: str
    user: str
    generation: str
    location: str
    spec_hash: str = ""
    created: float = 0.0
    phase: Phase = Phase.RUNNING


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """How a worker ended; ``code`` is None if it is not known any more."""

    code: int | None = None
    out_of_memory: bool = False


class BackendError(Exception):
    """Base of the errors that a backend may raise. Clients never see them unchanged."""


class StartFailed(BackendError):
    """The worker did not start; ``log`` has the last lines that it wrote.

    ``advice`` is what the user may be told, beyond that it failed.
    """

    def __init__(self, reason: str, log: Sequence[str] = (), *, advice: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.log = list(log)
        self.advice = advice


class NameTaken(BackendError):
    """Another worker has that name."""


class NoRoom(BackendError):
    """There are as many workers as allowed; other proxies have started some of them.

    ``fits``: how many the backend has room for, if that is less than the settings allow.
    """

    def __init__(self, fits: int | None = None) -> None:
        super().__init__("there is no room for another worker")
        self.fits = fits


class NoSuchWorker(BackendError):
    """The worker no longer exists."""


class BackendUnreachable(BackendError):
    """The engine that starts workers does not answer. The text is for operators."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that prevents workers from starting, and what to do about it."""

    check: str
    message: str
    advice: str


ExitCallback = Callable[[WorkerHandle, WorkerExit], None]
"""Called for a worker that ended by itself."""


class Backend(Protocol):
    """Starts, stops and finds workers. All methods may be called from any thread.

    Each may raise ``BackendUnreachable``, and none takes longer than some seconds.
    ``outlives_proxy``: workers continue without this process, and another one may adopt them.
    """

    name: str
    outlives_proxy: bool

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        """Start a worker; it need not be ready when this returns.

        Raises ``NameTaken``, ``NoRoom`` or ``StartFailed``, and then leaves nothing behind. Two
        starts at the same moment may both find no room where there is room for one, but there is
        never one too many.
        """

    def stop(self, handle: WorkerHandle) -> None:
        """End exactly this worker and all that it left. It may be gone already."""

    def claim(self, handle: WorkerHandle, name: str) -> WorkerHandle:
        """Give a warm worker to the user whom ``name`` belongs to; return its new handle.

        From then on it is found under that name only. Repeating it for the same user is fine.
        Raises ``NameTaken`` or ``NoSuchWorker``; the worker may then be claimed for good, and has
        to be stopped.
        """

    def list_workers(self) -> list[WorkerHandle]:
        """Return the existing workers of this instance, whoever started them, running or not."""

    def find(self, name: str) -> WorkerHandle | None:
        """Return the worker that has ``name`` now, running or not."""

    def logs(self, handle: WorkerHandle) -> list[str]:
        """Return the last lines that the worker wrote, oldest first, at most 20."""

    def exit_of(self, handle: WorkerHandle) -> WorkerExit | None:
        """Return how the worker ended; None while it runs."""

    def on_exit(self, callback: ExitCallback) -> None:
        """Set the function to call when a worker ends by itself. Called once, first."""

    def check(self) -> list[Problem]:
        """Return what prevents workers from starting, as far as that can be seen beforehand."""

    @property
    def reachable(self) -> bool:
        """Return whether the backend has answered recently."""

    def close(self) -> None:
        """Release everything; end the workers if they cannot outlive this process."""


def last_lines(text: str) -> list[str]:
    """Return the last lines of a log, limited in number and length."""
    return [line[:LOG_LINE_LENGTH] for line in text.splitlines()[-LOG_LINES:]]
