"""Session options: get and set."""

from __future__ import annotations

from typing import Any

import pytest

from pondflight.engine.execution.sessions import SessionLimits
from pondflight.engine.server import EngineServer
from pondflight.flightsql import wire
from pondflight.flightsql.commands import SessionOptionError
from tests.engine.conftest import MakeClient
from tests.flight import Client


def set_options(client: Client, **options: Any) -> dict[str, SessionOptionError]:
    request = wire.new("SetSessionOptionsRequest")
    for name, value in options.items():
        entry = request.session_options[name]
        match value:
            case None:
                entry.SetInParent()
            case bool():
                entry.bool_value = value
            case int():
                entry.int64_value = value
            case float():
                entry.double_value = value
            case list():
                entry.string_list_value.values.extend(value)
            case _:
                entry.string_value = value
    (answer,) = client.act("SetSessionOptions", request.SerializeToString())
    errors = wire.message_class("SetSessionOptionsResult").FromString(answer).errors
    return {name: SessionOptionError(error.value) for name, error in errors.items()}


def get_options(client: Client) -> dict[str, Any]:
    (answer,) = client.act("GetSessionOptions")
    options = wire.message_class("GetSessionOptionsResult").FromString(answer).session_options
    return {name: getattr(o, o.WhichOneof("option_value")) for name, o in options.items()}


@pytest.fixture(name="filled")
def fixture_filled(make_client: MakeClient) -> Client:
    client = make_client("session-one")
    client.info('CREATE SCHEMA work; CREATE SCHEMA "odd ""name"; ATTACH \':memory:\' AS more')
    client.info("CREATE SCHEMA more.inside")
    return client


def test_catalog_and_schema(filled: Client, make_client: MakeClient) -> None:
    assert get_options(filled)["catalog"] == "memory"
    for options, expected in (
        ({"schema": "work"}, ("memory", "work")),
        ({"catalog": "more"}, ("more", "main")),
        ({"schema": "inside"}, ("more", "inside")),
        ({"schema": 'odd "name', "catalog": "memory"}, ("memory", 'odd "name')),
        ({"schema": None}, ("memory", "main")),
        ({"schema": "work", "catalog": None}, ("memory", "work")),
    ):
        assert set_options(filled, **options) == {}
        assert filled.rows("SELECT current_database(), current_schema()") == [expected]
        found = get_options(filled)
        assert (found["catalog"], found["schema"]) == expected
    assert get_options(make_client("session-two"))["schema"] == "main"


def test_settings_of_duckdb_of_every_type(filled: Client) -> None:
    assert (
        set_options(
            filled,
            TimeZone="Europe/Paris",
            enable_progress_bar=True,
            progress_bar_time=5,
            streaming_buffer_size="1MB",
        )
        == {}
    )
    found = get_options(filled)
    assert found["TimeZone"] == "Europe/Paris"
    assert found["enable_progress_bar"] is True
    assert found["progress_bar_time"] == 5
    assert set_options(filled, TimeZone=None) == {}
    assert filled.rows("SELECT current_setting('TimeZone') IN ('UTC', 'Etc/UTC')") == [(True,)]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"catalog": "nope"}, SessionOptionError.INVALID_VALUE),
        ({"catalog": 1}, SessionOptionError.INVALID_VALUE),
        ({"catalog": "system"}, SessionOptionError.INVALID_VALUE),
        ({"schema": "nope"}, SessionOptionError.INVALID_VALUE),
        ({"schema": ["work"]}, SessionOptionError.INVALID_VALUE),
        ({"TimeZone": "Nowhere"}, SessionOptionError.INVALID_VALUE),
        ({"no such thing": "x"}, SessionOptionError.INVALID_NAME),
        ({'threads" = 1; DROP SCHEMA work; --': 1}, SessionOptionError.INVALID_NAME),
        ({"statement_timeout": "soon"}, SessionOptionError.INVALID_VALUE),
        ({"statement_timeout": 2.5}, SessionOptionError.INVALID_VALUE),
        ({"statement_timeout": 60_001}, SessionOptionError.INVALID_VALUE),
    ],
)
def test_what_cannot_be_set_is_named_with_its_reason_and_the_rest_is_set(
    engine: EngineServer, filled: Client, options: dict[str, Any], error: SessionOptionError
) -> None:
    engine._sessions.limits = SessionLimits(statement_timeout=60)
    assert set_options(filled, **options, Calendar="gregorian") == dict.fromkeys(options, error)
    assert get_options(filled)["Calendar"] == "gregorian"


def test_the_statement_timeout_is_an_option(engine: EngineServer, filled: Client) -> None:
    assert get_options(filled)["statement_timeout"] == 0
    engine._sessions.limits = SessionLimits(statement_timeout=60)
    assert get_options(filled)["statement_timeout"] == 60_000
    for value, expected in ((500, 500), ("2s", 2_000), ("750", 750), (None, 60_000), (0, 60_000)):
        assert set_options(filled, statement_timeout=value) == {}
        assert get_options(filled)["statement_timeout"] == expected


def test_options_end_with_the_session(filled: Client) -> None:
    set_options(filled, schema="work", statement_timeout=500)
    filled.act("CloseSession")
    found = get_options(filled)
    assert (found["schema"], found["statement_timeout"]) == ("main", 0)
