"""Workers as subprocesses: for a laptop, and for tests.

None outlives the proxy (``serve/child.py``), so there is nothing to adopt.
"""

from __future__ import annotations

import compileall
import json
import logging
import select
import shutil
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import pondflight
from pondflight.errors import Unavailable
from pondflight.limits.headroom import WORKER, Headroom
from pondflight.serve.child import Child, environment
from pondflight.workers.backends.base import (
    LOG_LINE_LENGTH,
    LOG_LINES,
    ExitCallback,
    NameTaken,
    NoRoom,
    NoSuchWorker,
    Phase,
    Problem,
    StartFailed,
    WorkerExit,
    WorkerHandle,
)
from pondflight.workers.backends.scratch import ScratchRoot
from pondflight.workers.engines import NOWHERE
from pondflight.workers.naming import user_in
from pondflight.workers.spec import WorkerSpec

log = logging.getLogger(__name__)

_STOP_SECONDS = 5.0
_PORT_SECONDS = 20.0
_PIPES = 8
"""Descriptors that a worker takes in this process: pipes, and a connection."""


def _write_bytecode() -> None:
    """Compile what workers import, since behind their walls they cannot write bytecode.

    It takes 10 ms if there is nothing to do, as after ``pip install``, and never fails.
    """
    if not sys.dont_write_bytecode:
        compileall.compile_dir(Path(pondflight.__file__).parent, quiet=2)


class ProcessBackend:
    """Runs ``pondflight worker`` on this machine.

    ``storage`` is the directory for what outlives workers, with a subdirectory for each.
    """

    name = "process"
    outlives_proxy = False

    def __init__(self, storage: Path | None = None, headroom: Headroom | None = None) -> None:
        self._storage = storage
        self._headroom = headroom or Headroom()
        self._root = ScratchRoot()
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._running: dict[str, _Process] = {}
        self._on_exit: ExitCallback = lambda _handle, _exit: None
        threading.Thread(target=_write_bytecode, name="bytecode", daemon=True).start()

    @property
    def reachable(self) -> bool:
        """Return True: processes need no service."""
        return True

    def on_exit(self, callback: ExitCallback) -> None:
        """Set the function to call when a worker ends by itself."""
        self._on_exit = callback

    def check(self) -> list[Problem]:
        """Return no problems: a machine that runs the proxy can run workers."""
        return []

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        """Start a process and wait until it says where it listens."""
        storage = self._storage / spec.storage if self._storage and spec.storage else None
        try:
            self._headroom.require(WORKER, _PIPES)
        except Unavailable as error:
            raise StartFailed(error.message, [], advice=error.message) from None
        with self._lock:
            if spec.name in self._names:
                raise NameTaken(spec.name)
            if len(self._names) >= spec.most:
                raise NoRoom
            self._names.add(spec.name)
        try:
            process = _Process(spec, self._root.path / spec.generation, storage)
        except BaseException:
            with self._lock:
                self._names.discard(spec.name)
            raise
        with self._lock:
            self._running[process.id] = process
        try:
            threading.Thread(target=self._wait, args=(process,), daemon=True).start()
        except RuntimeError:
            self.stop(process.handle())
            raise
        return process.handle()

    def stop(self, handle: WorkerHandle) -> None:
        """End the process, by force if it takes more than 5 s."""
        with self._lock:
            process = self._running.pop(handle.id, None)
        if process is not None:
            process.stop()
            with self._lock:
                self._names.discard(process.name)

    def claim(self, handle: WorkerHandle, name: str) -> WorkerHandle:
        """Give a worker another name in this process's table."""
        with self._lock:
            process = self._running.get(handle.id)
            if process is None:
                raise NoSuchWorker(handle.id)
            if name in self._names - {process.name}:
                raise NameTaken(name)
            self._names.remove(process.name)
            self._names.add(name)
            process.name = name
        return process.handle()

    def list_workers(self) -> list[WorkerHandle]:
        """Return the processes that this backend started and did not stop."""
        with self._lock:
            return [process.handle() for process in self._running.values()]

    def find(self, name: str) -> WorkerHandle | None:
        """Return the worker that has ``name``."""
        return next((h for h in self.list_workers() if h.name == name), None)

    def logs(self, handle: WorkerHandle) -> list[str]:
        """Return the last lines of the worker's standard error."""
        with self._lock:
            process = self._running.get(handle.id)
        return list(process.log) if process else []

    def exit_of(self, handle: WorkerHandle) -> WorkerExit | None:
        """Return how the process ended."""
        with self._lock:
            process = self._running.get(handle.id)
        return WorkerExit() if process is None else process.exit()

    def close(self) -> None:
        """End all workers in parallel."""
        with self._lock:
            processes, self._running = list(self._running.values()), {}
        started = []
        for process in processes:
            thread = threading.Thread(target=process.stop)
            try:
                thread.start()
            except RuntimeError:  # no thread is left
                process.stop()
            else:
                started.append(thread)
        for thread in started:
            thread.join()
        self._root.close()

    def _wait(self, process: _Process) -> None:
        found = process.wait()
        with self._lock:
            unasked = process.id in self._running
        if unasked:
            try:
                self._on_exit(process.handle(), found)
            except Exception:
                log.exception("the end of a worker could not be handled")


