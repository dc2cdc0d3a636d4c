"""The Docker API for the backend: every call has a time limit and a circuit breaker.

An engine that hangs must not hang the proxy. After three calls in a row without an answer, further
ones fail at once until an occasional probe succeeds.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import docker
import requests
from docker.errors import APIError, DockerException
from docker.tls import TLSConfig

from pondflight.workers.backends.base import BackendUnreachable
from pondflight.workers.circuit import Circuit

T = TypeVar("T")

CALL_SECONDS = 10.0
_CONNECTIONS = 32


class DockerApi:
    """A connection to a Docker engine, made when it is first needed.

    ``host`` is ``unix:///path`` or ``tcp://host:port``. With DOCKER_TLS_VERIFY in ``environ``, the
    certificates are those in DOCKER_CERT_PATH, as for Docker's own client.
    """

    def __init__(
        self,
        host: str,
        *,
        timeout: float = CALL_SECONDS,
        environ: Mapping[str, str] = os.environ,
        circuit: Circuit | None = None,
    ) -> None:
        self.host = host
        self._timeout = timeout
        self._environ = environ
        self._circuit = circuit or Circuit()
        self._lock = threading.Lock()
        self._client: docker.APIClient | None = None

    @property
    def reachable(self) -> bool:
        """Return whether calls succeed, as far as is known."""
        return self._circuit.closed

    def call(self, function: Callable[[Any], T]) -> T:
        """Call ``function`` with a ``docker.APIClient`` (half of whose methods have no types).

        Raises ``BackendUnreachable`` if the engine does not answer, and ``APIError`` if it answers
        with an error.
        """
        try:
            with self._circuit.call(f"the Docker engine at {self.host}", answers=(APIError,)):
                return function(self._connected())
        except APIError as error:
            if error.status_code == requests.codes.forbidden:
                raise BackendUnreachable(
                    f"a proxy in front of the Docker engine at {self.host} refuses a call that is "
                    f"needed: {_path(error)} (docs/deployment.md lists all of them)"
                ) from error
            raise
        except (requests.RequestException, DockerException, OSError) as error:
            raise BackendUnreachable(self._why(error)) from error

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _connected(self) -> docker.APIClient:
        with self._lock:
            client = self._client
        if client is not None:
            return client
        # "auto" asks the engine for its version. This is done outside of the lock, so that several
        # callers wait for a hanging engine at the same time.
        made = _DirectClient(
            base_url=self.host,
            version="auto",
            timeout=self._timeout,  # type: ignore[arg-type]  # seconds, fractions allowed
            tls=self._tls(),
            max_pool_size=_CONNECTIONS,
        )
        with self._lock:
            if self._client is None:
                self._client = made
            else:
                made.close()
            return self._client

    def _tls(self) -> TLSConfig | bool:
        if not self._environ.get("DOCKER_TLS_VERIFY"):
            return False
        folder = Path(self._environ.get("DOCKER_CERT_PATH") or "~/.docker").expanduser()
        return TLSConfig(
            client_cert=(str(folder / "cert.pem"), str(folder / "key.pem")),
            ca_cert=str(folder / "ca.pem"),
            verify=True,
        )

    def _why(self, error: BaseException) -> str:
        """Return why it does not answer, in plain words, for operators."""
        if isinstance(error, requests.Timeout) or "timed out" in str(error).lower():
            return f"the Docker engine at {self.host} did not answer within {self._timeout:g} s"
        url = urlsplit(self.host)
        if url.scheme == "unix":
            return self._why_not_through(Path(url.path))
        return f"the Docker engine at {self.host} cannot be reached"

    def _why_not_through(self, socket: Path) -> str:
        try:
            mode = socket.stat().st_mode
        except FileNotFoundError:
            return f"there is no Docker socket at {socket}: is Docker installed and running?"
        except OSError as error:
            return f"the Docker socket {socket} cannot be reached: {error.strerror}"
        if not stat.S_ISSOCK(mode):
            return f"{socket} is not a socket"
        if not os.access(socket, os.R_OK | os.W_OK):
            return (
                f"the Docker socket {socket} may not be used by this user (id {os.getuid()}): run "
                "pondflight in the socket's group"
            )
        return f"nothing answers at the Docker socket {socket}: is the Docker daemon running?"


class _DirectClient(docker.APIClient):
    """A client that never uses a forward proxy of the environment, not even while it is created."""

    @property
    def trust_env(self) -> bool:
        """Return False: ``requests`` must not take proxies from the environment."""
        return False

    @trust_env.setter
    def trust_env(self, value: bool) -> None:
        pass


def _path(error: APIError) -> str:
    request = getattr(error.response, "request", None)
    method = str(getattr(request, "method", ""))
    path = urlsplit(str(getattr(request, "url", ""))).path
    return f"{method} {path}".strip() or "unknown"
