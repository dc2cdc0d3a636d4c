"""What a worker does when it learns its user's databases: ``control.CONFIGURE``.

In this order: extensions, the check of persistent storage, databases, the administrator's own SQL,
fixed settings, the sandbox. Users come after that.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import duckdb

from pondflight.control import Json
from pondflight.engine import extensions
from pondflight.engine.databases import fixed
from pondflight.engine.databases.attached import Databases, Spec
from pondflight.engine.duck import files_folder
from pondflight.engine.execution.sessions import SessionLimits, Sessions
from pondflight.engine.guards import sandbox
from pondflight.engine.guards.bound import Bound
from pondflight.engine.guards.functions import BuiltIn, calls
from pondflight.engine.guards.paths import Paths
from pondflight.engine.guards.sandbox import Sandbox
from pondflight.engine.guards.stored import Kept
from pondflight.engine.sql.lexer import plain, tokenize
from pondflight.engine.sql.statement import split
from pondflight.errors import ConfigError, SqlError

_SHARE_OF_FREE_DISK = 0.9


def start_up(
    database: duckdb.DuckDBPyConnection,
    databases: Databases,
    sessions: Sessions,
    built_in: BuiltIn,
    scratch: Path,
    wanted: Json,
) -> Sandbox | None:
    """Bring the worker into the state that ``wanted`` describes; return the limits of users' SQL.

    Raises an error that says what is in the way; its text is for the administrator.
    """
    limits = wanted.get("sessions")
    if limits:
        sessions.limits = SessionLimits(**limits)
    specs = [Spec(**entry) for entry in wanted.get("databases", [])]
    types = {spec.type for spec in specs} - {"duckdb"}
    extensions.load(database, types.union(wanted.get("extensions", [])))
    refused = built_in.read()
    jail = wanted.get("sandbox")
    kept = Kept(database, refused) if jail is not None else None
    if kept is not None:
        kept.read_storage()
    spill = room(scratch, wanted.get("scratch_limit"))
    if spill is not None:
        with database.cursor() as cursor:
            cursor.execute(f"SET GLOBAL max_temp_directory_size = '{spill}B'")
    files = {spec.alias for spec in specs if spec.type == "duckdb"}
    databases.attach(
        specs,
        require_all=wanted.get("require_all", False),
        before_servers=lambda: kept.read_files(files) if kept is not None else None,
    )
    initial = wanted.get("init_sql") or ""
    run_initial(database, databases, initial)
    fixed.fix(database)
    if jail is None or kept is None:
        return None
    names = [*(spec.alias for spec in specs), *databases.names, *_attached(database)]
    with databases.out_of_reach():
        return sandbox.close(
            database,
            folder=files_folder(scratch),
            databases=names,
            functions=refused,
            stored=kept.refused,
            # Only the administrator decides what their own views and macros call.
            bound=Bound(
                refused - calls(plain(initial), refused),
                Paths(database, [spec.alias for spec in specs if spec.type == "sqlite"]),
            ),
            **jail,
        )


def run_initial(database: duckdb.DuckDBPyConnection, databases: Databases, text: str) -> None:
    """Run ``duckdb.init_sql``.

    Raises ``ConfigError`` with the number of the statement that fails, and a message that leaves
    out any part of the statement that may be a secret.
    """
    with database.cursor() as cursor:
        for number, statement in enumerate(split(text), 1):
            try:
                cursor.execute(statement)
            except duckdb.Error as error:
                said = SqlError(str(error))
                found = databases.explain(said)  # without the server's own message
                why = _without_literals(str(error), statement) if found is said else found.message
                problem = f"duckdb.init_sql: statement {number} failed: {why}"
                raise ConfigError([problem]) from None


def _without_literals(message: str, statement: str) -> str:
    """Return the first line of DuckDB's ``message`` without the strings in ``statement``."""
    line = message.strip().partition("\n")[0]
    kind, _, _ = line.partition(": ")
    if kind == "Parser Error":  # it quotes the text that it cannot parse
        return "Parser Error"
    for token in tokenize(statement):
        literal = token.text.strip("'")
        if token.text != literal and literal:
            line = re.sub(re.escape(literal), "***", line, flags=re.IGNORECASE)
    return line


def room(scratch: Path, limit: int | None) -> int | None:
    """Return how many bytes of ``limit`` the disk has; a last part of it always stays free."""
    if limit is None:
        return None
    disk = os.statvfs(scratch)
    return min(limit, int(disk.f_bavail * disk.f_frsize * _SHARE_OF_FREE_DISK))


def _attached(database: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the attached databases, including those that the administrator's SQL attached."""
    with database.cursor() as cursor:
        rows = cursor.execute(
            "SELECT database_name FROM system.main.duckdb_databases() WHERE NOT internal"
        ).fetchall()
    return [name for (name,) in rows]
