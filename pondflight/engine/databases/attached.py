"""The organisation's databases, attached to the user's DuckDB.

A server that does not answer delays nothing: the worker starts, the other databases work, and its
own is attached as soon as it answers. Until then, a statement that names it fails with an error
that contains the alias and no address, user name or message of the server.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import duckdb

from pondflight.dsn import MYSQL, POSTGRES
from pondflight.engine.databases.faults import (
    Fault,
    Kind,
    fault_of,
    missing_name,
    without_addresses,
)
from pondflight.engine.databases.files import CannotOpen, Files
from pondflight.engine.databases.lossless import Server
from pondflight.engine.databases.mysql_columns import lowered, twins
from pondflight.engine.databases.plan import Spec, plan
from pondflight.engine.databases.server import ServerDatabase, State
from pondflight.engine.databases.sqlitefile import Object
from pondflight.engine.duck import literal, quote
from pondflight.engine.sql.lexer import names
from pondflight.errors import ConfigError, NotSupported, PondflightError, SqlError, Unavailable
from pondflight.telemetry.logs import Event, get_logger

log = get_logger()

__all__ = ["Databases", "Spec"]

_HEARD_SECONDS = 0.25
_ATTACH_SECONDS = 5.0
_ONE_MORE_LOOK_SECONDS = 1.0
_GONE_SECONDS = 1.0
_CROWDED_SECONDS = 1.0
_RECENT_SECONDS = 10.0
_TOGETHER_SECONDS = 0.2

_HOPE = {State.UNKNOWN, State.ANSWERING, State.AWAY}

_SENTENCES: Mapping[Kind, str] = {
    Kind.AWAY: (
        "database {name} cannot be reached at the moment: it is attached again as soon as it "
        "answers, and everything else can be used meanwhile"
    ),
    Kind.REFUSED: (
        "database {name} cannot be attached: its server refuses the connection that is configured "
        "for it; tell the administrator"
    ),
    Kind.TWINS: (
        "database {name} cannot be attached: it has tables whose names differ only by case or "
        "accents, and DuckDB cannot list its tables; tell the administrator"
    ),
    Kind.CROWDED: "database {name} has no free connection: try again in a moment",
    Kind.BROKEN: "the connection to database {name} was lost: run the statement again",
}


_ONLY_READ: Mapping[str, tuple[str, str]] = {
    POSTGRES: ("postgres_execute", "SET TRANSACTION READ ONLY"),
    MYSQL: ("mysql_execute", "START TRANSACTION READ ONLY"),  # ends the one before
}

_FILE = (
    "database {name} cannot be opened: its file is not there or damaged, or somebody writes to it; "
    "tell the administrator"
)

_NO_TABLE = re.compile(r"^(?:Catalog|Binder) Error: (.+) is not an? table")
_READ_ONLY = "Invalid Input Error: database {name} is attached in read-only mode"

_NO_DECIMAL = re.compile(r"DECIMAL type scale cannot be|Information loss on integer cast")
_NO_DECIMALS = r"""
    SELECT database_name, schema_name, table_name, column_name
    FROM system.main.duckdb_columns()
    WHERE database_name IN (SELECT unnest(?))
      AND TRY_CAST(regexp_extract(data_type, 'DECIMAL\(\d+,(\d+)', 1) AS INTEGER)
        > TRY_CAST(regexp_extract(data_type, 'DECIMAL\((\d+)', 1) AS INTEGER)
    ORDER BY ALL LIMIT 5