class _Process:
    """One worker process."""

    def __init__(self, spec: WorkerSpec, scratch: Path, storage: Path | None) -> None:
        self.name = spec.name
        self._spec = spec
        self._scratch = scratch
        self._created = time.time()
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._child = Child(
            [
                "pondflight",
                *spec.arguments(scratch, storage=storage, walls=replace(spec.walls, heap=True)),
                "--lifeline",
            ],
            environment=_environment(scratch),
            folder=scratch,
            piped=True,
        )
        self._reader = threading.Thread(
            target=self._read_log, args=(self._child.errors,), daemon=True
        )
        try:
            self._reader.start()
        except RuntimeError:
            self._child.stop(0.0, by_signal=False)
            self._clean()
            raise
        self._port = self._await_port(self._child.output)

    @property
    def id(self) -> str:
        return str(self._child.pid)

    def _await_port(self, pipe: IO[bytes]) -> int:
        """Return the port that the process names in its first line."""
        poll = select.poll()  # select() takes no descriptor above 1023
        poll.register(pipe, select.POLLIN)
        said = poll.poll(_PORT_SECONDS * 1000)
        line = pipe.readline(LOG_LINE_LENGTH) if said else b""
        try:
            return int(json.loads(line)["port"])
        except (ValueError, KeyError, TypeError):
            ended = not self._child.alive() or said
            self.stop()
            why = (
                f"the worker process ended with exit code {_exit(self._child.wait()).code}"
                if ended
                else f"the worker process said nothing in {_PORT_SECONDS:.0f} s"
            )
            raise StartFailed(why, list(self.log)) from None

    def handle(self) -> WorkerHandle:
        return WorkerHandle(
            id=self.id,
            name=self.name,
            user=user_in(self.name),
            generation=self._spec.generation,
            location=f"grpc://127.0.0.1:{self._port}",
            spec_hash=self._spec.spec_hash,
            created=self._created,
            phase=Phase.RUNNING if self.exit() is None else Phase.ENDED,
        )

    def exit(self) -> WorkerExit | None:
        code = self._child.code
        return None if code is None else _exit(code)

    def wait(self) -> WorkerExit:
        return _exit(self._child.wait())

    def stop(self) -> None:
        self._child.stop(_STOP_SECONDS)
        self._reader.join(timeout=1)
        self._clean()

    def _clean(self) -> None:
        self._child.output.close()
        self._child.errors.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _read_log(self, pipe: IO[bytes]) -> None:
        """Read until the pipe ends, even if lines cannot be used: a full pipe stops the worker."""
        with suppress(OSError, ValueError):  # the pipe was closed
            while line := pipe.readline(LOG_LINE_LENGTH):
                text = line.decode("utf-8", "replace").rstrip("\n")
                self.log.append(text)
                with suppress(OSError, ValueError):  # standard error is gone, or cannot write it
                    sys.stderr.write(text + "\n")


def _exit(code: int) -> WorkerExit:
    """Return the exit code as shells and container runtimes report it: 137 is signal 9."""
    return WorkerExit(code if code >= 0 else 128 - code)


def _environment(scratch: Path) -> dict[str, str]:
    """Return only what a worker needs: the proxy's own environment contains secrets."""
    return environment(
        ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV"),
        {
            "HOME": NOWHERE,  # in users' SQL, a file name may begin with ~
            "TMPDIR": str(scratch),
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "MALLOC_ARENA_MAX": "2",
            "PYTHONUNBUFFERED": "1",
        },
    )
