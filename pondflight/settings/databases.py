"""The settings for DuckDB's extensions, and for databases to attach.

Nothing connects here: a mistake in a connection string is found before the first worker starts, and
the string is never quoted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from pondflight import dsn, extensions
from pondflight.settings.declaration import Accepts, Refused, Section
from pondflight.settings.kinds import ConnectionString, Count, Flag

EXTENSIONS = tuple(sorted(extensions.BUILT_IN | extensions.WHEELS.keys()))
"""Extensions that a configuration may list: built into DuckDB, or installed from a wheel.

``arrow`` is DuckDB's Arrow interface, which no longer needs an extension.
"""

RESERVED_ALIASES = frozenset(
    {"memory", "home", "temp", "system", "main", "information_schema", "pg_catalog"}
)
"""Catalogs and schemas that every worker has; a table name could mean either."""

_OTHER_NAMES = {
    "mysql_scanner": "mysql",
    "postgres_scanner": "postgres",
    "postgresql": "postgres",
    "sqlite3": "sqlite",
    "sqlite_scanner": "sqlite",
}


class DatabaseType(StrEnum):
    """The database systems that a worker can attach."""

    POSTGRES = "postgres"
    MYSQL = "mysql"
    SQLITE = "sqlite"
    DUCKDB = "duckdb"


class OnInvalid(StrEnum):
    """How to read a cell that does not fit its column's type."""

    ERROR = "error"
    NULL = "null"
    TEXT = "text"


_ON_INVALID = {
    DatabaseType.POSTGRES: (OnInvalid.ERROR, OnInvalid.TEXT),
    DatabaseType.MYSQL: (OnInvalid.ERROR, OnInvalid.NULL),
    DatabaseType.SQLITE: tuple(OnInvalid),
    DatabaseType.DUCKDB: (OnInvalid.ERROR,),
}

FILE_TYPES = frozenset({DatabaseType.SQLITE, DatabaseType.DUCKDB})
"""Types whose connection string is the path of a file."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The context for checking a value.

    ``aliases`` are those of all entries, including entries with mistakes. ``look``: whether files
    must exist on this machine.
    """

    aliases: tuple[str, ...]
    look: bool


def _extension(value: object) -> str:
    if not isinstance(value, str):
        raise Refused
    name = value.strip().lower()
    name = _OTHER_NAMES.get(name, name)
    if name not in EXTENSIONS:
        unknown = "is not available"
        raise Refused(unknown)
    return name


def _type(value: object) -> DatabaseType:
    if isinstance(value, str):
        name = value.strip().lower()
        if name == "postgresql":
            return DatabaseType.POSTGRES
        if name in list(DatabaseType):
            return DatabaseType(name)
    raise Refused


def _alias(value: object) -> str:
    if not isinstance(value, str) or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", value) is None:
        raise Refused
    if value.lower() in RESERVED_ALIASES:
        reserved = "is a name that every worker uses itself"
        raise Refused(reserved)
    return value


Extension = Annotated[str, BeforeValidator(_extension), Accepts("one of " + ", ".join(EXTENSIONS))]

Alias = Annotated[
    str,
    BeforeValidator(_alias),
    Accepts("a name of up to 63 letters, digits and '_' that does not begin with a digit"),
]

Type = Annotated[
    DatabaseType,
    BeforeValidator(_type),
    Accepts("postgres (or postgresql), mysql, sqlite, duckdb"),
]


def _on_invalid(value: object) -> OnInvalid | None:
    if value is None:
        return None
    if isinstance(value, str) and value.strip().lower() in list(OnInvalid):
        return OnInvalid(value.strip().lower())
    raise Refused


Invalid = Annotated[
    OnInvalid | None,
    BeforeValidator(_on_invalid),
    PlainSerializer(lambda value: value and value.value, when_used="json"),
    Accepts("error, null, text"),
]


def _claims(value: object) -> dict[str, tuple[object, ...]]:
    if not isinstance(value, Mapping) or not value:
        raise Refused
    claims = {}
    for name, wanted in value.items():
        values = wanted if isinstance(wanted, list | tuple) else [wanted]
        if not isinstance(name, str) or not name or not values:
            raise Refused
        if not all(isinstance(one, str | int | float) for one in values):
            raise Refused
        claims[name] = tuple(values)
    return claims


def _shown(value: Mapping[str, tuple[object, ...]] | None) -> dict[str, list[object]] | None:
    return None if value is None else {name: list(values) for name, values in value.items()}


Claims = Annotated[
    Mapping[str, tuple[object, ...]] | None,
    BeforeValidator(_claims),
    PlainSerializer(_shown, when_used="json"),
    Accepts(
        "a mapping of claims to lists of values, such as {sub: [ann], groups: [analysts]}",
        value_needed=True,  # who begins to write whom it is for must not have opened it to all
    ),
]


class AttachedDatabase(Section):
    """A database that workers attach."""

    alias: Alias = Field(description="Name of the database in SQL: alias.schema.table.")
    type: Type = Field(description="Database system; mysql also means MariaDB.")
    connection_string: Annotated[
        ConnectionString,
        Accepts(
            "postgresql://user:password@host:port/db, mysql://user:password@host:port/db, or the"
            " absolute path of a sqlite or duckdb file",
            secret=True,
        ),
    ] = Field(
        description="Where the database is and how to log in. Take the password from ${NAME}."
    )
    read_only: Flag = Field(default=True, description="Refuse all writes to the database.")
    exact: Flag = Field(
        default=True,
        description="Refuse statements for which DuckDB would read or write values that differ from"
        " the server's, such as decimals as DOUBLE or NaN as 0. For postgres and mysql.",
    )
    on_invalid: Invalid = Field(
        default=None,
        description="How to read a cell that does not fit its column's type: error (the statement"
        " fails), null or text. Default: text for sqlite, null for mysql, otherwise error.",
    )
    allow: Claims = Field(
        default=None,
        description="Who may see it: users whose token has one of these values in one of these"
        " claims. Default: everybody.",
    )
    demo: Flag = Field(default=False, description="Show it to demo users as well.")
    max_connections: Count = Field(
        default=16,
        description="Maximum number of connections from one worker to the database server. Each"
        " open transaction holds one.",
    )

    @field_validator("on_invalid")
    @classmethod
    def _on_invalid_suits_type(
        cls, value: OnInvalid | None, info: ValidationInfo
    ) -> OnInvalid | None:
        system = info.data.get("type")
        if value is not None and system is not None and value not in _ON_INVALID[system]:
            known = " or ".join(_ON_INVALID[system])
            raise Refused(f"can only be {known} where type is {system}")
        return value

    @field_validator("connection_string")
    @classmethod
    def _connection_string_suits_type(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        system = info.data.get("type")
        if system is not None:
            look = isinstance(info.context, Surroundings) and info.context.look
            why = _misshapen(system, value.get_secret_value(), look=look)
            if why is not None:
                raise Refused(why)
        return value


def _misshapen(system: DatabaseType, text: str, *, look: bool) -> str | None:
    """Return why ``text`` cannot connect to a database of that system, without quoting it."""
    if any(ord(character) < ord(" ") for character in text):
        return "has a control character in it"
    if system not in FILE_TYPES:
        try:
            dsn.parse(system.value, text)
        except dsn.Misshapen as error:
            return str(error)
        return None
    if not text.startswith("/"):
        return "is not an absolute path"
    return "is not a file that exists" if look and not _is_file(text) else None


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False
