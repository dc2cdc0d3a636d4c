"""What a configuration may say about DuckDB: extensions, and databases to attach.

Only the shape is checked here, without a connection: a mistake in a connection string is found
before the first worker starts, and is never quoted.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from pondflight.settings.kinds import Accepts, ConnectionString, Flag, Refused, Section

EXTENSIONS = ("arrow", "core_functions", "icu", "json", "mysql", "parquet", "postgres", "sqlite")
"""What a configuration may list: built into DuckDB, or installed beside it from a wheel.

``arrow`` is DuckDB's Arrow interface, which needs no extension any more.
"""

RESERVED_ALIASES = frozenset(
    {"memory", "temp", "system", "main", "information_schema", "pg_catalog"}
)
"""Catalogs and schemas that DuckDB has already, so that a table name could mean either."""

_OTHER_NAMES = {
    "mysql_scanner": "mysql",
    "postgres_scanner": "postgres",
    "postgresql": "postgres",
    "sqlite3": "sqlite",
    "sqlite_scanner": "sqlite",
}


class DatabaseType(StrEnum):
    """The systems that a worker can attach."""

    POSTGRES = "postgres"
    MYSQL = "mysql"
    SQLITE = "sqlite"
    DUCKDB = "duckdb"


FILE_TYPES = frozenset({DatabaseType.SQLITE, DatabaseType.DUCKDB})
"""Those whose connection string is the path of a file."""

_SCHEMES = {
    DatabaseType.POSTGRES: ("postgres", "postgresql"),
    DatabaseType.MYSQL: ("mysql",),
}


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
        reserved = "is a name that DuckDB uses itself"
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


class AttachedDatabase(Section):
    """One database that every worker attaches."""

    alias: Alias = Field(description="Name of the database in SQL: alias.schema.table.")
    type: Type = Field(description="System that the database runs on; mysql is MariaDB too.")
    connection_string: Annotated[
        ConnectionString,
        Accepts(
            "postgresql://user:password@host:port/db, mysql://user:password@host:port/db, or the"
            " absolute path of a sqlite or duckdb file",
            secret=True,
        ),
    ] = Field(description="Where it is and how to log in. Take the password from ${NAME}.")
    read_only: Flag = Field(default=True, description="Refuse every write to it.")

    @model_validator(mode="after")
    def _connection_string_suits_type(self) -> Self:
        why = _misshapen(self.type, self.connection_string.get_secret_value())
        if why is not None:
            raise Refused(why, key="connection_string")
        return self


def _misshapen(system: DatabaseType, text: str) -> str | None:  # noqa: PLR0911 - one a mistake
    """Say what keeps ``text`` from leading to a database of that system; never quotes it."""
    if any(ord(character) < ord(" ") for character in text):
        return "has a control character in it"
    schemes = _SCHEMES.get(system)
    if schemes is None:
        return None if text.startswith("/") else "is not an absolute path"
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return "is not a URL (a '/', '?', '#', '[' or ']' in a password is written as %2F, ...)"
    if url.scheme not in schemes:
        return f"is not a URL that begins with {schemes[-1]}://"
    if not url.hostname:
        return "names no host"
    if port == 0:
        return "has the port 0"
    if not url.path.strip("/"):
        return "names no database after the host"
    return None
