"""Caddy as a child process of ``serve``, with a directory that is removed with it.

Caddy itself knows neither a lifeline nor logfmt, so a small process of ours (``python -m
pondflight.caddy``) runs it and holds the pipe from ``serve``.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import sys
import tempfile
from pathlib import Path

from pondflight.addresses import joined, reachable
from pondflight.errors import ConfigError
from pondflight.serve.child import Child, environment
from pondflight.settings import Settings

_STOP_SECONDS = 10.0
_ROOT = Path("pki/authorities/local/root.crt")


def find() -> str | None:
    """Return the path of Caddy: beside this Python, or else on the PATH; None if there is none."""
    beside = str(Path(sys.executable).parent)
    return shutil.which("caddy", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))


def behind(settings: Settings) -> Settings:
    """Return settings with which HTTP trusts Caddy's headers and answers to Caddy's name."""
    server = settings.server
    proxies = (*server.trusted_proxies, "127.0.0.1", "::1")
    hosts = (*server.allowed_hosts, settings.caddy.host.lower())
    update = {"trusted_proxies": proxies, "allowed_hosts": hosts}
    return settings.model_copy(update={"server": server.model_copy(update=update)})


class CaddyProcess:
    """TLS in front of all three ports, with a certificate authority created for this run.

    ``ca`` is the file with the authority's certificate, which clients have to trust.
    """

    def __init__(self, settings: Settings, program: str) -> None:
        if settings.server.tls.cert is not None:
            raise ConfigError(["server.tls: Caddy has the TLS where there is one; unset it"])
        self._settings = settings
        self._folder = Path(tempfile.mkdtemp(prefix="pondflight-caddy-"))
        name = settings.caddy.host
        self._certificate = self._folder / "certificates" / "local" / name / f"{name}.crt"
        self.ca = self._folder / "ca.pem"
        order = {
            "command": [program, "run", "--adapter", "caddyfile", "--config", str(_caddyfile())],
            "folder": str(self._folder),
        }
        self._child = Child(
            ["pondflight.caddy"],
            environment=_environment(settings, self._folder),
            order=json.dumps(order).encode() + b"\n",
        )

    def alive(self) -> bool:
        """Return whether the process is running."""
        return self._child.alive()

    def wait_until_listening(self) -> None:
        """Wait until a TLS handshake succeeds that trusts only ``ca``."""
        if not self._child.wait_until(self._answers):
            port = self._settings.caddy.port
            raise ConfigError([f"Caddy did not start on port {port}: see the log above"])

    def close(self) -> None:
        """Stop it, by force if that takes more than 10 s, and remove its files."""
        self._child.stop(_STOP_SECONDS, by_signal=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        if not self._certificate.exists():
            return False
        shutil.copyfile(self._folder / _ROOT, self.ca)
        self._handshake()
        return True

    def _handshake(self) -> None:
        context = ssl.create_default_context(cafile=str(self.ca))
        address = (reachable(self._settings.server.host), self._settings.caddy.port)
        with (
            socket.create_connection(address, 1) as connection,
            context.wrap_socket(connection, server_hostname=self._settings.caddy.host),
        ):
            pass


def _caddyfile() -> Path:
    """Return the installed package's Caddyfile, or that of the checkout."""
    installed = Path(__file__).parent / "files" / "Caddyfile"
    return installed if installed.exists() else Path(__file__).parents[2] / "caddy" / "Caddyfile"


def _environment(settings: Settings, folder: Path) -> dict[str, str]:
    """Return the variables that the Caddyfile needs; of our own environment, almost nothing."""
    server, caddy = settings.server, settings.caddy
    host = reachable(server.host)
    options = [
        "auto_https disable_redirects",
        "local_certs",
        f'storage file_system "{folder}"',
        *([f"default_bind {server.host}"] if host == server.host else []),
    ]
    kept = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR")
    own = {
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "PONDFLIGHT_HOST": caddy.host,
        "PONDFLIGHT_ALIASES": "127.0.0.1",
        "PONDFLIGHT_HTTPS_PORT": str(caddy.port),
        "PONDFLIGHT_HTTP": joined(host, server.port),
        "PONDFLIGHT_FLIGHT": joined(host, server.grpc_port),
        "PONDFLIGHT_HEALTH": joined(host, server.health_port),
        "PONDFLIGHT_GRACE_PERIOD": "5s",
        "PONDFLIGHT_CADDY_OPTIONS": "\n".join(options),
    }
    return environment(kept, own)
