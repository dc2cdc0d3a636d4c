"""A running pondflight: `pondflight serve` as an operator starts it, on free ports."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from adbc_driver_flightsql import DatabaseOptions, dbapi
from pyarrow import flight

from integration.tools import family
from pondflight.auth.tokens import Tokens
from pondflight.settings.schema import ROOT
from tests.ports import free_ports

_SETTINGS = {key.env.name for key in ROOT.leaves() if key.env is not None} | {"JWT_SECRET_FILE"}
"""Variables that go before the configuration, and must not come from whoever runs the tests."""

START_SECONDS = 60.0
STOP_SECONDS = 60.0
_POLL_SECONDS = 0.1


class Deployment:
    """A `pondflight serve` with the given configuration, and ports of its own.

    ``config`` has the keys of config.example.yaml, ``environ`` is added to the environment; both
    are complete before it starts. ``log()`` returns what it logs.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any] | None = None,
        environ: dict[str, str] | None = None,
    ) -> None:
        self.secret = secrets.token_urlsafe(32)
        self.tokens = Tokens(self.secret)
        self.http_port, self.flight_port, self.health_port = free_ports(3)
        self._folder = folder
        self._environ = environ or {}
        folder.mkdir(parents=True, exist_ok=True)
        config = dict(config or {})
        config["server"] = {"host": "127.0.0.1", **config.get("server", {})} | {
            "port": self.http_port,
            "grpc_port": self.flight_port,
            "health_port": self.health_port,
        }
        self.config_file = folder / "config.yaml"
        self.config_file.write_text(yaml.safe_dump(config), "utf-8")
        self.log_file = folder / "pondflight.log"
        self.process: subprocess.Popen[bytes] | None = None

    # -- addresses and tokens -----------------------------------------------------------------

    @property
    def flight_uri(self) -> str:
        """Return the URI of Flight SQL."""
        return f"grpc://127.0.0.1:{self.flight_port}"

    @property
    def http_url(self) -> str:
        """Return the URL of HTTP, without a slash at its end."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def health_address(self) -> str:
        """Return the address of grpc.health.v1."""
        return f"127.0.0.1:{self.health_port}"

    def token(self, sub: str = "ada", ttl: float = 3600, **claims: Any) -> str:
        """Return a token for the user ``sub``, valid for ``ttl`` seconds.

        Other arguments are claims.
        """
        return self.tokens.mint(sub, timedelta(seconds=ttl), **claims)

    def connect(self, sub: str = "ada", **options: Any) -> dbapi.Connection:
        """Return an ADBC connection of the user ``sub``; ``claims`` go into the token.

        Other arguments, such as ``autocommit=True``, go to ADBC.
        """
        token = self.token(sub, **options.pop("claims", {}))
        return dbapi.connect(
            self.flight_uri,
            db_kwargs={
                DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}",
                **options.pop("db_kwargs", {}),
            },
            **options,
        )

    def client(self) -> flight.FlightClient:
        """Return a pyarrow client, which has to send its token with each call."""
        return flight.FlightClient(self.flight_uri)

    def get(self, path: str) -> tuple[int, Any]:
        """Send a GET; return the status and the JSON."""
        try:
            with urllib.request.urlopen(self.http_url + path, timeout=10) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start, and wait until it is ready; the error contains the log if it is not."""
        assert self.process is None
        environ = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
        environ |= {"JWT_SECRET": self.secret, "WORKER_WARM": "0", **self._environ}
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*PROGRAM, "serve", "--config", str(self.config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                cwd=self._folder,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"pondflight did not start:\n{self.log()}")
            time.sleep(_POLL_SECONDS)

    def stop(self, number: int = signal.SIGTERM) -> int | None:
        """Send a signal, and return the exit code; kill it after a minute."""
        process, self.process = self.process, None
        if process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AssertionError(f"pondflight did not stop:\n{self.log()}") from None

    def family(self) -> list[int]:
        """Return its processes, the main one first."""
        return [] if self.process is None else family(self.process.pid)

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        return [pid for pid in self.family() if b"\0worker\0" in _command(pid)]

    def log(self) -> str:
        """Return all that it has logged, over all its starts."""
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    def _ready(self) -> bool:
        try:
            return self.get("/ready")[0] == 200
        except OSError:
            return False


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def _program() -> list[str]:
    """Return `pondflight` as users install it: from .venv, which has no client libraries."""
    installed = Path(__file__).parents[1] / ".venv" / "bin" / "pondflight"
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "pondflight"]


PROGRAM = _program()