"""
"""Columns of types that DuckDB cannot handle: numeric(3, -2), numeric(3, 5)."""


class Databases:
    """The attached databases of one worker."""

    def __init__(self, database: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._database = database
        self._files = Files(database, scratch)
        self._missing: set[str] = set()
        self._servers: list[ServerDatabase] = []
        self._more: list[Server] = []

    # -- at the start -------------------------------------------------------------------------

    def attach(
        self,
        specs: Sequence[Spec],
        *,
        require_all: bool,
        before_servers: Callable[[], None] = lambda: None,
    ) -> None:
        """Attach the databases that can be reached, and keep trying the others.

        It waits for servers that answer, and for no others. ``before_servers`` is called when the
        files are attached and no server is yet. With ``require_all``, it raises ``Unavailable`` if
        a database cannot be attached.
        """
        for spec in specs:
            if spec.type in {POSTGRES, MYSQL}:
                self._servers.append(ServerDatabase(self._database, plan(spec)))
            else:
                self._attach_file(spec)
        before_servers()
        self._set_up([server.system for server in self._servers], specs)
        for server in self._servers:
            server.begin()
        heard = time.monotonic() + (_ATTACH_SECONDS if require_all else _HEARD_SECONDS)
        deadline = time.monotonic() + _ATTACH_SECONDS
        for server in self._servers:
            server.wait(lambda state: state is not State.UNKNOWN, _left(heard))
            if server.state is State.ANSWERING:
                server.wait(lambda state: state.settled, _left(deadline))
        absent = self.absent
        if require_all and absent:
            names = ", ".join(map(repr, absent))
            raise Unavailable(f"not attached, and duckdb.require_all is true: {names}")

    @property
    def absent(self) -> list[str]:
        """Return the configured aliases that are not attached now."""
        return [*self._missing, *(one.alias for one in self._servers if not one.present)]

    @property
    def present(self) -> list[str]:
        """Return the configured aliases that are attached now."""
        return [*self._files.present, *(one.alias for one in self._servers if one.present)]

    @property
    def names(self) -> list[str]:
        """Return all our attached catalogs, including those hidden from users."""
        return [*self.present, *self._files.hidden]

    @property
    def of_sqlite(self) -> dict[str, list[Object]]:
        """Return the tables and views of SQLite files by alias.

        DuckDB sees all of them as views.
        """
        return self._files.of_sqlite

    @property
    def stand_ins(self) -> list[tuple[str, str]]:
        """Return catalog and name of the views that stand for tables of a SQLite file."""
        return [
            (alias, one.name)
            for alias, found in self.of_sqlite.items()
            for one in found
            if not one.is_view
        ]

    @property
    def attached_servers(self) -> list[Server]:
        """Return the attached databases of servers."""
        ours = [one for one in self._servers if one.present]
        return [
            Server(one.alias, one.system, one.exact, one.twins, one.writable) for one in ours
        ] + self._more

    def find_servers(self) -> bool:
        """Return whether any database is on a server, attached or not.

        From then on, ``attached_servers`` includes those that the administrator's SQL attached.
        """
        ours = {server.alias.lower() for server in self._servers}
        with self._database.cursor() as cursor:
            found = cursor.execute(
                "SELECT database_name, type, readonly FROM system.main.duckdb_databases()"
            ).fetchall()
            self._more = [
                Server(
                    alias,
                    system,
                    twins=lowered(twins(cursor, alias) if system == MYSQL else {}),
                    writable=not readonly,
                )
                for alias, system, readonly in found
                if system in (MYSQL, POSTGRES) and alias.lower() not in ours
            ]
        return bool(self._servers or self._more)

    def out_of_reach(self) -> AbstractContextManager[None]:
        """Return the context in which the sandbox must be closed: see ``Files``."""
        return self._files.out_of_reach()

    def close(self) -> None:
        """Close all connections to servers."""
        for server in self._servers:
            server.close()

    def _set_up(self, systems: Sequence[str], specs: Sequence[Spec]) -> None:
        """Make the settings of DuckDB's extensions, which apply to all databases of a system."""
        settings: dict[str, bool] = {}
        if POSTGRES in systems:
            # Else a column whose type has changed is decoded as its old type.
            settings["pg_staleness_query_enabled"] = True
            settings["pg_array_as_varchar"] = _any_on_invalid(specs, POSTGRES, "text")
        if MYSQL in systems:
            is_error = _any_on_invalid(specs, MYSQL, "error")
            settings["mysql_incomplete_dates_as_nulls"] = not is_error
        with self._database.cursor() as cursor:
            for name, value in settings.items():
                cursor.execute(f"SET GLOBAL {name} = {value}")

    def _attach_file(self, spec: Spec) -> None:
        try:
            self._files.attach(spec)
        except (CannotOpen, OSError):
            log.warning(Event.DATABASE_REFUSED, alias=spec.alias)
            self._missing.add(spec.alias)

    # -- for statements -----------------------------------------------------------------------

    def before(self, text: str) -> None:
        """Wait briefly for the databases that the SQL ``text`` names, if they are away."""
        hoped_for = [one for one in self._servers if one.state in _HOPE]
        if not hoped_for:
            return
        named = names(text)
        for server in hoped_for:
            if server.alias.lower() in named:
                server.look(_ONE_MORE_LOOK_SECONDS if server.state.settled else _ATTACH_SECONDS)

    def require(self, catalog: str | None) -> None:
        """Wait briefly for the database ``catalog``, if it is one of ours and away.

        Raises ``Unavailable`` if it stays away: an empty list would be taken for the whole truth.
        """
        if catalog is None:
            return
        self.before(quote(catalog))
        for server in self._servers:
            if server.alias.lower() == catalog.lower() and not server.present:
                raise _unavailable(server.hindrance, server.alias)

    def explain(self, error: PondflightError) -> PondflightError:
        """Return the error to report for ``error``, with which a statement has just failed."""
        if isinstance(error, ConfigError):  # raised at the start, with its explanation
            return error
        fault = fault_of(error.message)
        if fault is not None:
            crowded = [one for one in self._servers if one.crowded > _ago(_CROWDED_SECONDS)]
            found = crowded or self._suspects(fault)
            for server in found:
                server.look()
            kind = Kind.CROWDED if crowded else fault.kind
            return _unavailable(kind, *(server.alias for server in found))
        missing = missing_name(error.message)
        for server in self._servers:
            if missing != server.alias.lower():
                continue
            if not server.present:
                return _unavailable(server.hindrance, server.alias)
            if server.changed(_ago(_RECENT_SECONDS)):  # it is back already
                return _unavailable(Kind.BROKEN, server.alias)
        if _NO_DECIMAL.search(error.message):
            return self._explain_by_types(error)
        if isinstance(error, SqlError):
            error.message = without_addresses(error.message)
        return self._explain_by_file(error)

    def _explain_by_types(self, error: PondflightError) -> PondflightError:
        aliases = [one.alias for one in self._servers if one.present and one.system == POSTGRES]
        with suppress(duckdb.Error), self._database.cursor() as cursor:
            found = cursor.execute(_NO_DECIMALS, [aliases]).fetchall() if aliases else []
            places = [f"the column {column} of {'.'.join(table)}" for *table, column in found]
            if places:
                return NotSupported(
                    "a numeric whose scale is negative or larger than its precision cannot be read "
                    f"or written: {', '.join(places)}; a view that casts it can "
                    "(duckdb.init_sql)"
                )
        return error

    def _explain_by_file(self, error: PondflightError) -> PondflightError:
        missing = missing_name(error.message)
        for alias in self._missing:
            if missing == alias.lower():
                return Unavailable(_FILE.format(name=f"'{alias}'"))
        written = _NO_TABLE.search(error.message)
        for alias, name in self.stand_ins:
            if written is not None and name.lower() == written[1].lower():
                return SqlError(_READ_ONLY.format(name=f"'{alias}'"))
        return error

    def keep_from_writing(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Make the transaction on ``cursor`` read-only, at the servers too.

        DuckDB's own READ ONLY does not cover servers that are attached for writing.
        """
        for server in self.attached_servers:
            if server.writable:
                call, text = _ONLY_READ[server.system]
                cursor.execute(f"CALL system.main.{call}({literal(server.alias)}, {literal(text)})")

    def cut_waiting(self, since: float) -> None:
        """End the connections that wait for an answer to a question asked after ``since``.

        This ends a statement that DuckDB cannot interrupt while a server computes.
        """
        for server in self._servers:
            server.cut_waiting(since)

    def gave_way(self, error: PondflightError) -> bool:
        """Return whether ``error`` came from a server that is gone, and whose database is detached.

        Then the failed call may go on without it, for example a list of all tables.
        """
        fault = fault_of(error.message)
        if fault is None:
            return False
        found = self._suspects(fault)
        for server in found:
            server.look()
        return any(
            not server.present or server.wait(lambda state: state is State.AWAY, _GONE_SECONDS)
            for server in found
        )

    def _suspects(self, fault: Fault) -> list[ServerDatabase]:
        """Return the servers that may be at fault: by their port, or because a connection broke."""
        if fault.kind is Kind.BROKEN:
            latest = max((server.broken for server in self._servers), default=0.0)
            since = max(latest - _TOGETHER_SECONDS, _ago(_RECENT_SECONDS))
            found = [server for server in self._servers if server.broken >= since]
        else:
            found = [server for server in self._servers if server.owns(fault.port)]
        return found or self._servers


def _any_on_invalid(specs: Sequence[Spec], system: str, value: str) -> bool:
    return any(spec.type == system and spec.on_invalid == value for spec in specs)


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _ago(seconds: float) -> float:
    return time.monotonic() - seconds


def _unavailable(kind: Kind, *aliases: str) -> Unavailable:
    name = " or ".join(f"'{alias}'" for alias in aliases) or "of duckdb.init_sql"
    return Unavailable(_SENTENCES[kind].format(name=name), retry_after=1.0)
