"""The operating system's walls around a worker, put up before it learns of any user.

Whatever a user's SQL makes DuckDB try, the kernel refuses other files and addresses (Landlock),
other kinds of sockets, programs and processes (seccomp), and more memory than the limit. None of
this needs a privilege, and none of it can be undone.

Call it while the process has only one thread, since Landlock applies to the thread that asks for it
and to those that it starts; so this module imports nothing that starts one.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from pondflight import memory
from pondflight.control import Walls
from pondflight.engine.databases import gate
from pondflight.engine.guards import landlock, seccomp
from pondflight.engine.guards.syscalls import prctl

log = logging.getLogger(__name__)

_STACK_BYTES = 2 << 20
_STACKS_BYTES = 256 * _STACK_BYTES
"""Address space of the stacks of 256 threads. It counts, although it is hardly used."""
_WATCH_SECONDS = 0.1
_IDLE_SECONDS = 0.8
_NOTHING_SECONDS = 0.002
"""Seconds of processor time in which hardly anything can have been allocated."""
_KILLED = 137
"""Exit code, the same as that of a process that the kernel killed for its memory."""
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_OOM_SCORE = "500"


class CannotConfine(Exception):
    """A wall cannot be put up, and the configuration requires it."""


def enclose(
    walls: Walls, listen: str, scratch: Path, storage: Path | None, memory_limit: int
) -> list[str]:
    """Put up all walls of a worker, before anything else; return the missing ones, in words.

    ``listen`` is the URI that it will listen on. Raises ``CannotConfine``.
    """
    for folder in (scratch, storage):
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folders = [folder for folder in (scratch, storage) if folder is not None]
    ports = gate.reserve(walls.gates)
    missing = confine(walls, folders=folders, ports=ports, listen=urlsplit(listen).port or 0)
    if walls.heap and walls.mode != "off":
        limit_heap(memory_limit)
        threading.Thread(target=_watch_heap, args=(memory_limit,), daemon=True).start()
    return missing


def confine(
    walls: Walls, *, folders: Iterable[Path], ports: Iterable[int], listen: int
) -> list[str]:
    """Put the walls up; return the missing ones, in words. Arguments as ``landlock.restrict``.

    Raises ``CannotConfine`` if one cannot be put up, and ``walls.mode`` requires it.
    """
    _harden()
    if walls.mode == "off":
        return []
    missing = list(missing_walls())
    # The kernel may support what something in between, such as a container's filter, refuses.
    with _told(missing, "files and the network (Landlock)"):
        landlock.restrict(walls, folders, ports, listen)
    with _told(missing, "system calls (seccomp)"):
        seccomp.restrict(walls)
    if missing and walls.mode == "required":
        raise CannotConfine(f"{'; '.join(missing)} (workers.confinement: required)")
    for told in missing:
        log.warning("%s", told)
    return missing


@contextmanager
def _told(missing: list[str], around: str) -> Iterator[None]:
    """Add to ``missing`` the reason for which a wall cannot be put up."""
    try:
        yield
    except OSError as error:
        missing.append(f"no wall around {around}: {error.strerror or error}")


def missing_walls() -> Iterator[str]:
    """Yield the walls that this system does not support, in words."""
    yield from landlock.missing()
    if not seccomp.is_available():
        yield "no wall around system calls: seccomp is not available"


def limit_heap(memory_limit: int) -> None:
    """Make allocations fail above ``memory_limit`` (bytes) plus the reserve for threads' stacks."""
    _small_stacks()
    most = memory_limit + _STACKS_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:  # the service's own limit, which cannot be raised
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _small_stacks() -> None:
    """Give threads that start from now on stacks of 2 MB instead of 8, if glibc allows it."""
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = ctypes.create_string_buffer(128)
    try:
        libc.pthread_attr_init(attributes)
        libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(_STACK_BYTES))
        libc.pthread_setattr_default_np(attributes)
        libc.pthread_attr_destroy(attributes)
    except AttributeError:  # another C library, whose stacks are smaller anyway
        return


def _watch_heap(memory_limit: int) -> None:
    """End the process when it uses its memory and a tenth more, as a container would.

    An allocation that fails fails alone; this is for memory that got past the limit, since stacks
    count as well. An idle process does not grow, so it is checked rarely.
    """
    most = memory_limit + memory_limit // 10
    pause, worked = _WATCH_SECONDS, 0.0
    while memory.resident() < most:
        time.sleep(pause)
        while (now := time.process_time()) - worked < _NOTHING_SECONDS:
            pause = min(2 * pause, _IDLE_SECONDS)
            time.sleep(pause)
        pause, worked = _WATCH_SECONDS, now
    sys.stderr.write("the worker needs more than its memory, and ends\n")
    sys.stderr.flush()
    os._exit(_KILLED)


def _harden() -> None:
    """Apply the protections that cost nothing and that every Linux has."""
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError):  # first, since this process may not write its own files afterwards
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        prctl(_PR_SET_DUMPABLE, 0)
        prctl(_PR_SET_NO_NEW_PRIVS, 1)
