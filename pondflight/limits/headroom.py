"""How many threads and descriptors this process may still have, before things begin to fail.

At the limit, anything may fail: a gRPC thread, a pipe to a worker, a socket to Docker. So what can
be refused in good order (calls, starts of workers) is refused a little earlier.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pondflight.errors import Unavailable

CALL: Final = 2
"""Threads that a call may need: gRPC's for it, and one more that waits for the next call."""

WORKER: Final = 48
"""Threads that a worker process starts with, at least."""

_THREADS = 24
_DESCRIPTORS = 32
_FRESH_SECONDS = 0.2
_AGAIN_SECONDS = 0.02
"""Seconds to the next reading after a refusal: refused calls give back what they had."""
_FAR = 16_384
"""Limits of threads for a user that are never reached, so counting would only cost time."""

_CGROUPS = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


class Headroom:
    """Reads the limits at most five times a second, and counts down in between."""

    def __init__(
        self,
        threads: Callable[[], int | None] | None = None,
        descriptors: Callable[[], int | None] | None = None,
    ) -> None:
        self._count_threads = threads or threads_left
        self._count_descriptors = descriptors or descriptors_left
        self._lock = threading.Lock()
        self._stale = 0.0
        self._threads: int | None = None
        self._descriptors: int | None = None

    def require(self, threads: int = CALL, descriptors: int = 1) -> None:
        """Reserve threads and descriptors. Raises ``Unavailable`` if there are not enough.

        A reservation counts until the next reading, which either includes it or finds it unused.
        """
        with self._lock:
            now = time.monotonic()
            if now >= self._stale:
                self._threads, self._descriptors = self._count_threads(), self._count_descriptors()
                self._stale = now + _FRESH_SECONDS
            if self._threads is not None and self._threads - threads < _THREADS:
                self._stale = min(self._stale, now + _AGAIN_SECONDS)
                raise _none_left("threads")
            if self._descriptors is not None and self._descriptors - descriptors < _DESCRIPTORS:
                self._stale = min(self._stale, now + _AGAIN_SECONDS)
                raise _none_left("file descriptors")
            if self._threads is not None:
                self._threads -= threads
            if self._descriptors is not None:
                self._descriptors -= descriptors


def _none_left(what: str) -> Unavailable:
    return Unavailable(
        f"the server is at its limit of {what} (operators: see docs/troubleshooting.md); try again "
        "in a moment",
        retry_after=1.0,
    )


def allow_descriptors() -> None:
    """Raise this process's limit of descriptors to the highest value allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptors_left() -> int | None:
    """Return how many files this process may still open; None: no known limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    try:
        return soft - sum(1 for _ in (_PROC / "self/fd").iterdir())
    except OSError:
        return None


def threads_left() -> int | None:
    """Return how many threads may still be started here; None: no known limit."""
    return min([*_left_to_user(), *_left_to_cgroups()], default=None)


def _left_to_user() -> Iterator[int]:
    """Yield what RLIMIT_NPROC leaves, which counts the threads of a user, except for root."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if limit == resource.RLIM_INFINITY or limit > _FAR or os.geteuid() == 0:
        return
    own, used = os.getuid(), 0
    try:
        processes = [path for path in _PROC.iterdir() if path.name.isdecimal()]
    except OSError:
        return
    for path in processes:
        try:
            if path.stat().st_uid == own:
                used += path.joinpath("task").stat().st_nlink - 2
        except OSError:
            continue  # it has ended
    yield limit - used


def _left_to_cgroups() -> Iterator[int]:
    """Yield what ``pids.max`` of our cgroup, and of those around it, leaves."""
    for folder in _FOLDERS:
        try:
            limit = (folder / "pids.max").read_text().strip()
            if limit != "max":
                yield int(limit) - int((folder / "pids.current").read_text())
        except (OSError, ValueError):
            continue


def _folders() -> tuple[Path, ...]:
    """Return the directories of cgroups (version 1 or 2) that limit this process's threads."""
    try:
        lines = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return ()
    found: list[Path] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "pids" not in controllers.split(","):
            continue
        root = _CGROUPS / "pids" if controllers else _CGROUPS
        own = root / path.lstrip("/")
        # In a container, the path may be the host's while the mounted cgroup is the container's
        # own.
        found += [
            folder
            for folder in (own, *own.parents)
            if folder.is_relative_to(root) and (folder / "pids.max").is_file()
        ]
    return tuple(found)


_FOLDERS: Final = _folders()
