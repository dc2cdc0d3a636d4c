"""Workers without containers: what an engine would run, as processes of this machine.

Each gets an address of its own in 127.0.1.0/16 and listens there, on the port that all workers
have. A fake engine, or a real one whose nodes are missing, is told to start and end them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

_LISTEN = re.compile(r"^(--listen=grpc://)[^/]+(?=:\d+$)")
_addresses = itertools.count(1)


def address() -> str:
    """An address that no other worker of these tests has."""
    second, third = divmod(next(_addresses), 250)
    return f"127.0.{second + 1}.{third + 1}"


class StandIns:
    """Processes in place of containers, by the name that the engine knows each by."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self.started = 0

    def start(
        self, name: str, arguments: Sequence[str], at: str, on_exit: Callable[[int], None]
    ) -> None:
        """Start a worker; ``on_exit`` is given its exit code, 128 + n for signal n."""
        scratch = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))
        with self.log_of(name).open("wb") as log, self._lock:
            process = subprocess.Popen(
                [*(sys.executable, "-P", "-m", "pondflight"), *_here(arguments, at, scratch)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TMPDIR": str(scratch)},
                start_new_session=True,
            )
            self._processes[name] = process
            self.started += 1

        def wait() -> None:
            code = process.wait()
            shutil.rmtree(scratch, ignore_errors=True)
            on_exit(code if code >= 0 else 128 - code)

        threading.Thread(target=wait, daemon=True).start()

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def log_of(self, name: str) -> Path:
        """Where a worker writes to."""
        return self._folder / f"{name}.log"

    def kill(self, name: str) -> None:
        """Kill a worker, as the kernel would."""
        os.kill(self.pid(name), signal.SIGKILL)

    def speak(self, name: str, line: str) -> None:
        """Make it look as if the worker wrote a line."""
        with self.log_of(name).open("a") as log:
            log.write(line + "\n")

    def end(self, name: str) -> None:
        """End a worker and forget it; none there is fine."""
        with self._lock:
            process = self._processes.pop(name, None)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        """End all of them."""
        for name in list(self._processes):
            self.end(name)


def _here(given: Sequence[str], at: str, scratch: Path) -> list[str]:
    """The arguments of a container, as they are on a machine that is none."""
    found = [_LISTEN.sub(rf"\g<1>{at}", one) for one in given]
    return [f"--scratch={scratch}" if one.startswith("--scratch=") else one for one in found]
