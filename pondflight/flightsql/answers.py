"""Answers to actions, as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from pondflight.flightsql import commands as c
from pondflight.flightsql import wire


@dataclass(frozen=True, slots=True)
class PreparedStatement:
    """The answer to CreatePreparedStatement.

    An update has no ``dataset_schema``: JDBC takes a statement without one for an update; newer
    clients look at ``is_update``.
    """

    handle: bytes
    dataset_schema: pa.Schema | None
    parameter_schema: pa.Schema | None
    is_update: bool | None


def packed(name: str, **fields: object) -> bytes:
    """Return a packed Flight SQL message, wrapped in an ``Any``."""
    return wire.pack(wire.new(name, **fields))


def bare(name: str, **fields: object) -> bytes:
    """Return the packed message, without an ``Any`` around it."""
    data: bytes = wire.new(name, **fields).SerializeToString()
    return data


def _schema_bytes(schema: pa.Schema | None) -> bytes:
    return b"" if schema is None else schema.serialize().to_pybytes()


def prepared(statement: PreparedStatement) -> bytes:
    """Return the packed answer to CreatePreparedStatement."""
    return packed(
        "ActionCreatePreparedStatementResult",
        prepared_statement_handle=statement.handle,
        dataset_schema=_schema_bytes(statement.dataset_schema),
        parameter_schema=_schema_bytes(statement.parameter_schema),
        is_update=statement.is_update,
    )


def option_errors(errors: Mapping[str, c.SessionOptionError]) -> bytes:
    """Return the packed answer to SetSessionOptions."""
    msg = wire.new("SetSessionOptionsResult")
    for name, error in errors.items():
        msg.errors[name].value = error
    data: bytes = msg.SerializeToString()
    return data


def options(options: Mapping[str, c.SessionOptionValue]) -> bytes:
    """Return the packed answer to GetSessionOptions."""
    msg = wire.new("GetSessionOptionsResult")
    for name, value in options.items():
        entry = msg.session_options[name]
        match value:
            case None:
                entry.SetInParent()
            case bool():
                entry.bool_value = value
            case str():
                entry.string_value = value
            case int():
                entry.int64_value = value
            case float():
                entry.double_value = value
            case list():
                entry.string_list_value.values.extend(value)
    data: bytes = msg.SerializeToString()
    return data
