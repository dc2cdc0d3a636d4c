"""Workers as subprocesses: for a laptop, and for tests.

A worker has a process group of its own, so that Ctrl-C in a terminal reaches only the proxy,
which ends its workers in order. It holds one end of a pipe; when the proxy is gone, however it
went, the pipe ends and so does the worker. None outlives the proxy, so there is nothing to adopt.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import IO

from pondflight.workers.backends.base import (
    ExitCallback,
    StartFailed,
    WorkerHandle,
    WorkerSpec,
)

_LOG_LINES = 20
_LINE_LIMIT = 4096
_STOP_SECONDS = 5.0


class ProcessBackend:
    """Runs ``pondflight worker`` on this machine.

    ``storage`` is the directory for what outlives workers: a subdirectory for each.
    """

    name = "process"

    def __init__(self, storage: Path | None = None) -> None:
        self._storage = storage
        self._root = Path(tempfile.mkdtemp(prefix="pondflight-"))
        self._lock = threading.Lock()
        self._running: dict[str, _Process] = {}
        self._on_exit: ExitCallback = lambda _handle, _code: None

    def on_exit(self, callback: ExitCallback) -> None:
        """Whom to tell when a worker ends unasked."""
        self._on_exit = callback

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        """Start a process and wait until it says where it listens."""
        storage = self._storage / spec.storage if self._storage and spec.storage else None
        process = _Process(spec, self._root / spec.name, storage)
        handle = process.handle()
        with self._lock:
            self._running[handle.id] = process
        threading.Thread(target=self._wait, args=(handle, process), daemon=True).start()
        return handle

    def stop(self, handle: WorkerHandle) -> None:
        """End the process, by force if it takes more than 5 s."""
        with self._lock:
            process = self._running.pop(handle.id, None)
        if process is not None:
            process.stop()

    def list_workers(self) -> list[WorkerHandle]:
        """The processes that this backend started and that still run."""
        with self._lock:
            return [p.handle() for p in self._running.values() if p.alive()]

    def logs(self, handle: WorkerHandle) -> list[str]:
        """The last lines of the worker's standard error."""
        with self._lock:
            process = self._running.get(handle.id)
        return list(process.log) if process else []

    def alive(self, handle: WorkerHandle) -> bool:
        """Whether the process runs."""
        with self._lock:
            process = self._running.get(handle.id)
        return process is not None and process.alive()

    def close(self) -> None:
        """End all processes, side by side."""
        with self._lock:
            processes, self._running = list(self._running.values()), {}
        threads = [threading.Thread(target=process.stop) for process in processes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        shutil.rmtree(self._root, ignore_errors=True)

    def _wait(self, handle: WorkerHandle, process: _Process) -> None:
        code = process.wait()
        with self._lock:
            unasked = self._running.pop(handle.id, None) is not None
        if unasked:
            process.clean()
            self._on_exit(handle, code)


class _Process:
    """One worker process."""

    def __init__(self, spec: WorkerSpec, scratch: Path, storage: Path | None) -> None:
        self._spec = spec
        self._scratch = scratch
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._popen = subprocess.Popen(  # noqa: S603  our own program, our own arguments
            [
                sys.executable,
                "-m",
                "pondflight",
                "worker",
                f"--credential-sha256={spec.credential_sha256}",
                f"--memory-limit={spec.memory_limit}",
                f"--threads={max(1, math.ceil(spec.cpu_limit))}",
                f"--scratch={scratch}",
                *([f"--storage={storage}"] if storage else []),
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
        line = self._popen.stdout.readline(_LINE_LIMIT)
        try:
            self._port = int(json.loads(line)["port"])
        except (ValueError, KeyError):
            self.stop()
            raise StartFailed(
                f"the worker process ended with exit code {self._popen.returncode}", list(self.log)
            ) from None

    def handle(self) -> WorkerHandle:
        return WorkerHandle(
            id=str(self._popen.pid),
            name=self._spec.name,
            user=self._spec.user,
            generation=self._spec.generation,
            location=f"grpc://127.0.0.1:{self._port}",
        )

    def alive(self) -> bool:
        return self._popen.poll() is None

    def wait(self) -> int:
        return self._popen.wait()

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
        try:
            while line := pipe.readline(_LINE_LIMIT):
                text = line.decode("utf-8", "replace").rstrip("\n")
                self.log.append(text)
                sys.stderr.write(text + "\n")
        except (OSError, ValueError):
            pass  # the pipe was closed, or standard error is gone


def _environment(scratch: Path) -> dict[str, str]:
    """Only what a worker needs: the proxy's own environment holds secrets."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")
        if name in os.environ
    }
    return kept | {
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "MALLOC_ARENA_MAX": "2",
        "PYTHONUNBUFFERED": "1",
    }
