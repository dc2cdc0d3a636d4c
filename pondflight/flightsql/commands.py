"""The requests of clients: Flight SQL's messages as types. ``decoding`` reads them from bytes.

It is one list in the order of the protocol, and longer than other files because the protocol is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar


class TableNotExist(IntEnum):
    """What an ingest does if the table does not exist."""

    UNSPECIFIED = 0
    CREATE = 1
    FAIL = 2


class TableExists(IntEnum):
    """What an ingest does if the table exists."""

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
    """The outcome of a request to cancel."""

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
    """The outcome of a request to close the session."""

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
    """What an ingest does if the table does or does not exist."""

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
    """List the primary key of a table."""

    name: ClassVar[str] = "primary_keys"
    message: ClassVar[str] = "CommandGetPrimaryKeys"
    table: str
    catalog: str | None = None
    db_schema: str | None = None


@dataclass(frozen=True, slots=True)
class GetExportedKeys(Command):
    """List the foreign keys that refer to a table."""

    name: ClassVar[str] = "exported_keys"
    message: ClassVar[str] = "CommandGetExportedKeys"
    table: str
    catalog: str | None = None
    db_schema: str | None = None


@dataclass(frozen=True, slots=True)
class GetImportedKeys(Command):
    """List the foreign keys of a table."""

    name: ClassVar[str] = "imported_keys"
    message: ClassVar[str] = "CommandGetImportedKeys"
    table: str
    catalog: str | None = None
    db_schema: str | None = None


@dataclass(frozen=True, slots=True)
class GetCrossReference(Command):
    """List the foreign keys of one table that refer to another."""

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

UPLOADS: tuple[type[Command], ...] = (
    PreparedStatementQuery,
    PreparedStatementUpdate,
    StatementIngest,
)
"""Commands that come by DoPut with rows."""


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
    """Cancel a statement (deprecated form, in which the FlightInfo arrives serialised)."""


@dataclass(frozen=True, slots=True)
class CancelFlightInfo(FlightTicketInfo):
    """Cancel a statement."""


@dataclass(frozen=True, slots=True)
class RenewFlightEndpoint:
    """Extend the life of an endpoint; ``serialized`` is the endpoint as the client sent it."""

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
