"""docs/errors.md is what the code does, and what clients raise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import adbc_driver_manager
import pyarrow as pa
import pytest
from adbc_driver_flightsql import dbapi
from pyarrow import flight

from pondflight.errors import FlightStatus, PondflightError, Unauthenticated
from pondflight.flightsql import Call, FlightSqlServer, Handler, PreparedStatement
from pondflight.flightsql import commands as c
from pondflight.flightsql.calls import Anonymous
from pondflight.flightsql.reference import CLIENTS, leaves, page

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
BY_NAME = {kind.__name__: kind for kind in leaves()}


def failure(name: str) -> PondflightError:
    kind: Callable[..., PondflightError] = BY_NAME[name]
    return kind() if kind is Unauthenticated else kind(f"this is {name}")


class Failing(Handler[None]):
    """Raises the error that the SQL text names."""

    def get_flight_info_statement(
        self, call: Call[None], command: c.StatementQuery, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        raise failure(command.query)

    def create_prepared_statement(
        self, call: Call[None], request: c.CreatePreparedStatement
    ) -> PreparedStatement:
        raise failure(request.query)


@pytest.fixture(name="uri", scope="module")
def fixture_uri() -> Iterator[str]:
    server = FlightSqlServer("grpc://127.0.0.1:0", authenticator=Anonymous(), handler=Failing())
    yield f"grpc://127.0.0.1:{server.port}"
    server.close()


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `make reference`"


def test_every_status_has_its_row() -> None:
    assert set(CLIENTS) == set(FlightStatus)
    assert {kind.flight for kind in leaves()} == set(FlightStatus)


@pytest.mark.parametrize("name", BY_NAME)
def test_clients_raise_what_the_page_says(uri: str, name: str) -> None:
    seen = CLIENTS[BY_NAME[name].flight]
    text = failure(name).message
    in_pyarrow = getattr(pa, seen.pyarrow, None) or getattr(flight, seen.pyarrow)
    with flight.connect(uri) as client, pytest.raises(in_pyarrow) as caught:
        client.get_flight_info(flight.FlightDescriptor.for_command(name.encode()))
    assert type(caught.value) is in_pyarrow
    assert text in str(caught.value)
    assert "Traceback" not in str(caught.value)
    in_adbc = getattr(adbc_driver_manager, seen.adbc)
    with dbapi.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
        with pytest.raises(in_adbc) as refused:
            cursor.execute(name)
        assert type(refused.value) is in_adbc
        assert text in str(refused.value)
