"""The HTTP process as a child of ``serve``."""

from __future__ import annotations

import os
import socket

from pondflight.errors import ConfigError
from pondflight.serve.child import Child, environment
from pondflight.web.configuration import Configuration

_STOP_SECONDS = 5.0

_VARIABLES = frozenset(
    """
    PATH HOME TMPDIR TZ LANG LANGUAGE VIRTUAL_ENV LD_LIBRARY_PATH SSL_CERT_FILE SSL_CERT_DIR
    REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
    """.split()  # noqa: SIM905 - as in a shell
)
_FAMILIES = ("LC_", "PYTHON", "ARROW_", "ACERO_", "MALLOC_", "GRPC_", "OTEL_")


class WebProcess:
    """The HTTP process: ``python -m pondflight.web``. Its first line is its configuration."""

    def __init__(self, configuration: Configuration) -> None:
        self._address = configuration.address
        self._child = Child(
            ["pondflight.web"], environment=_environment(), order=configuration.to_json()
        )

    @property
    def pid(self) -> int:
        """Return the process id of gunicorn's arbiter."""
        return self._child.pid

    def alive(self) -> bool:
        """Return whether the process is running."""
        return self._child.alive()

    def wait_until_listening(self) -> None:
        """Wait until the process accepts connections."""
        if not self._child.wait_until(self._accepts):
            raise ConfigError([f"HTTP did not start on port {self._address[1]}: see the log above"])

    def close(self) -> None:
        """Stop it, by force if that takes more than 5 s."""
        self._child.stop(_STOP_SECONDS)

    def _accepts(self) -> bool:
        socket.create_connection(self._address, 1).close()
        return True


def _environment() -> dict[str, str]:
    """Return the variables that it needs; Arrow's pool has no limit here, unlike the proxy's."""
    names = [
        name
        for name in os.environ
        if name in _VARIABLES
        or name.startswith(_FAMILIES)
        or name.upper().endswith("_PROXY")  # both spellings are in use
    ]
    return environment(names, {"ARROW_DEFAULT_MEMORY_POOL": "system"})
