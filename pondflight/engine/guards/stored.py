"""What persistent storage brings along: views and macros that an earlier worker has stored.

They were checked when they were made, if that was in a sandbox such as this one. An earlier version
may have let through what is refused today, and without a sandbox nothing was checked.
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb

from pondflight.engine.duck import quote
from pondflight.telemetry.logs import Event, get_logger

log = get_logger()

_VIEWS = """
    SELECT 'VIEW', schema_name, view_name, sql FROM system.main.duckdb_views() WHERE NOT internal
"""
_MACROS = """
    SELECT CASE function_type WHEN 'macro' THEN 'MACRO' ELSE 'MACRO TABLE' END,
        schema_name, function_name, macro_definition
    FROM system.main.duckdb_functions() WHERE NOT internal AND macro_definition IS NOT NULL
"""


def drop_unsafe(
    database: duckdb.DuckDBPyConnection, is_safe: Callable[[str], bool]
) -> list[tuple[str, str]]:
    """Drop the stored views and macros whose text is not safe; their schemas and names.

    To be called while nothing else is attached.
    """
    dropped: list[tuple[str, str]] = []
    with database.cursor() as cursor:
        found = [row for query in (_VIEWS, _MACROS) for row in cursor.execute(query).fetchall()]
        for kind, schema, name, text in found:
            if not is_safe(text):
                cursor.execute(f"DROP {kind} IF EXISTS {quote(schema)}.{quote(name)} CASCADE")
                dropped.append((schema, name))
    for schema, name in dropped:
        log.warning(Event.OBJECT_DROPPED, schema=schema, name=name)
    return dropped
