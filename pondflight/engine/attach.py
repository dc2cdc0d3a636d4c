"""The organisation's databases, attached to the user's DuckDB."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import duckdb

from pondflight.engine.duck import literal, quote
from pondflight.errors import ConfigError, Unavailable

BUILT_IN = frozenset({"arrow", "json", "parquet", "icu", "core_functions", "autocomplete"})
"""Extensions that need no loading: DuckDB brings them, or pyarrow does their work."""

_WHEELS = {
    "sqlite": "sqlite_scanner",
    "postgres": "postgres_scanner",
    "postgresql": "postgres_scanner",
    "mysql": "mysql_scanner",
}


@dataclass(frozen=True, slots=True)
class AttachedDatabase:
    """One entry of ``duckdb.attached_databases``."""

    alias: str
    type: str
    connection_string: str
    read_only: bool = True


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension from its wheel. Nothing is ever downloaded."""
    if name in BUILT_IN:
        return
    module = _WHEELS.get(name, name)
    try:
        folder = files(f"duckdb_extension_{module}")
    except ModuleNotFoundError:
        wheel = f"duckdb-extension-{module.replace('_', '-')}=={duckdb.__version__}"
        message = f"extension {name!r} is not installed: install the wheel {wheel}"
        raise ConfigError([message]) from None
    path = folder / "extensions" / f"v{duckdb.__version__}" / f"{module}.duckdb_extension"
    connection.execute(f"LOAD {literal(str(path))}")


def attach(connection: duckdb.DuckDBPyConnection, database: AttachedDatabase) -> None:
    """Attach one database under its alias."""
    if database.type != "duckdb":
        load_extension(connection, database.type)
    options = [] if database.type == "duckdb" else [f"TYPE {database.type}"]
    if database.read_only:
        options.append("READ_ONLY")
    clause = f" ({', '.join(options)})" if options else ""
    try:
        connection.execute(
            f"ATTACH {literal(database.connection_string)} AS {quote(database.alias)}{clause}"
        )
    except duckdb.Error as error:
        raise Unavailable(f"database {database.alias!r} cannot be attached") from error
