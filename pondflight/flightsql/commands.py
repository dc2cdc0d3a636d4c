"""Bytes to typed requests: the one place where Flight SQL's messages are decoded.

A descriptor's command, a ticket or an action's body is untrusted input. What cannot be decoded
is ``InvalidArgument``; nothing else is ever raised here.

A command that is not a Flight SQL message is plain SQL text in UTF-8, which is what people
write who have pyarrow and nothing else.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, TypeVar

from google.protobuf.message import DecodeError

from pondflight.errors import InvalidArgument, NotSupported
from pondflight.flightsql import wire

MAX_REQUEST = 16 << 20
"""Longest command, ticket or action body, in bytes: the largest message that ADBC will send."""


class TableNotExist(IntEnum):
    """What an ingest does when the table is not there."""

    UNSPECIFIED = 0
    CREATE = 1
    FAIL = 2


class TableExists(IntEnum):
    """What an ingest does when the table is there."""

    UNSPECIFIED = 0
    FAIL = 1
    APPEND = 2
    REPLACE = 3


class EndTransactionAction(IntEnum):
    """How a transaction ends."""

    UNSPECIFIED = 0
    COMMIT = 1
    ROLLBACK = 2


class EndSavepointAction(IntEnum):
    """How a savepoint ends."""

    UNSPECIFIED = 0
    RELEASE = 1
    ROLLBACK = 2


class CancelStatus(IntEnum):
    """What came of a request to cancel."""

    UNSPECIFIED = 0
    CANCELLED = 1
    CANCELLING = 2
    NOT_CANCELLABLE = 3


class SessionOptionError(IntEnum):
    """Why a session option was not set."""

    UNSPECIFIED = 0
    INVALID_NAME = 1
    INVALID_VALUE = 2
    ERROR = 3


class CloseSessionStatus(IntEnum):
    """What came of a request to close the session."""

    UNSPECIFIED = 0
    CLOSED = 1
    CLOSING = 2
    NOT_CLOSEABLE = 3


SessionOptionValue = str | bool | int | float | list[str] | None
"""A session option; ``None`` asks to reset it."""


@dataclass(frozen=True, slots=True)
class Command:
    """A request in a descriptor or a ticket. ``name`` is the suffix of its handler methods."""

    name: ClassVar[str]
    message: ClassVar[str]


@dataclass(frozen=True, slots=True)
class StatementQuery(Command):
    """Run one SQL string. ``plain``: it came as bare text, not as a Flight SQL message."""

    name: ClassVar[str] = "statement"
    message: ClassVar[str] = "CommandStatementQuery"
    query: str
    transaction_id: bytes | None = None
    plain: bool = False


@dataclass(frozen=True, slots=True)
class StatementUpdate(Command):
    """Run one SQL string for its effect; the answer is a row count."""

    name: ClassVar[str] = "statement_update"
    message: ClassVar[str] = "CommandStatementUpdate"
    query: str
    transaction_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class StatementTicket(Command):
    """Fetch the result that a FlightInfo promised."""

    name: ClassVar[str] = "statement"
    message: ClassVar[str] = "TicketStatementQuery"
    statement_handle: bytes


@dataclass(frozen=True, slots=True)
class PreparedStatementQuery(Command):
    """Run a prepared statement for its rows; in DoPut: bind its parameters."""

    name: ClassVar[str] = "prepared_statement"
    message: ClassVar[str] = "CommandPreparedStatementQuery"
    prepared_statement_handle: bytes


@dataclass(frozen=True, slots=True)
class PreparedStatementUpdate(Command):
    """Run a prepared statement for its effect, once per row of parameters."""

    name: ClassVar[str] = "prepared_statement_update"
    message: ClassVar[str] = "CommandPreparedStatementUpdate"
    prepared_statement_handle: bytes


@dataclass(frozen=True, slots=True)
class TableDefinitionOptions:
    """What an ingest does about a table that is, or is not, there."""

    if_not_exist: TableNotExist = TableNotExist.UNSPECIFIED
    if_exists: TableExists = TableExists.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class StatementIngest(Command):
    """Load a stream of batches into a table."""

    name: ClassVar[str] = "statement_ingest"
    message: ClassVar[str] = "CommandStatementIngest"
    table: str
    table_definition_options: TableDefinitionOptions = TableDefinitionOptions()
    schema: str | None = None
    catalog: str | None = None
    temporary: bool = False
    transaction_id: bytes | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SubstraitPlan(Command):
    """Run a Substrait plan."""

    name: ClassVar[str] = "substrait_plan"
    message: ClassVar[str] = "CommandStatementSubstraitPlan"
    transaction_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class GetSqlInfo(Command):
    """What the server can do. Empty ``info`` asks for everything."""

    name: ClassVar[str] = "sql_info"
    message: ClassVar[str] = "CommandGetSqlInfo"
    info: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GetXdbcTypeInfo(Command):
    """The SQL types of the server, in ODBC's terms."""

    name: ClassVar[str] = "xdbc_type_info"
    message: ClassVar[str] = "CommandGetXdbcTypeInfo"
    data_type: int | None = None


