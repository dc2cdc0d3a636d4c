"""Workers as subprocesses: for a laptop, and for tests.

A worker has a process group of its own, so that Ctrl-C in a terminal reaches only the proxy,
which ends its workers in order. It holds one end of a pipe; when the proxy is gone, however it
went, the pipe ends and so does the worker. None outlives the proxy, so there is nothing to adopt.
"""

from __future__ import annotations

import json
import logging
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

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
    WorkerSpec,
)
from pondflight.workers.backends.scratch import ScratchRoot
from pondflight.workers.engines import NOWHERE
from pondflight.workers.naming import user_in

log = logging.getLogger(__name__)

_STOP_SECONDS = 5.0
_PORT_SECONDS = 20.0


class ProcessBackend:
    """Runs ``pondflight worker`` on this machine.

    ``storage`` is the directory for what outlives workers: a subdirectory for each.
    """

    name = "process"
    outlives_proxy = False

    def __init__(self, storage: Path | None = None) -> None:
        self._storage = storage
        self._root = ScratchRoot()
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._running: dict[str, _Process] = {}
        self._on_exit: ExitCallback = lambda _handle, _exit: None

    @property
    def reachable(self) -> bool:
        """Always True: processes need no service."""
        return True

    def on_exit(self, callback: ExitCallback) -> None:
        """Set the function to call when a worker ends unasked."""
        self._on_exit = callback

    def check(self) -> list[Problem]:
        """Return no problems: a machine that runs the proxy can run workers."""
        return []

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        """Start a process and wait until it says where it listens."""
        storage = self._storage / spec.storage if self._storage and spec.storage else None
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
        threading.Thread(target=self._wait, args=(process,), daemon=True).start()
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
        """The processes that this backend started and did not stop."""
        with self._lock:
            return [process.handle() for process in self._running.values()]

    def find(self, name: str) -> WorkerHandle | None:
        """Return the worker that has ``name``."""
        return next((h for h in self.list_workers() if h.name == name), None)

    def logs(self, handle: WorkerHandle) -> list[str]:
        """The last lines of the worker's standard error."""
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
        threads = [threading.Thread(target=process.stop) for process in processes]
        for thread in threads:
            thread.start()
        for thread in threads:
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
                log.exception("the end of a worker could not be dealt with")


class _Process:
    """One worker process."""

    def __init__(self, spec: WorkerSpec, scratch: Path, storage: Path | None) -> None:
        self.name = spec.name
        self._spec = spec
        self._scratch = scratch
        self._created = time.time()
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._popen = subprocess.Popen(  # noqa: S603  our own program, our own arguments
            [
                sys.executable,
                "-P",  # nothing is imported from the scratch directory
                "-m",
                "pondflight",
                "worker",
                f"--credential-sha256={spec.credential_sha256}",
                f"--memory-limit={spec.memory_limit}",
                f"--threads={max(1, math.ceil(spec.cpu_limit))}",
                f"--scratch={scratch}",
                *([f"--storage={storage}"] if storage else []),
                f"--walls={replace(spec.walls, heap=True).text()}",
                "--lifeline",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=scratch,
            env=_environment(scratch),
            start_new_session=True,
        )
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        self._reader = threading.Thread(
            target=self._read_log, args=(self._popen.stderr,), daemon=True
        )
        self._reader.start()
        self._port = self._await_port(self._popen.stdout)

    @property
    def id(self) -> str:
        return str(self._popen.pid)

    def _await_port(self, pipe: IO[bytes]) -> int:
        """Return the port that the process names in its first line."""
        said, _, _ = select.select([pipe], [], [], _PORT_SECONDS)
        line = pipe.readline(LOG_LINE_LENGTH) if said else b""
        try:
            return int(json.loads(line)["port"])
        except (ValueError, KeyError, TypeError):
            ended = self._popen.poll() is not None or said
            self.stop()
            why = (
                f"the worker process ended with exit code {_exit(self._popen.returncode).code}"
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
        code = self._popen.poll()
        return None if code is None else _exit(code)

    def wait(self) -> WorkerExit:
        return _exit(self._popen.wait())

    def stop(self) -> None:
        for number, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, None)):
            try:
                os.killpg(self._popen.pid, number)
            except ProcessLookupError:
                break
            try:
                self._popen.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                continue
        self._popen.wait()
        self._reader.join(timeout=1)
        self.clean()

    def clean(self) -> None:
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _read_log(self, pipe: IO[bytes]) -> None:
        """Read until the pipe ends, whatever becomes of the lines: a full pipe stops the worker."""
        with suppress(OSError, ValueError):  # the pipe was closed
            while line := pipe.readline(LOG_LINE_LENGTH):
                text = line.decode("utf-8", "replace").rstrip("\n")
                self.log.append(text)
                with suppress(OSError, ValueError):  # standard error is gone, or cannot write it
                    sys.stderr.write(text + "\n")


def _exit(code: int) -> WorkerExit:
    """The exit code as a shell and a container runtime count it: 137 is killed by signal 9."""
    return WorkerExit(code if code >= 0 else 128 - code)


def _environment(scratch: Path) -> dict[str, str]:
    """Only what a worker needs: the proxy's own environment holds secrets."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")
        if name in os.environ
    }
    return kept | {
        "HOME": NOWHERE,  # users' SQL may say ~ where it names a file
        "TMPDIR": str(scratch),
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "MALLOC_ARENA_MAX": "2",
        "PYTHONUNBUFFERED": "1",
    }
