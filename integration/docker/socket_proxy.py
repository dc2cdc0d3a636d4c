"""A Docker socket proxy that allows only the calls that docs/deployment.md lists.

It stands for the socket proxies that people put in front of Docker. It reads the list from the
documentation, so that the documentation cannot forget a call.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from integration.docker.engine import ROOT, Engine

_ROW = re.compile(r"^\| (GET|POST|DELETE|HEAD) \| `(/\S*)` \|", re.MULTILINE)


def allowed() -> list[tuple[str, re.Pattern[str]]]:
    """Return the allowed methods and paths."""
    text = (ROOT / "docs" / "deployment.md").read_text()
    table = text.split("<!-- docker-calls")[1].split("\n\nWith ")[0]
    rows = [
        (method, re.compile("(?:/v[0-9.]+)?" + re.sub(r"\\\{\w+\\\}", "[^?]+?", re.escape(path))))
        for method, path in _ROW.findall(table)
    ]
    assert rows, "docs/deployment.md has no table of calls"
    return rows


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


@contextmanager
def socket_proxy(engine: Engine, host: str = "127.0.0.1") -> Iterator[SocketProxy]:
    """Run the proxy on a free port of ``host``."""
    proxy = SocketProxy(engine, host)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


class SocketProxy(ThreadingHTTPServer):
    """The proxy: ``seen`` has the allowed calls, ``refused`` the others; each takes ``delay`` s."""

    daemon_threads = True

    def __init__(self, engine: Engine, host: str) -> None:
        super().__init__((host, 0), _Handler)
        self.engine = engine
        self.rules = allowed()
        self.seen: set[int] = set()
        self.refused: list[str] = []
        self.delay = 0.0

    @property
    def url(self) -> str:
        return f"tcp://{self.server_address[0]!s}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SocketProxy

    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.split("?")[0]
        rule = next(
            (
                number
                for number, (method, pattern) in enumerate(self.server.rules)
                if method == self.command and pattern.fullmatch(path)
            ),
            None,
        )
        if rule is None:
            self.server.refused.append(f"{self.command} {self.path}")
            self._answer(403, b'{"message":"forbidden"}')
            return
        self.server.seen.add(rule)
        time.sleep(self.server.delay)
        upstream = _Connection(self.server.engine.socket)
        headers = {k: v for k, v in self.headers.items() if k.lower() == "content-type"}
        upstream.request(self.command, self.path, body or None, headers)
        response = upstream.getresponse()
        self._answer(response.status, response.read(), response.getheader("Content-Type"))
        upstream.close()

    do_GET = do_POST = do_DELETE = do_HEAD = do_PUT = _relay  # noqa: N815

    def _answer(self, status: int, body: bytes, kind: str | None = "application/json") -> None:
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        if status != http.client.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != http.client.NO_CONTENT:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass
