"""The workers of another process's process backend: that of the parent of several proxies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from pondflight.serve.desk import Asker
from pondflight.workers.backends.base import (
    Backend,
    BackendUnreachable,
    ExitCallback,
    Problem,
    WorkerExit,
    WorkerHandle,
)
from pondflight.workers.spec import WorkerSpec

P = ParamSpec("P")
T = TypeVar("T")

QUESTIONS = ("start", "stop", "claim", "list_workers", "find", "logs", "exit_of")
"""The functions of the other process's backend."""


class SharedProcesses:
    """Forwards everything to the process that owns the workers.

    The workers continue without this process. Their end is noticed as with containers: by health
    checks, by the sweep, and by the next call.
    """

    name = "process"
    outlives_proxy = True

    def __init__(self, owner: Asker) -> None:
        self._owner = owner

    @property
    def reachable(self) -> bool:
        """Return True: without its parent, this process ends."""
        return True

    def on_exit(self, callback: ExitCallback) -> None:
        """Do nothing: the owner does not report ends."""

    def check(self) -> list[Problem]:
        """Return no problems, as the backend behind it."""
        return []

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        """Start a process at the owner."""
        return self._do(Backend.start, spec)

    def stop(self, handle: WorkerHandle) -> None:
        """End a process at the owner."""
        self._do(Backend.stop, handle)

    def claim(self, handle: WorkerHandle, name: str) -> WorkerHandle:
        """Rename a process at the owner, where only one can take a name."""
        return self._do(Backend.claim, handle, name)

    def list_workers(self) -> list[WorkerHandle]:
        """Return the owner's processes."""
        return self._do(Backend.list_workers)

    def find(self, name: str) -> WorkerHandle | None:
        """Return the owner's process that has the name."""
        return self._do(Backend.find, name)

    def logs(self, handle: WorkerHandle) -> list[str]:
        """Return the last lines of the process's standard error."""
        return self._do(Backend.logs, handle)

    def exit_of(self, handle: WorkerHandle) -> WorkerExit | None:
        """Return how the process ended."""
        return self._do(Backend.exit_of, handle)

    def close(self) -> None:
        """Leave the workers to the others."""

    def _do(
        self, question: Callable[Concatenate[Any, P], T], *arguments: P.args, **named: P.kwargs
    ) -> T:
        try:
            return self._owner.ask(question, *arguments, **named)
        except (OSError, EOFError) as error:
            raise BackendUnreachable("the parent process does not answer") from error
