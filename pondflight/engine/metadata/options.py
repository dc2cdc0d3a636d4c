"""Session options: the catalog, the schema, the statement timeout, and DuckDB's settings.

They do what ``USE`` and ``SET`` do in SQL, for clients that have calls for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import duckdb

from pondflight.engine.databases.fixed import OWN
from pondflight.engine.duck import literal, quote
from pondflight.engine.execution.sessions import Session
from pondflight.engine.execution.timeouts import NAME as STATEMENT_TIMEOUT
from pondflight.engine.execution.timeouts import milliseconds, seconds
from pondflight.errors import InvalidArgument
from pondflight.flightsql.commands import SessionOptionError, SessionOptionValue

Options: TypeAlias = Mapping[str, SessionOptionValue]

_LARGEST = 2**63 - 1


class _Refused(Exception):
    """The option cannot be set, for ``reason``."""

    def __init__(self, reason: SessionOptionError) -> None:
        super().__init__(reason)
        self.reason = reason


def set_options(
    cursor: duckdb.DuckDBPyConnection, session: Session, options: Options, *, longest: float
) -> dict[str, SessionOptionError]:
    """Set options of the session whose cursor this is; return those not set, and why.

    ``longest`` is the server's own statement timeout in seconds, 0 for none.
    """
    errors: dict[str, SessionOptionError] = {}
    # The catalog first: choosing one chooses its default schema as well.
    for name in sorted(options, key=lambda name: (name != "catalog", name != "schema", name)):
        value = options[name]
        try:
            if name == STATEMENT_TIMEOUT:
                session.statement_timeout = _timeout(value, longest)
            else:
                _SETTERS.get(name, _set_setting)(cursor, name, value)
        except _Refused as refused:
            errors[name] = refused.reason
        except duckdb.Error:
            errors[name] = SessionOptionError.INVALID_VALUE
    return errors


def get_options(
    cursor: duckdb.DuckDBPyConnection, statement_timeout: float
) -> dict[str, SessionOptionValue]:
    """Return a session's options: catalog, schema, timeout, and the settings that are its own."""
    row = cursor.execute("SELECT current_database(), current_schema()").fetchone()
    assert row is not None
    settings = cursor.execute(
        "SELECT name, value, input_type FROM duckdb_settings() WHERE scope = 'LOCAL' ORDER BY name"
    ).fetchall()
    found: dict[str, SessionOptionValue] = {
        name: _typed(value or "", input_type) for name, value, input_type in settings
    }
    return found | {
        "catalog": row[0],
        "schema": row[1],
        STATEMENT_TIMEOUT: milliseconds(statement_timeout),
    }


def _timeout(value: SessionOptionValue, longest: float) -> float | None:
    if isinstance(value, bool | list | float):
        raise _Refused(SessionOptionError.INVALID_VALUE)
    try:
        return seconds(value, longest=longest)
    except InvalidArgument:
        raise _Refused(SessionOptionError.INVALID_VALUE) from None


def _set_catalog(cursor: duckdb.DuckDBPyConnection, _: str, value: SessionOptionValue) -> None:
    if value is None:
        cursor.execute("RESET search_path")
        return
    known = cursor.execute(
        "SELECT 1 FROM duckdb_databases() WHERE database_name = ? AND NOT internal", [value]
    ).fetchone()
    if not isinstance(value, str) or known is None:
        raise _Refused(SessionOptionError.INVALID_VALUE)
    cursor.execute(f"USE {quote(value)}")


def _set_schema(cursor: duckdb.DuckDBPyConnection, _: str, value: SessionOptionValue) -> None:
    row = cursor.execute("SELECT current_database()").fetchone()
    assert row is not None
    if value is None:
        cursor.execute(f"USE {quote(row[0])}")
        return
    if not isinstance(value, str):
        raise _Refused(SessionOptionError.INVALID_VALUE)
    cursor.execute(f"USE {quote(row[0])}.{quote(value)}")


def _set_setting(cursor: duckdb.DuckDBPyConnection, name: str, value: SessionOptionValue) -> None:
    known = cursor.execute(
        "SELECT 1 FROM duckdb_settings() WHERE name = ? OR list_contains(aliases, ?)", [name, name]
    ).fetchone()
    if known is None or name.lower() in OWN:
        raise _Refused(SessionOptionError.INVALID_NAME)
    if value is None:
        cursor.execute(f"RESET {quote(name)}")
    else:
        cursor.execute(f"SET {quote(name)} = {_sql(value)}")


_SETTERS: dict[str, Callable[[duckdb.DuckDBPyConnection, str, SessionOptionValue], None]] = {
    "catalog": _set_catalog,
    "schema": _set_schema,
}


def _sql(value: SessionOptionValue) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return literal(str(value))


def _typed(value: str, input_type: str) -> SessionOptionValue:
    """Return a setting's value in its type, given DuckDB's text of it."""
    try:
        if input_type == "BOOLEAN":
            return value.lower() in ("true", "1")
        if input_type == "DOUBLE":
            return float(value)
        if input_type.endswith("INT") and int(value) <= _LARGEST:
            return int(value)
    except ValueError:
        pass
    return value