@dataclass(frozen=True, slots=True)
class GetCatalogs(Command):
    """List the catalogs."""

    name: ClassVar[str] = "catalogs"
    message: ClassVar[str] = "CommandGetCatalogs"


@dataclass(frozen=True, slots=True)
class GetDbSchemas(Command):
    """List the schemas. Patterns use ``%`` and ``_``."""

    name: ClassVar[str] = "db_schemas"
    message: ClassVar[str] = "CommandGetDbSchemas"
    catalog: str | None = None
    db_schema_filter_pattern: str | None = None


@dataclass(frozen=True, slots=True)
class GetTables(Command):
    """List the tables and views, with their Arrow schemas if ``include_schema``."""

    name: ClassVar[str] = "tables"
    message: ClassVar[str] = "CommandGetTables"
    catalog: str | None = None
    db_schema_filter_pattern: str | None = None
    table_name_filter_pattern: str | None = None
    table_types: tuple[str, ...] = ()
    include_schema: bool = False


@dataclass(frozen=True, slots=True)
class GetTableTypes(Command):
    """List the kinds of table."""

    name: ClassVar[str] = "table_types"
    message: ClassVar[str] = "CommandGetTableTypes"


@dataclass(frozen=True, slots=True)
class GetPrimaryKeys(Command):
    """The primary key of a table."""

    name: ClassVar[str] = "primary_keys"
    message: ClassVar[str] = "CommandGetPrimaryKeys"
    table: str
    catalog: str | None = None
    db_schema: str | None = None


@dataclass(frozen=True, slots=True)
class GetExportedKeys(Command):
    """The foreign keys that refer to a table."""

    name: ClassVar[str] = "exported_keys"
    message: ClassVar[str] = "CommandGetExportedKeys"
    table: str
    catalog: str | None = None
    db_schema: str | None = None


@dataclass(frozen=True, slots=True)
class GetImportedKeys(Command):
    """The foreign keys of a table."""

    name: ClassVar[str] = "imported_keys"
    message: ClassVar[str] = "CommandGetImportedKeys"
    table: str
    catalog: str | None = None
    db_schema: str | None = None


@dataclass(frozen=True, slots=True)
class GetCrossReference(Command):
    """The foreign keys of one table that refer to another."""

    name: ClassVar[str] = "cross_reference"
    message: ClassVar[str] = "CommandGetCrossReference"
    pk_table: str
    fk_table: str
    pk_catalog: str | None = None
    pk_db_schema: str | None = None
    fk_catalog: str | None = None
    fk_db_schema: str | None = None


METADATA: tuple[type[Command], ...] = (
    GetSqlInfo,
    GetXdbcTypeInfo,
    GetCatalogs,
    GetDbSchemas,
    GetTables,
    GetTableTypes,
    GetPrimaryKeys,
    GetExportedKeys,
    GetImportedKeys,
    GetCrossReference,
)
"""Commands whose result schema is fixed, and whose ticket is the command itself."""


@dataclass(frozen=True, slots=True)
class CreatePreparedStatement:
    """Prepare one SQL string."""

    query: str
    transaction_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class CreatePreparedSubstraitPlan:
    """Prepare a Substrait plan."""

    transaction_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class ClosePreparedStatement:
    """Forget a prepared statement."""

    prepared_statement_handle: bytes


@dataclass(frozen=True, slots=True)
class BeginTransaction:
    """Open a transaction."""


@dataclass(frozen=True, slots=True)
class EndTransaction:
    """Commit or roll back a transaction."""

    transaction_id: bytes
    action: EndTransactionAction


@dataclass(frozen=True, slots=True)
class BeginSavepoint:
    """Set a savepoint."""

    transaction_id: bytes
    name: str = ""


@dataclass(frozen=True, slots=True)
class EndSavepoint:
    """Release a savepoint, or roll back to it."""

    savepoint_id: bytes
    action: EndSavepointAction


@dataclass(frozen=True, slots=True)
class FlightTicketInfo:
    """The tickets of a FlightInfo that a client hands back."""

    tickets: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CancelQuery(FlightTicketInfo):
    """Cancel a statement (deprecated form: the FlightInfo arrives serialised)."""


