"""Bytes to typed requests: the one place where Flight SQL's messages are decoded.

A descriptor's command, a ticket or an action's body is untrusted input. What cannot be decoded is
``InvalidArgument``; nothing else is ever raised here. A command that is not a Flight SQL message is
plain SQL text in UTF-8, for people who use pyarrow alone.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from enum import IntEnum
from operator import attrgetter
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from pondflight.errors import InvalidArgument, NotSupported
from pondflight.flightsql import wire
from pondflight.flightsql.commands import (
    METADATA,
    ActionRequest,
    BeginSavepoint,
    BeginTransaction,
    CancelFlightInfo,
    CancelQuery,
    ClosePreparedStatement,
    CloseSession,
    Command,
    CreatePreparedStatement,
    CreatePreparedSubstraitPlan,
    EndSavepoint,
    EndSavepointAction,
    EndTransaction,
    EndTransactionAction,
    GetSessionOptions,
    PreparedStatementQuery,
    PreparedStatementUpdate,
    RenewFlightEndpoint,
    SessionOptionValue,
    SetSessionOptions,
    StatementIngest,
    StatementQuery,
    StatementTicket,
    StatementUpdate,
    SubstraitPlan,
    TableDefinitionOptions,
    TableExists,
    TableNotExist,
)

MAX_REQUEST = 16 << 20
"""Longest command, ticket or action body, in bytes: the largest message that ADBC will send."""

_STATEMENTS: tuple[type[Command], ...] = (
    StatementQuery,
    StatementUpdate,
    PreparedStatementQuery,
    PreparedStatementUpdate,
    StatementIngest,
    SubstraitPlan,
)
_IN_TICKETS: tuple[type[Command], ...] = (StatementTicket, *METADATA)
_DESCRIPTOR_COMMANDS = {kind.message: kind for kind in (*_STATEMENTS, *METADATA)}
_TICKET_COMMANDS = {kind.message: kind for kind in _IN_TICKETS}
_TYPE_URL = re.compile(r"[\w.-]*/[\w.]+", re.ASCII)
_NOT_TEXT = re.compile("[\\x00-\\x08\\x0e-\\x1f\\x7f\\ud800-\\udfff]")

T = TypeVar("T")


def decode_command(data: bytes) -> Command:
    """Return the command in a descriptor: a Flight SQL message, or plain SQL text."""
    _check_size("command", data)
    name, value = _unpack("command", data)
    if name is None:
        return StatementQuery(query=_text(data), plain=True)
    kind = _DESCRIPTOR_COMMANDS.get(name)
    if kind is None:
        raise InvalidArgument(f"{name} is not a command that can stand in a descriptor")
    return _build(kind, _parse(name, value))


def decode_ticket(data: bytes) -> Command:
    """Return the command in a ticket: a statement's handle, or a metadata command."""
    _check_size("ticket", data)
    name, value = _unpack("ticket", data)
    kind = _TICKET_COMMANDS.get(name) if name is not None else None
    if name is None or kind is None:
        raise InvalidArgument(
            "not a ticket of this server: send the ticket exactly as it came in a FlightInfo"
        )
    return _build(kind, _parse(name, value))


def decode_action(kind: str, body: bytes) -> ActionRequest:
    """Return the request in an action of Flight SQL (wrapped in an Any) or of Flight (bare)."""
    _check_size("action", body)
    decode = _ACTION_DECODERS.get(kind)
    if decode is None:
        raise NotSupported(f"unknown action {kind[:64]!r}; ListActions has those that there are")
    return decode(body)


def _check_size(what: str, data: bytes) -> None:
    if len(data) > MAX_REQUEST:
        raise InvalidArgument(
            f"{what} of {len(data):,} bytes: the limit is {MAX_REQUEST:,} bytes; "
            "send large data as parameters or by ingest"
        )


def _unpack(what: str, data: bytes) -> tuple[str | None, bytes]:
    """Return name (without package) and value of the message in an Any, or ``(None, b"")``.

    Some SQL text parses as an Any by accident, so the type URL decides and not the parse.
    """
    claims_any = data[:1] == b"\n" and b"type.googleapis.com/" in data[:40]
    try:
        wrapper = wire.message_class(wire.ANY).FromString(data)
    except DecodeError:
        if claims_any:
            raise InvalidArgument(f"malformed {what}: it ends before its message does") from None
        return None, b""
    if not _TYPE_URL.fullmatch(wrapper.type_url):
        if claims_any:
            raise InvalidArgument(f"malformed {what}: unreadable type URL")
        return None, b""
    full_name = wrapper.type_url.rsplit("/", 1)[1]
    if not full_name.startswith(wire.SQL):
        raise InvalidArgument(
            f"{what} has type URL {wrapper.type_url[:100]!r}: expected a message of {wire.SQL}*"
        )
    return full_name.removeprefix(wire.SQL), wrapper.value


def _parse(name: str, value: bytes) -> Any:
    try:
        return wire.message_class(name).FromString(value)
    except (DecodeError, UnicodeDecodeError):
        raise InvalidArgument(f"malformed {name[:64]}: its fields cannot be decoded") from None


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidArgument(
            "the command is neither a Flight SQL message nor SQL text in UTF-8"
        ) from None
    return checked_sql(text)


