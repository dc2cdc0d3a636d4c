"""What a worker does when it is told whose databases it has: ``control.CONFIGURE``.

In this order: extensions, databases, the administrator's own SQL, the sandbox. Users come after
that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from pondflight.engine import extensions, sandbox
from pondflight.engine.databases import Databases, Spec
from pondflight.engine.sandbox import Sandbox
from pondflight.engine.sessions import SessionLimits, Sessions


def start_up(
    database: duckdb.DuckDBPyConnection,
    databases: Databases,
    sessions: Sessions,
    folder: Path,
    wanted: dict[str, Any],
) -> Sandbox | None:
    """Bring the worker into the state that ``wanted`` describes; what users' SQL must not do.

    ``folder`` is where users have their files. Raises a leaf that says what is in the way; its
    text is for the administrator.
    """
    limits = wanted.get("sessions")
    if limits:
        sessions.limits = SessionLimits(**limits)
    specs = [Spec(**entry) for entry in wanted.get("databases", [])]
    types = {spec.type for spec in specs} - {"duckdb"}
    extensions.load(database, types.union(wanted.get("extensions", [])))
    databases.attach(specs, require_all=wanted.get("require_all", False))
    jail = wanted.get("sandbox")
    if jail is None:
        return None
    with databases.out_of_reach():
        return sandbox.close(
            database, folder=folder, databases=[spec.alias for spec in specs], **jail
        )