@dataclass(frozen=True, slots=True)
class CancelFlightInfo(FlightTicketInfo):
    """Cancel a statement."""


@dataclass(frozen=True, slots=True)
class RenewFlightEndpoint:
    """Ask that an endpoint live longer. ``serialized`` is the endpoint as it came."""

    ticket: bytes
    serialized: bytes


@dataclass(frozen=True, slots=True)
class SetSessionOptions:
    """Set options of the caller's session."""

    session_options: Mapping[str, SessionOptionValue]


@dataclass(frozen=True, slots=True)
class GetSessionOptions:
    """Read the options of the caller's session."""


@dataclass(frozen=True, slots=True)
class CloseSession:
    """End the caller's session."""


ActionRequest = (
    CreatePreparedStatement
    | CreatePreparedSubstraitPlan
    | ClosePreparedStatement
    | BeginTransaction
    | EndTransaction
    | BeginSavepoint
    | EndSavepoint
    | CancelQuery
    | CancelFlightInfo
    | RenewFlightEndpoint
    | SetSessionOptions
    | GetSessionOptions
    | CloseSession
)

ACTIONS: dict[str, str] = {
    "CreatePreparedStatement": "Create a prepared statement.",
    "ClosePreparedStatement": "Close a prepared statement.",
    "CreatePreparedSubstraitPlan": "Create a prepared Substrait plan (not implemented).",
    "BeginTransaction": "Begin a transaction.",
    "EndTransaction": "Commit or roll back a transaction.",
    "BeginSavepoint": "Begin a savepoint (not implemented).",
    "EndSavepoint": "Release or roll back to a savepoint (not implemented).",
    "CancelQuery": "Cancel a statement (deprecated: use CancelFlightInfo).",
    "CancelFlightInfo": "Cancel a statement.",
    "RenewFlightEndpoint": "Extend the life of an endpoint.",
    "SetSessionOptions": "Set session options.",
    "GetSessionOptions": "Get session options.",
    "CloseSession": "Close the session.",
}
"""The actions of Flight SQL and Flight, with the descriptions that ListActions gives."""

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
_NOT_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")

T = TypeVar("T")


def decode_command(data: bytes) -> Command:
    """The command in a descriptor: a Flight SQL message, or plain SQL text."""
    _check_size("command", data)
    name, value = _unpack("command", data)
    if name is None:
        return StatementQuery(query=_text(data), plain=True)
    kind = _DESCRIPTOR_COMMANDS.get(name)
    if kind is None:
        raise InvalidArgument(f"{name} is not a command that can stand in a descriptor")
    return _build(kind, _parse(name, value))


def decode_ticket(data: bytes) -> Command:
    """The command in a ticket: a statement's handle, or a metadata command."""
    _check_size("ticket", data)
    name, value = _unpack("ticket", data)
    kind = _TICKET_COMMANDS.get(name) if name is not None else None
    if name is None or kind is None:
        raise InvalidArgument(
            "not a ticket of this server: send the ticket exactly as it came in a FlightInfo"
        )
    return _build(kind, _parse(name, value))


def decode_action(kind: str, body: bytes) -> ActionRequest:
    """The request in an action of Flight SQL (wrapped in an Any) or of Flight (bare)."""
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
    """Message name (without package) and value of an Any; ``(None, b"")`` if it is none.

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
    """``text``, unless it has control characters, which no SQL needs and DuckDB cuts at."""
    found = _NOT_TEXT.search(text)
    if found:
        raise InvalidArgument(
            f"the SQL text has the control character {found.group()!r} at position {found.start()}"
        )
    return text


def _build(kind: type[T], msg: Any) -> T:
    """A dataclass from the message whose fields have the same names."""
    values: dict[str, Any] = {}
    presence = msg.DESCRIPTOR.fields_by_name
    for item in dataclasses.fields(kind):  # type: ignore[arg-type]
        descriptor = presence.get(item.name)
        if descriptor is None:
            continue
        if item.name == "table_definition_options":
            values[item.name] = _table_options(msg.table_definition_options)
        elif item.name == "options":
            values[item.name] = dict(msg.options)
        elif descriptor.is_repeated:
            values[item.name] = tuple(getattr(msg, item.name))
        elif descriptor.has_presence and not msg.HasField(item.name):
            values[item.name] = None
        else:
            value = getattr(msg, item.name)
            values[item.name] = checked_sql(value) if item.name == "query" else value
    return kind(**values)


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
