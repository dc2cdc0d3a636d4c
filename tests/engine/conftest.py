from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from adbc_driver_flightsql import DatabaseOptions, dbapi

from pondflight.engine.duck import open_database
from pondflight.engine.server import EngineServer
from tests.flight import Client

CREDENTIAL = "the worker's credential"

Connect = Callable[..., dbapi.Connection]
MakeClient = Callable[..., Client]


@pytest.fixture(name="engine")
def fixture_engine(tmp_path: Path) -> Iterator[EngineServer]:
    database = open_database(tmp_path, memory_limit=512 << 20, threads=2)
    server = EngineServer(
        "grpc://127.0.0.1:0",
        database=database,
        credential_sha256=hashlib.sha256(CREDENTIAL.encode()).hexdigest(),
        scratch=tmp_path,
    )
    yield server
    server.close()


@pytest.fixture(name="uri")
def fixture_uri(engine: EngineServer) -> str:
    return f"grpc://127.0.0.1:{engine.port}"


@pytest.fixture(name="connect")
def fixture_connect(uri: str) -> Connect:
    """An ADBC connection in a session of its own, as the proxy would give it."""

    def connect(session: str = "", **options: Any) -> dbapi.Connection:
        prefix = DatabaseOptions.RPC_CALL_HEADER_PREFIX.value
        return dbapi.connect(
            uri,
            db_kwargs={
                DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {CREDENTIAL}",
                f"{prefix}x-pondflight-session": session,
            },
            **options,
        )

    return connect


@pytest.fixture(name="make_client")
def fixture_make_client(uri: str) -> Iterator[MakeClient]:
    clients: list[Client] = []

    def make(session: str = "", **headers: str) -> Client:
        client = Client(uri, CREDENTIAL, x_pondflight_session=session, **headers)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture(name="client")
def fixture_client(make_client: MakeClient) -> Client:
    return make_client()
