from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from adbc_driver_flightsql import dbapi
from pyarrow import flight

from tests.flightsql.memory_server import MemoryServer


@pytest.fixture(name="server")
def fixture_server() -> Iterator[MemoryServer]:
    server = MemoryServer()
    server.tables["numbers"] = pa.table({"n": [1, 2, 3]})
    yield server
    server.close()


@pytest.fixture(name="client")
def fixture_client(server: MemoryServer) -> Iterator[flight.FlightClient]:
    with flight.connect(server.uri) as client:
        yield client


@pytest.fixture(name="connection")
def fixture_connection(server: MemoryServer) -> Iterator[dbapi.Connection]:
    with dbapi.connect(server.uri, autocommit=True) as connection:
        yield connection
