"""What databases bring along: stored views, macros, defaults and checks.

In the user's own storage, they were checked when they were made, if that was in this sandbox. An
earlier version may have allowed what is refused today, and without a sandbox nothing was checked,
nor in the files that the configuration attaches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb

from pondflight.engine.duck import quote
from pondflight.engine.guards.functions import calls
from pondflight.engine.sql.lexer import plain
from pondflight.telemetry.logs import Event, get_logger

log = get_logger()

_OBJECTS = """
    SELECT 'VIEW', database_name, schema_name, view_name, view_name, sql
    FROM system.main.duckdb_views() WHERE NOT internal
    UNION ALL
    SELECT CASE function_type WHEN 'macro' THEN 'MACRO' ELSE 'MACRO TABLE' END,
        database_name, schema_name, function_name, function_name, macro_definition
    FROM system.main.duckdb_functions() WHERE NOT internal AND macro_definition IS NOT NULL
    UNION ALL
    SELECT 'INDEX', database_name, schema_name, index_name, table_name, sql
    FROM system.main.duckdb_indexes() WHERE sql IS NOT NULL
    UNION ALL
    SELECT 'TABLE', database_name, schema_name, table_name, table_name, sql
    FROM system.main.duckdb_tables() WHERE NOT internal
"""
"""The objects with their text; a table's text includes defaults, checks and generated columns."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A database object that calls a function that users may not.

    ``kind`` is the word after ``DROP``; ``used_as`` is the name by which statements use the object.
    """

    kind: str
    database: str
    schema: str
    name: str
    used_as: str

    @property
    def is_called(self) -> bool:
        """Return whether its name has an effect only before a parenthesis."""
        return self.kind.startswith("MACRO")


class Kept:
    """The stored objects that call one of the functions ``refused`` (names in lower case)."""

    def __init__(self, database: duckdb.DuckDBPyConnection, refused: frozenset[str]) -> None:
        self.refused: dict[str, Stored] = {}
        """What stays, by name in lower case: no statement may use it."""
        self._database = database
        self._functions = refused

    def read_storage(self) -> None:
        """Drop such objects from the user's own storage, except for those that hold rows.

        Call it while nothing else is attached. Storage in memory is new and has nothing.
        """
        for one in self._unsafe() if self._is_in_file() else ():
            if one.kind == "TABLE":
                self._keep(one)
                continue
            place = f"{quote(one.schema)}.{quote(one.name)}"
            end = "" if one.kind == "INDEX" else " CASCADE"
            with self._database.cursor() as cursor:
                cursor.execute(f"DROP {one.kind} IF EXISTS {place}{end}")
            log.warning(Event.OBJECT_DROPPED, schema=one.schema, name=one.name)

    def _is_in_file(self) -> bool:
        with self._database.cursor() as cursor:
            found = cursor.execute(
                "SELECT 1 FROM system.main.duckdb_databases() WHERE path IS NOT NULL"
            ).fetchone()
        return found is not None

    def read_files(self, aliases: set[str]) -> None:
        """Read those in the attached databases with these names; we may not drop them.

        Call it while no server is attached, since each would be asked for all of its tables.
        """
        if aliases:
            for one in self._unsafe():
                if one.database in aliases:
                    self._keep(one)

    def _keep(self, one: Stored) -> None:
        log.warning(Event.OBJECT_REFUSED, database=one.database, schema=one.schema, name=one.name)
        self.refused[one.used_as.lower()] = one

    def _unsafe(self) -> Iterator[Stored]:
        with self._database.cursor() as cursor:
            found = cursor.execute(_OBJECTS).fetchall()
        for *place, text in found:
            if calls(plain(text), self._functions):
                yield Stored(*place)
