"""The protobuf messages of Flight SQL, and of Flight's own actions, as classes.

No maintained package ships them, and two modules that register ``arrow.flight.protocol.sql``
in protobuf's default pool collide. So the messages are described here, in a private pool, and
nothing but this package sees them. Message names and field numbers are the interface
(Apache Arrow's ``FlightSql.proto`` and ``Flight.proto``); enums travel as int32, which is the
same on the wire.

A message is a line of fields ``name:type=number``; a type ends in ``?`` (optional: presence is
known) or ``*`` (repeated), may be another message, or is ``map<value type>`` (string keys).
``|`` marks members of a oneof.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

ANY = "google.protobuf.Any"
FLIGHT = "arrow.flight.protocol."
SQL = "arrow.flight.protocol.sql."

_MESSAGES: dict[str, dict[str, str]] = {
    "google.protobuf.": {
        "Any": "type_url:string=1 value:bytes=2",
        "Timestamp": "seconds:int64=1 nanos:int32=2",
    },
    FLIGHT: {
        "FlightDescriptor": "type:int32=1 cmd:bytes=2 path:string*=3",
        "Ticket": "ticket:bytes=1",
        "Location": "uri:string=1",
        "FlightEndpoint": (
            "ticket:Ticket=1 location:Location*=2 "
            "expiration_time:google.protobuf.Timestamp=3 app_metadata:bytes=4"
        ),
        "FlightInfo": (
            "schema:bytes=1 flight_descriptor:FlightDescriptor=2 endpoint:FlightEndpoint*=3 "
            "total_records:int64=4 total_bytes:int64=5 ordered:bool=6 app_metadata:bytes=7"
        ),
        "CancelFlightInfoRequest": "info:FlightInfo=1",
        "CancelFlightInfoResult": "status:int32=1",
        "RenewFlightEndpointRequest": "endpoint:FlightEndpoint=1",
        "StringListValue": "values:string*=1",
        "SessionOptionValue": (
            "string_value:string|=1 bool_value:bool|=2 int64_value:sfixed64|=3 "
            "double_value:double|=4 string_list_value:StringListValue|=5"
        ),
        "SetSessionOptionsRequest": "session_options:map<SessionOptionValue>=1",
        "SetSessionOptionsError": "value:int32=1",
        "SetSessionOptionsResult": "errors:map<SetSessionOptionsError>=1",
        "GetSessionOptionsRequest": "",
        "GetSessionOptionsResult": "session_options:map<SessionOptionValue>=1",
        "CloseSessionRequest": "",
        "CloseSessionResult": "status:int32=1",
    },
    SQL: {
        "CommandGetSqlInfo": "info:uint32*=1",
        "CommandGetXdbcTypeInfo": "data_type:int32?=1",
        "CommandGetCatalogs": "",
        "CommandGetDbSchemas": "catalog:string?=1 db_schema_filter_pattern:string?=2",
        "CommandGetTables": (
            "catalog:string?=1 db_schema_filter_pattern:string?=2 "
            "table_name_filter_pattern:string?=3 table_types:string*=4 include_schema:bool=5"
        ),
        "CommandGetTableTypes": "",
        "CommandGetPrimaryKeys": "catalog:string?=1 db_schema:string?=2 table:string=3",
        "CommandGetExportedKeys": "catalog:string?=1 db_schema:string?=2 table:string=3",
        "CommandGetImportedKeys": "catalog:string?=1 db_schema:string?=2 table:string=3",
        "CommandGetCrossReference": (
            "pk_catalog:string?=1 pk_db_schema:string?=2 pk_table:string=3 "
            "fk_catalog:string?=4 fk_db_schema:string?=5 fk_table:string=6"
        ),
        "CommandStatementQuery": "query:string=1 transaction_id:bytes?=2",
        "CommandStatementUpdate": "query:string=1 transaction_id:bytes?=2",
        "SubstraitPlan": "plan:bytes=1 version:string=2",
        "CommandStatementSubstraitPlan": "plan:SubstraitPlan=1 transaction_id:bytes?=2",
        "TicketStatementQuery": "statement_handle:bytes=1",
        "CommandPreparedStatementQuery": "prepared_statement_handle:bytes=1",
        "CommandPreparedStatementUpdate": "prepared_statement_handle:bytes=1",
        "TableDefinitionOptions": "if_not_exist:int32=1 if_exists:int32=2",
        "CommandStatementIngest": (
            "table_definition_options:TableDefinitionOptions=1 table:string=2 schema:string?=3 "
            "catalog:string?=4 temporary:bool=5 transaction_id:bytes?=6 options:map<string>=1000"
        ),
        "DoPutUpdateResult": "record_count:int64=1",
        "DoPutPreparedStatementResult": "prepared_statement_handle:bytes?=1",
        "ActionCreatePreparedStatementRequest": "query:string=1 transaction_id:bytes?=2",
        "ActionCreatePreparedSubstraitPlanRequest": "plan:SubstraitPlan=1 transaction_id:bytes?=2",
        "ActionCreatePreparedStatementResult": (
            "prepared_statement_handle:bytes=1 dataset_schema:bytes=2 "
            "parameter_schema:bytes=3 is_update:bool?=4"
        ),
        "ActionClosePreparedStatementRequest": "prepared_statement_handle:bytes=1",
        "ActionBeginTransactionRequest": "",
        "ActionBeginTransactionResult": "transaction_id:bytes=1",
        "ActionEndTransactionRequest": "transaction_id:bytes=1 action:int32=2",
        "ActionBeginSavepointRequest": "transaction_id:bytes=1 name:string=2",
        "ActionBeginSavepointResult": "savepoint_id:bytes=1",
        "ActionEndSavepointRequest": "savepoint_id:bytes=1 action:int32=2",
        "ActionCancelQueryRequest": "info:bytes=1",
        "ActionCancelQueryResult": "result:int32=1",
    },
}

_F = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _F.TYPE_STRING,
    "bytes": _F.TYPE_BYTES,
    "bool": _F.TYPE_BOOL,
    "int32": _F.TYPE_INT32,
    "uint32": _F.TYPE_UINT32,
    "int64": _F.TYPE_INT64,
    "sfixed64": _F.TYPE_SFIXED64,
    "double": _F.TYPE_DOUBLE,
}


def _add_type(field: descriptor_pb2.FieldDescriptorProto, kind: str, package: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _F.TYPE_MESSAGE
        field.type_name = "." + (kind if "." in kind else package + kind)


def _add_field(owner: descriptor_pb2.DescriptorProto, text: str, package: str) -> None:
    name, rest = text.split(":", 1)
    kind, number = rest.rsplit("=", 1)
    field = owner.field.add(name=name, number=int(number), label=_F.LABEL_OPTIONAL)
    if kind.startswith("map<"):
        entry_name = "".join(part.title() for part in name.split("_")) + "Entry"
        entry = owner.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        _add_type(entry.field.add(name="key", number=1, label=_F.LABEL_OPTIONAL), "string", package)
        value = entry.field.add(name="value", number=2, label=_F.LABEL_OPTIONAL)
        _add_type(value, kind[4:-1], package)
        field.label = _F.LABEL_REPEATED
        field.type = _F.TYPE_MESSAGE
        field.type_name = f".{package}{owner.name}.{entry_name}"
        return
    if kind.endswith("*"):
        field.label = _F.LABEL_REPEATED
    elif kind.endswith("?"):
        owner.oneof_decl.add(name=f"_{name}")
        field.oneof_index = len(owner.oneof_decl) - 1
        field.proto3_optional = True
    elif kind.endswith("|"):
        if not owner.oneof_decl:
            owner.oneof_decl.add(name="option_value")
        field.oneof_index = 0
    _add_type(field, kind.rstrip("*?|"), package)


def _build() -> dict[str, type[message.Message]]:
    pool = descriptor_pool.DescriptorPool()
    names: list[str] = []
    files: list[str] = []
    for package, messages in _MESSAGES.items():
        file = descriptor_pb2.FileDescriptorProto(
            name=f"{package}proto", package=package.rstrip("."), syntax="proto3", dependency=files
        )
        for name, fields in messages.items():
            owner = file.message_type.add(name=name)
            for text in fields.split():
                _add_field(owner, text, package)
            names.append(package + name)
        pool.Add(file)
        files.append(file.name)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names
    }


_CLASSES = _build()
_BY_NAME = _CLASSES | {
    full.removeprefix(package): found
    for package in (FLIGHT, SQL)  # of two with one short name, Flight SQL's
    for full, found in _CLASSES.items()
    if full.startswith(package) and "." not in full.removeprefix(package)
}


def new(name: str, /, **fields: object) -> Any:
    """Return a message by full or short name: ``new("DoPutUpdateResult", record_count=3)``.

    A short name is looked up in the Flight SQL package first, then in Flight's.
    """
    return message_class(name)(**fields)


def message_class(name: str) -> Any:
    """Return the class of the message ``name``. Raises ``KeyError`` if there is none."""
    return _BY_NAME[name]


def pack(msg: message.Message) -> bytes:
    """Return ``msg`` serialised inside a ``google.protobuf.Any``, as Flight SQL sends messages."""
    full = msg.DESCRIPTOR.full_name
    packed: bytes = new(
        ANY, type_url=f"type.googleapis.com/{full}", value=msg.SerializeToString()
    ).SerializeToString()
    return packed
