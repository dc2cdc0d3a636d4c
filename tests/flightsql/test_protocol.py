"""The layer, message by message, and what comes of messages that are none."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import flight

from pondflight.errors import InvalidArgument, NotSupported
from pondflight.flightsql import FlightSqlServer, decoding, wire
from pondflight.flightsql import commands as c
from pondflight.flightsql.calls import Anonymous
from tests.flightsql.memory_server import MemoryServer


def info(client: flight.FlightClient, command: bytes) -> flight.FlightInfo:
    return client.get_flight_info(flight.FlightDescriptor.for_command(command))


def rows(client: flight.FlightClient, command: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        client.do_get(info(client, command).endpoints[0].ticket).read_all().to_pylist()
    )
    return found


def act(client: flight.FlightClient, kind: str, body: bytes) -> list[bytes]:
    return [r.body.to_pybytes() for r in client.do_action(flight.Action(kind, body))]


def test_plain_sql_text_is_a_command(client: flight.FlightClient) -> None:
    assert rows(client, b"SELECT numbers") == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_get_schema_of_statements_and_metadata(client: flight.FlightClient) -> None:
    def schema(command: bytes) -> pa.Schema:
        return client.get_schema(flight.FlightDescriptor.for_command(command)).schema

    assert schema(b"SELECT numbers") == pa.schema([("n", pa.int64())])
    with_schema = wire.pack(wire.new("CommandGetTables", include_schema=True))
    assert schema(with_schema).names[-1] == "table_schema"
    assert not schema(with_schema).field("table_schema").nullable


def test_flight_actions_have_bare_bodies(server: MemoryServer, client: flight.FlightClient) -> None:
    found = info(client, b"SELECT numbers")
    request = wire.new("CancelFlightInfoRequest")
    request.info.ParseFromString(found.serialize())
    (answer,) = act(client, "CancelFlightInfo", request.SerializeToString())
    assert wire.message_class("CancelFlightInfoResult").FromString(answer).status == 1
    assert server.cancelled == [(found.endpoints[0].ticket.ticket,)]

    request = wire.new("RenewFlightEndpointRequest")
    request.endpoint.ticket.ticket = b"t"
    (answer,) = act(client, "RenewFlightEndpoint", request.SerializeToString())
    assert wire.message_class("FlightEndpoint").FromString(answer).ticket.ticket == b"t"


def test_the_deprecated_cancel_carries_a_serialised_info(
    server: MemoryServer, client: flight.FlightClient
) -> None:
    found = info(client, b"SELECT numbers")
    body = wire.pack(wire.new("ActionCancelQueryRequest", info=found.serialize()))
    (answer,) = act(client, "CancelQuery", body)
    wrapper = wire.message_class(wire.ANY).FromString(answer)
    assert wire.message_class("ActionCancelQueryResult").FromString(wrapper.value).result == 1
    assert server.cancelled == [(found.endpoints[0].ticket.ticket,)]


def test_session_options_of_every_type_go_in_and_out(client: flight.FlightClient) -> None:
    request = wire.new("SetSessionOptionsRequest")
    request.session_options["text"].string_value = "a"
    request.session_options["flag"].bool_value = False
    request.session_options["whole"].int64_value = -3
    request.session_options["real"].double_value = 2.5
    request.session_options["list"].string_list_value.values.extend(["x", "y"])
    request.session_options["bad"].string_value = "?"
    (answer,) = act(client, "SetSessionOptions", request.SerializeToString())
    errors = wire.message_class("SetSessionOptionsResult").FromString(answer).errors
    assert {name: error.value for name, error in errors.items()} == {
        "bad": c.SessionOptionError.INVALID_NAME
    }
    (answer,) = act(client, "GetSessionOptions", b"")
    options = wire.message_class("GetSessionOptionsResult").FromString(answer).session_options
    assert options["text"].string_value == "a"
    assert options["flag"].WhichOneof("option_value") == "bool_value"
    assert options["whole"].int64_value == -3
    assert options["real"].double_value == 2.5
    assert list(options["list"].string_list_value.values) == ["x", "y"]


def test_list_actions_names_every_action(client: flight.FlightClient) -> None:
    assert {action.type for action in client.list_actions()} == set(c.ACTIONS)


def test_list_flights_is_empty(client: flight.FlightClient) -> None:
    assert list(client.list_flights()) == []


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (b"\xff\xfe", "neither a Flight SQL message nor SQL text"),
        (b"SELECT 'a\0b'", "control character '.x00' at position 9"),
        (b"\n\x20type.googleapis.com/x", "malformed command"),
        (wire.pack(wire.new("CommandGetTables", catalog="abc"))[:-1], "malformed command"),
        (wire.pack(wire.new("FlightInfo")), "expected a message of arrow.flight.protocol.sql"),
        (wire.pack(wire.new("ActionBeginTransactionRequest")), "not a command"),
        (wire.pack(wire.new("CommandStatementUpdate")), "use DoPut"),
        (b"x" * (decoding.MAX_REQUEST + 1), "the limit is 16,777,216 bytes"),
    ],
)
def test_what_is_no_command_is_an_invalid_argument(
    client: flight.FlightClient, command: bytes, text: str
) -> None:
    for call in (info, lambda c, b: c.get_schema(flight.FlightDescriptor.for_command(b))):
        with pytest.raises(pa.ArrowInvalid, match=text) as caught:
            call(client, command)
        assert "Traceback" not in str(caught.value)
    assert rows(client, b"SELECT numbers")


@pytest.mark.parametrize(
    "ticket", [b"", b"x" * 10_000_000, wire.pack(wire.new("CommandStatementQuery", query="a"))]
)
def test_what_is_no_ticket_is_an_invalid_argument(
    client: flight.FlightClient, ticket: bytes
) -> None:
    with pytest.raises(pa.ArrowInvalid, match="ticket"):
        client.do_get(flight.Ticket(ticket)).read_all()


def test_a_path_descriptor_is_an_invalid_argument(client: flight.FlightClient) -> None:
    with pytest.raises(pa.ArrowInvalid, match="no command"):
        client.get_flight_info(flight.FlightDescriptor.for_path("a", "b"))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("NoSuchAction", b""),
        ("BeginSavepoint", wire.pack(wire.new("ActionBeginSavepointRequest", name="s"))),
        (
            "CreatePreparedSubstraitPlan",
            wire.pack(wire.new("ActionCreatePreparedSubstraitPlanRequest")),
        ),
    ],
)
def test_what_is_not_offered_is_not_implemented(
    client: flight.FlightClient, kind: str, body: bytes
) -> None:
    with pytest.raises(pa.ArrowNotImplementedError):
        act(client, kind, body)


def test_an_unknown_end_of_a_transaction_is_an_invalid_argument(
    client: flight.FlightClient,
) -> None:
    body = wire.pack(wire.new("ActionEndTransactionRequest", transaction_id=b"x", action=7))
    with pytest.raises(pa.ArrowInvalid, match="EndTransactionAction 7: expected one of"):
        act(client, "EndTransaction", body)


def test_a_bare_server_implements_nothing() -> None:
    server = FlightSqlServer("grpc://127.0.0.1:0", authenticator=Anonymous())
    try:
        with flight.connect(f"grpc://127.0.0.1:{server.port}") as client:
            for name in ("CommandGetTables", "CommandStatementQuery", "CommandGetSqlInfo"):
                with pytest.raises(pa.ArrowNotImplementedError, match=name):
                    info(client, wire.pack(wire.new(name)))
    finally:
        server.close()


def test_an_unexpected_exception_is_logged_in_full_and_sent_as_a_reference(
    client: flight.FlightClient, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(flight.FlightInternalError, match="internal error, reference") as caught,
    ):
        info(client, b"CRASH")
    reference = str(caught.value).split("reference ")[1][:8]
    assert reference in caplog.text
    assert "a secret in /etc/passwd" in caplog.text


def _decode(decode: Callable[..., object], *arguments: object) -> None:
    """Decoding gives a request, or a leaf that blames the caller; any other error fails."""
    with contextlib.suppress(InvalidArgument, NotSupported):
        assert decode(*arguments) is not None


names = st.sampled_from(sorted(wire._CLASSES))


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    _decode(decoding.decode_command, data)
    _decode(decoding.decode_ticket, data)
    for kind in c.ACTIONS:
        _decode(decoding.decode_action, kind, data)


@given(names, st.binary(max_size=60), st.integers(0, 60))
def test_any_value_in_an_any_is_decoded_or_refused(name: str, value: bytes, cut: int) -> None:
    data = wire.new(
        wire.ANY, type_url=f"type.googleapis.com/{name}", value=value
    ).SerializeToString()
    for piece in (data, data[:-cut] if cut else data):
        _decode(decoding.decode_command, piece)
        _decode(decoding.decode_ticket, piece)
        for kind in c.ACTIONS:
            _decode(decoding.decode_action, kind, piece)
