"""The HTTP process, as ``serve`` sees it: started by exec, told its settings through a pipe.

The pipe stays open. When ``serve`` is gone, however it went, the pipe ends and so does the
HTTP process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

from pondflight.errors import ConfigError
from pondflight.web.configuration import Configuration

_START_SECONDS = 20.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.05

_VARIABLES = frozenset(
    """
    PATH HOME TMPDIR TZ LANG LANGUAGE VIRTUAL_ENV LD_LIBRARY_PATH SSL_CERT_FILE SSL_CERT_DIR
    REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
    """.split()  # noqa: SIM905 - as in a shell
)
_FAMILIES = ("LC_", "PYTHON", "ARROW_", "ACERO_", "MALLOC_", "GRPC_", "OTEL_")


class WebProcess:
    """The HTTP process: ``python -m pondflight.web``."""

    def __init__(self, configuration: Configuration) -> None:
        self._address = configuration.address
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-m", "pondflight.web"],
            stdin=subprocess.PIPE,
            env=_environment(),
            start_new_session=True,
        )
        assert self._popen.stdin is not None
        self._popen.stdin.write(configuration.to_json())
        self._popen.stdin.flush()

    @property
    def pid(self) -> int:
        """The process id of gunicorn's arbiter."""
        return self._popen.pid

    def alive(self) -> bool:
        """Return whether the process is running."""
        return self._popen.poll() is None

    def wait_until_listening(self) -> None:
        """Wait until the process accepts connections."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self.alive():
            with contextlib.suppress(OSError), socket.create_connection(self._address, 1):
                return
            time.sleep(_POLL_SECONDS)
        raise ConfigError([f"HTTP did not start on port {self._address[1]}: see the log above"])

    def close(self) -> None:
        """End it, by force if it takes more than 5 s."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(_STOP_SECONDS)
                break
        if self._popen.stdin is not None:
            self._popen.stdin.close()


def _environment() -> dict[str, str]:
    """What it needs, besides the pipe: any other variable may be the password of a database."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _VARIABLES
        or name.startswith(_FAMILIES)
        or name.upper().endswith("_PROXY")  # both spellings are in use
    }
    return kept | {"ARROW_DEFAULT_MEMORY_POOL": "system"}  # the proxy's is bounded
