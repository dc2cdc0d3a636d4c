"""The proxy with real workers, and the HTTP process in front of it, for tests."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pondflight.auth.tokens import Tokens
from pondflight.limits.rates import Counter
from pondflight.proxy.databases import Databases
from pondflight.proxy.rate_limits import Charges, Limits
from pondflight.proxy.server import ProxyServer
from pondflight.web.configuration import Configuration
from pondflight.web.process import WebProcess
from pondflight.workers.backends.process import ProcessBackend
from pondflight.workers.policy import Shape
from pondflight.workers.pool import Pool, PoolSettings
from tests.flight import Client
from tests.ports import free_ports

SECRET = "kW8rX2vN5qT9zL4mB7cJ1hG6fD3sA0pY"
PLENTY = Limits(100_000, 100_000)


@dataclass
class Answer:
    """What HTTP answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


@dataclass
class Stack:
    """All parts of one deployment but the command line. To be closed."""

    limits: Limits = PLENTY
    demo_limits: Limits = PLENTY
    demo_seconds: float | None = None
    databases: Databases = field(default_factory=lambda: Databases(()))
    web: Mapping[str, Any] = field(default_factory=dict)
    counters: str = "memory"
    tracing: str = ""
    configuration: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokens = Tokens(SECRET)
        self.pool = Pool(
            ProcessBackend(),
            PoolSettings(
                instance="test",
                secret=SECRET,
                shape=lambda user: Shape((256 if user and user.demo else 512) << 20, 1.0),
                idle_timeout=300.0,
                max_workers=10,
                configuration=lambda _: {
                    "tracing": {"endpoint": self.tracing},
                    **self.configuration,
                },
            ),
        )
        self.proxy = ProxyServer(
            "grpc://127.0.0.1:0",
            pool=self.pool,
            tokens=self.tokens,
            charges=Charges(Counter(self.counters), self.limits, self.demo_limits),
            databases=self.databases,
            demo_seconds=self.demo_seconds,
        )
        self.flight_uri = f"grpc://127.0.0.1:{self.proxy.port}"
        (self.port,) = free_ports(1)
        self.process = WebProcess(
            Configuration(
                bind=f"127.0.0.1:{self.port}", proxy=self.flight_uri, secret=SECRET, **self.web
            )
        )
        self.process.wait_until_listening()

    def close(self) -> None:
        self.process.close()
        for call in self.proxy.calls.running():
            call.cancel()
        self.proxy.close()
        self.pool.close()

    def token(self, sub: str, **flags: Any) -> str:
        return self.tokens.mint(sub, timedelta(hours=1), **flags)

    def flight(self, sub: str, **flags: Any) -> Client:
        return Client(self.flight_uri, self.token(sub, **flags))

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def request(
        self, method: str, path: str, body: bytes | str | None = None, **headers: str
    ) -> Answer:
        connection = self.connect()
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            data = body.encode() if isinstance(body, str) else body
            connection.request(method, path, data, named)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def query(self, sub: str, body: bytes | str | dict[str, Any], **headers: str) -> Answer:
        headers = {"authorization": f"Bearer {self.token(sub)}"} | headers
        if isinstance(body, dict):
            body, headers = json.dumps(body), {"content_type": "application/json"} | headers
        headers.setdefault("content_type", "application/sql")
        return self.request("POST", "/query", body, **headers)

    def raw(self, data: bytes, *, shut: bool = False) -> bytes:
        """Send bytes as they are; all that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as sock:
            sock.sendall(data)
            if shut:
                sock.shutdown(socket.SHUT_WR)
            received = b""
            while piece := sock.recv(65536):
                received += piece
            return received
