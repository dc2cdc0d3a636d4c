"""What a worker does when it is told whose databases it has: ``control.CONFIGURE``.

In this order: extensions, databases, the administrator's own SQL. Users come after that.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pondflight.engine import extensions
from pondflight.engine.databases import Databases, Spec
from pondflight.engine.sessions import SessionLimits, Sessions


def start_up(
    database: duckdb.DuckDBPyConnection,
    databases: Databases,
    sessions: Sessions,
    wanted: dict[str, Any],
) -> None:
    """Bring the worker into the state that ``wanted`` describes.

    Raises a leaf that says what is in the way; its text is for the administrator.
    """
    specs = [Spec(**entry) for entry in wanted.get("databases", [])]
    types = {spec.type for spec in specs} - {"duckdb"}
    extensions.load(database, types.union(wanted.get("extensions", [])))
    databases.attach(specs, require_all=wanted.get("require_all", False))
    limits = wanted.get("sessions")
    if limits:
        sessions.limits = SessionLimits(**limits)
