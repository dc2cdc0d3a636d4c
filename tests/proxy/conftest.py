from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from adbc_driver_flightsql import DatabaseOptions, dbapi

from pondflight.auth.tokens import Tokens
from pondflight.limits.rates import Counter
from pondflight.proxy.in_flight import CallLimits
from pondflight.proxy.rate_limits import Charges, Limits
from pondflight.proxy.server import ProxyServer
from pondflight.workers.backends.base import Backend
from pondflight.workers.backends.process import ProcessBackend
from pondflight.workers.policy import Shape
from pondflight.workers.pool import Pool, PoolSettings
from tests.flight import Client

NO_LIMITS = CallLimits()


class Deployment:
    """A proxy in this process; its workers are subprocesses, unless there is another backend."""

    def __init__(
        self,
        backend: Backend | None = None,
        secret: str | None = None,
        call_limits: CallLimits = NO_LIMITS,
        **settings: Any,
    ) -> None:
        self.secret = secret or secrets.token_urlsafe(32)
        self.tokens = Tokens(self.secret)
        self.backend: Backend = backend or ProcessBackend()
        defaults: dict[str, Any] = {
            "instance": "test",
            "secret": self.secret,
            "shape": lambda _: Shape(512 << 20, 1.0),
            "idle_timeout": 300.0,
            "max_workers": 10,
            "configuration": lambda _: {},
        }
        self.pool = Pool(self.backend, PoolSettings(**defaults | settings))
        plenty = Limits(100_000, 100_000)
        self.proxy = ProxyServer(
            "grpc://127.0.0.1:0",
            pool=self.pool,
            tokens=self.tokens,
            charges=Charges(Counter(), plenty, plenty),
            call_limits=call_limits,
        )
        self.uri = f"grpc://127.0.0.1:{self.proxy.port}"
        self._clients: list[Client] = []

    def token(self, sub: str, **claims: Any) -> str:
        return self.tokens.mint(sub, timedelta(hours=1), **claims)

    def connect(self, sub: str, **options: Any) -> dbapi.Connection:
        header = DatabaseOptions.AUTHORIZATION_HEADER.value
        return dbapi.connect(self.uri, db_kwargs={header: f"Bearer {self.token(sub)}"}, **options)

    def client(self, sub: str, **headers: str) -> Client:
        client = Client(self.uri, self.token(sub), **headers)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.proxy.close()
        self.pool.close()


MakeDeployment = Callable[..., Deployment]


@pytest.fixture(name="make_deployment")
def fixture_make_deployment() -> Iterator[MakeDeployment]:
    made: list[Deployment] = []

    def make(**settings: Any) -> Deployment:
        made.append(Deployment(**settings))
        return made[-1]

    yield make
    for deployment in made:
        deployment.close()


@pytest.fixture(name="shared", scope="module")
def fixture_shared() -> Iterator[Deployment]:
    """One deployment for the tests of a module: each uses users of its own."""
    deployment = Deployment()
    yield deployment
    deployment.close()


@pytest.fixture(name="user")
def fixture_user() -> str:
    """A user that nobody has seen before."""
    return f"user-{secrets.token_hex(4)}"
