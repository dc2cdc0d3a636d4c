"""Reverse proxies that terminate TLS: real Caddy, nginx and Traefik."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from integration.deployment import Deployment
from tests.certificates import Authority, Pair
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
NAME = "localhost"
_SECONDS = 30.0


class Front:
    """A reverse proxy on ``port`` with a certificate that ``authority`` signed."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.deployment = deployment
        self.folder = folder
        (self.port,) = free_ports(1)
        self.authority = Authority(folder)
        self.certificate = self.authority.issue(NAME, "127.0.0.1", file="server")
        self.log_file = folder / "front.log"
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Return the URI of Flight SQL."""
        return f"grpc+tls://{NAME}:{self.port}"

    @property
    def url(self) -> str:
        """Return the URL of HTTP."""
        return f"https://{NAME}:{self.port}"

    @property
    def ca(self) -> str:
        """Return the certificate that clients have to trust, in PEM."""
        return self.authority.cert.read_text()

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self._popen is not None
        return self._popen.pid

    def log(self) -> str:
        """Return everything that it wrote."""
        return self.log_file.read_text("utf-8", "replace")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self.log_file.open("ab") as log:
            self._popen = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline and self._popen.poll() is None:
            with contextlib.suppress(OSError):
                self.try_it()
                return
            time.sleep(0.05)
        self.stop()
        raise AssertionError(f"{self.command()[0]} did not start:\n{self.log()}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop it with a signal."""
        popen, self._popen = self._popen, None
        if popen is None:
            return
        with contextlib.suppress(ProcessLookupError):
            popen.send_signal(number)
        try:
            popen.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(popen.pid, signal.SIGKILL)
            popen.wait()

    def try_it(self) -> None:
        """Raise ``OSError`` while it is not ready."""
        socket.create_connection(("127.0.0.1", self.port), 5).close()

    def command(self) -> list[str]:
        """Return the command line."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return the environment."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder)}


class Caddy(Front):
    """Caddy, with one of the Caddyfiles of caddy/."""

    def __init__(
        self, deployment: Deployment, folder: Path, caddyfile: str = "Caddyfile", **environ: str
    ) -> None:
        super().__init__(deployment, folder)
        self._caddyfile = ROOT / "caddy" / caddyfile
        self._environ = environ

    def command(self) -> list[str]:
        """Return the command line of `caddy run`."""
        return [caddy(), "run", "--adapter", "caddyfile", "--config", str(self._caddyfile)]

    def environment(self) -> dict[str, str]:
        """Return the environment with all addresses."""
        deployment = self.deployment
        return {
            **super().environment(),
            "XDG_DATA_HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder),
            "PONDFLIGHT_HOST": NAME,
            "PONDFLIGHT_ALIASES": "127.0.0.1",
            "PONDFLIGHT_HTTPS_PORT": str(self.port),
            "PONDFLIGHT_CERTIFICATE": f"{self.certificate.cert} {self.certificate.key}",
            "PONDFLIGHT_HTTP": f"127.0.0.1:{deployment.http_port}",
            "PONDFLIGHT_FLIGHT": f"127.0.0.1:{deployment.flight_port}",
            "PONDFLIGHT_HEALTH": f"127.0.0.1:{deployment.health_port}",
            "PONDFLIGHT_CADDY_OPTIONS": "auto_https disable_redirects\nlocal_certs",
            **self._environ,
        }

    def reload(self) -> None:
        """Reload the configuration, and wait until that is done."""
        before = self.log().count("successfully reloaded config")
        os.kill(self.pid, signal.SIGUSR1)
        deadline = time.monotonic() + _SECONDS
        while self.log().count("successfully reloaded config") == before:
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)


class Nginx(Front):
    """Debian's nginx, with deploy/nginx/pondflight.conf."""

    def command(self) -> list[str]:
        """Return the command line of `nginx`, in the foreground, with its files in our folder."""
        text = (ROOT / "deploy" / "nginx" / "pondflight.conf").read_text()
        for old, new in {
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "proxy.example.com": NAME,
            "/etc/pondflight/tls/fullchain.pem": str(self.certificate.cert),
            "/etc/pondflight/tls/privkey.pem": str(self.certificate.key),
            "/var/log/nginx/pondflight.log": str(self.folder / "access.log"),
            "127.0.0.1:8080": f"127.0.0.1:{self.deployment.http_port}",
            "127.0.0.1:8081": f"127.0.0.1:{self.deployment.flight_port}",
            "127.0.0.1:8082": f"127.0.0.1:{self.deployment.health_port}",
        }.items():
            assert old in text
            text = text.replace(old, new)
        temporary = "\n".join(
            f"{kind}_temp_path {self.folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        path = self.folder / "nginx.conf"
        path.write_text(
            f"daemon off;\nmaster_process off;\npid {self.folder}/nginx.pid;\n"
            f"error_log stderr;\nevents {{}}\nhttp {{\n{temporary}\n{text}\n}}\n"
        )
        return ["/usr/sbin/nginx", "-e", "stderr", "-p", str(self.folder), "-c", str(path)]


class Traefik(Front):
    """Traefik, with deploy/traefik/."""

    def command(self) -> list[str]:
        """Return the command line of `traefik`, with its two files."""
        for name in ("traefik.yaml", "dynamic.yaml"):
            text = (ROOT / "deploy" / "traefik" / name).read_text()
            for old, new in {
                '":443"': f'"127.0.0.1:{self.port}"',
                "proxy.example.com": NAME,
                "/etc/pondflight/tls/fullchain.pem": str(self.certificate.cert),
                "/etc/pondflight/tls/privkey.pem": str(self.certificate.key),
                "127.0.0.1:8080": f"127.0.0.1:{self.deployment.http_port}",
                "127.0.0.1:8081": f"127.0.0.1:{self.deployment.flight_port}",
                "127.0.0.1:8082": f"127.0.0.1:{self.deployment.health_port}",
            }.items():
                text = text.replace(old, new)
            (self.folder / name).write_text(text)
        return [_beside("traefik"), "--configFile", str(self.folder / "traefik.yaml")]

    def try_it(self) -> None:
        """Raise ``OSError`` until it has its routes and its certificate; it listens earlier."""
        context = ssl.create_default_context(cafile=str(self.authority.cert))
        with urllib.request.urlopen(self.url + "/health", context=context, timeout=5):
            pass


def caddy() -> str:
    """Return Caddy's path."""
    return _beside("caddy")


def _beside(name: str) -> str:
    folders = [
        ROOT / ".venv-integration" / "bin",
        ROOT / ".venv" / "bin",
        Path(sys.executable).parent,
    ]
    found = shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ["PATH"]]))
    assert found is not None, f"{name} is not installed: make .venv-integration/integration.stamp"
    return found


__all__ = ["NAME", "ROOT", "Caddy", "Front", "Nginx", "Pair", "Traefik", "caddy"]
