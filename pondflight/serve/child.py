"""A child process: the HTTP server, Caddy, or a worker of the process backend.

It runs a module of ours in a process group of its own, so that Ctrl-C in a terminal reaches only
its parent, which ends its children in order. Its standard input is a lifeline (``lifeline.py``): no
child outlives its parent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

_START_SECONDS = 20.0
_POLL_SECONDS = 0.05


def environment(names: Iterable[str], more: Mapping[str, str]) -> dict[str, str]:
    """Return ``more``, and those of ``names`` that our own environment has.

    Never the whole environment: any other variable may be the password of a database.
    """
    return {name: os.environ[name] for name in names if name in os.environ} | dict(more)


class Child:
    """Runs ``python -m`` with ``arguments``; ``piped``: its output goes into pipes."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        order: bytes = b"",
        folder: Path | None = None,
        piped: bool = False,
    ) -> None:
        pipe = subprocess.PIPE if piped else None
        self._popen = subprocess.Popen(  # noqa: S603  our own program, our own arguments
            [sys.executable, "-P", "-m", *arguments],  # -P: nothing is imported from ``folder``
            stdin=subprocess.PIPE,
            stdout=pipe,
            stderr=pipe,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        with contextlib.suppress(BrokenPipeError):  # it has ended, which its parent will notice
            self._lifeline.write(order)
            self._lifeline.flush()

    @property
    def pid(self) -> int:
        """Return the process id, which is the id of its group as well."""
        return self._popen.pid

    @property
    def output(self) -> IO[bytes]:
        """Return its standard output, if it is piped."""
        assert self._popen.stdout is not None
        return self._popen.stdout

    @property
    def errors(self) -> IO[bytes]:
        """Return its standard error, if it is piped."""
        assert self._popen.stderr is not None
        return self._popen.stderr

    @property
    def code(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        return self._popen.poll()

    def alive(self) -> bool:
        """Return whether the process is running."""
        return self._popen.poll() is None

    def wait(self) -> int:
        """Wait for its end, and return the exit code."""
        return self._popen.wait()

    def wait_until(self, ready: Callable[[], bool]) -> bool:
        """Wait up to 20 s until ``ready``; return False if it never was, or if the child has ended.

        An ``OSError`` of ``ready`` means: not yet.
        """
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self.alive():
            with contextlib.suppress(OSError):
                if ready():
                    return True
            time.sleep(_POLL_SECONDS)
        return False

    def stop(self, seconds: float, *, by_signal: bool = True) -> None:
        """Stop it by SIGTERM or its lifeline; after ``seconds``, kill the whole group."""
        if by_signal:
            self.send(signal.SIGTERM)
        else:
            self._cut()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(seconds)
        self.send(signal.SIGKILL)
        self._popen.wait()
        self._cut()

    @property
    def _lifeline(self) -> IO[bytes]:
        assert self._popen.stdin is not None
        return self._popen.stdin

    def _cut(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._lifeline.close()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to its group, unless it has ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