def checked_sql(text: str) -> str:
    """Return ``text`` if it has no control characters, which no SQL needs and DuckDB cuts at.

    Half of a surrogate pair, which JSON can contain, is refused as well.
    """
    found = _NOT_TEXT.search(text)
    if found:
        raise InvalidArgument(
            f"the SQL text has the control character {found.group()!r} at position {found.start()}"
        )
    return text


def _build(kind: type[T], msg: Any) -> T:
    """Return a dataclass of ``kind`` with the message's fields of the same names."""
    readers = _READERS.get(kind)
    if readers is None:
        readers = _READERS[kind] = _readers(kind, msg)
    return kind(**{name: read(msg) for name, read in readers})


_READERS: dict[type, list[tuple[str, Callable[[Any], Any]]]] = {}


def _readers(kind: type, message: Any) -> list[tuple[str, Callable[[Any], Any]]]:
    """Return the dataclass's fields that its message has, and how to read each."""
    known = message.DESCRIPTOR.fields_by_name
    return [
        (item.name, _reader(item.name, known[item.name]))
        for item in dataclasses.fields(kind)
        if item.name in known
    ]


def _reader(name: str, descriptor: Any) -> Callable[[Any], Any]:
    get = attrgetter(name)
    if name == "table_definition_options":
        return lambda msg: _table_options(msg.table_definition_options)
    if name == "options":
        return lambda msg: dict(msg.options)
    if name == "query":
        return lambda msg: checked_sql(msg.query)
    if descriptor.is_repeated:
        return lambda msg: tuple(get(msg))
    if descriptor.has_presence:
        return lambda msg: get(msg) if msg.HasField(name) else None
    return get


def _table_options(msg: Any) -> TableDefinitionOptions:
    return TableDefinitionOptions(
        _enum(TableNotExist, msg.if_not_exist), _enum(TableExists, msg.if_exists)
    )


E = TypeVar("E", bound=IntEnum)


def _enum(kind: type[E], value: int) -> E:
    try:
        return kind(value)
    except ValueError:
        accepted = ", ".join(f"{item.name} ({item.value})" for item in kind)
        raise InvalidArgument(f"{kind.__name__} {value}: expected one of {accepted}") from None


def _wrapped(message: str, body: bytes) -> Any:
    name, value = _unpack("action", body)
    if name != message:
        raise InvalidArgument(f"the action's body is not a {message} inside a protobuf Any")
    return _parse(message, value)


def _tickets(info: Any) -> tuple[bytes, ...]:
    return tuple(endpoint.ticket.ticket for endpoint in info.endpoint)


def _session_value(value: Any) -> SessionOptionValue:
    kind = value.WhichOneof("option_value")
    if kind is None:
        return None
    if kind == "string_list_value":
        return list(value.string_list_value.values)
    scalar: SessionOptionValue = getattr(value, kind)
    return scalar


def _renew(body: bytes) -> RenewFlightEndpoint:
    endpoint = _parse("RenewFlightEndpointRequest", body).endpoint
    return RenewFlightEndpoint(endpoint.ticket.ticket, endpoint.SerializeToString())


def _set_options(body: bytes) -> SetSessionOptions:
    msg = _parse("SetSessionOptionsRequest", body)
    return SetSessionOptions({k: _session_value(v) for k, v in msg.session_options.items()})


def _end_transaction(body: bytes) -> EndTransaction:
    msg = _wrapped("ActionEndTransactionRequest", body)
    return EndTransaction(msg.transaction_id, _enum(EndTransactionAction, msg.action))


def _end_savepoint(body: bytes) -> EndSavepoint:
    msg = _wrapped("ActionEndSavepointRequest", body)
    return EndSavepoint(msg.savepoint_id, _enum(EndSavepointAction, msg.action))


def _plain(kind: type[ActionRequest], message: str) -> Callable[[bytes], ActionRequest]:
    return lambda body: _build(kind, _wrapped(message, body))


_ACTION_DECODERS: dict[str, Callable[[bytes], ActionRequest]] = {
    "CreatePreparedStatement": _plain(
        CreatePreparedStatement, "ActionCreatePreparedStatementRequest"
    ),
    "CreatePreparedSubstraitPlan": _plain(
        CreatePreparedSubstraitPlan, "ActionCreatePreparedSubstraitPlanRequest"
    ),
    "ClosePreparedStatement": _plain(ClosePreparedStatement, "ActionClosePreparedStatementRequest"),
    "BeginTransaction": _plain(BeginTransaction, "ActionBeginTransactionRequest"),
    "EndTransaction": _end_transaction,
    "BeginSavepoint": _plain(BeginSavepoint, "ActionBeginSavepointRequest"),
    "EndSavepoint": _end_savepoint,
    "CancelQuery": lambda body: CancelQuery(
        _tickets(_parse("FlightInfo", _wrapped("ActionCancelQueryRequest", body).info))
    ),
    "CancelFlightInfo": lambda body: CancelFlightInfo(
        _tickets(_parse("CancelFlightInfoRequest", body).info)
    ),
    "RenewFlightEndpoint": _renew,
    "SetSessionOptions": _set_options,
    "GetSessionOptions": lambda body: _build(
        GetSessionOptions, _parse("GetSessionOptionsRequest", body)
    ),
    "CloseSession": lambda body: _build(CloseSession, _parse("CloseSessionRequest", body)),
}
