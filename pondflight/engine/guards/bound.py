"""What a statement comes to, as DuckDB has bound it: its views, macros and EXECUTEs resolved.

The text of a statement shows what it names; its plan shows what those names stand for. So before a
statement runs, the table functions in its plan are held against the same list as those in its text
(``engine.guards.functions``): what is not on the list is refused, whoever's view it stood in.
Functions of values are not in such a plan: they are looked for in each text, and in all that is
stored (``engine.guards.stored``).

A plan costs as much as a short query, so a text is looked at once, as long as nothing changes what
it may stand for.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import duckdb

from pondflight.engine.databases.queryplan import PLANNED, Node, nodes
from pondflight.engine.duck import sql_errors
from pondflight.engine.execution.cursors import Cursor
from pondflight.engine.guards.functions import SCANS
from pondflight.engine.guards.paths import SHOWING, Paths
from pondflight.engine.sql.statement import Statement
from pondflight.engine.types.parameters import Values
from pondflight.errors import PermissionDenied

_PLANNED = PLANNED | {"CALL", "VARIABLE_SET"}
"""Kinds of statements that can call a table function, and that EXPLAIN knows."""

_HARMLESS = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE_INTO", "COPY", "EXPLAIN"})
"""Kinds that change no view, no macro, and no name."""

_VALUES = re.compile(
    r"""\s*+INSERT\s++INTO\s++[\w."]++\s*+(?:\([\w\s,"]++\)\s*+)?VALUES
    (?:[\s,()]++ | [-+]?[\d.]++(?:e[-+]?\d++)? | '[^']*+' | (?:NULL|TRUE|FALSE)\b)*+;?\s*+""",
    re.IGNORECASE | re.VERBOSE,
)
"""Rows of constants: they call nothing, and may be long."""

_OURS = frozenset({"sqlite_query"})
"""What views of the server's own call: those that stand for SQLite's. No user can make another."""

_MOST_TEXTS = 512


def changes_names(kind: str) -> bool:
    """Whether a statement of that kind may change what names stand for."""
    return kind not in _HARMLESS


class Bound:
    """Looks at the plans of one worker's statements.

    ``refused``: the functions, in lower case, that no plan may have in it.
    """

    def __init__(self, refused: frozenset[str], paths: Paths) -> None:
        self.paths = paths
        self.by_value = False
        """Whether the value of a parameter may be the name of a table, in ``query_table``."""
        self._refused = refused - SCANS - _OURS
        self._lock = threading.Lock()
        self._changes = 0
        self._passing: set[str] = set()
        self._of_session: WeakKeyDictionary[Cursor, set[str]] = WeakKeyDictionary()

    def forget(self, kind: str) -> None:
        """A statement of that kind has run, or may have: names may stand for something else."""
        if not changes_names(kind):
            return
        with self._lock:
            self._changes += 1
            self._passing = set()
            self._of_session = WeakKeyDictionary()

    def check(
        self,
        cursor: Cursor,
        statement: Statement,
        values: Values,
        plan: Sequence[Node] | None = None,
    ) -> None:
        """Look at ``statement``, which is about to run on ``cursor``; ``plan``: its own, if known.

        Raises ``PermissionDenied`` for what it may not call or read, and ``SqlError`` for what
        cannot be bound.
        """
        if statement.effect not in _PLANNED or statement.kind == "PREPARE":
            return
        if _VALUES.fullmatch(statement.text):
            return
        key = f"{statement.text}\0{values!r}" if self.by_value else statement.text
        with self._lock:
            changes = self._changes
            if key in self._texts(cursor):
                return
        self._look(cursor.connection, statement, values, plan)
        with self._lock:
            texts = self._texts(cursor)
            if changes == self._changes and len(texts) < _MOST_TEXTS:
                texts.add(key)

    def _texts(self, cursor: Cursor) -> set[str]:
        """Those that were looked at: a session may have tables and macros of its own."""
        return self._passing if cursor.passing else self._of_session.setdefault(cursor, set())

    def _look(
        self,
        connection: duckdb.DuckDBPyConnection,
        statement: Statement,
        values: Values,
        plan: Sequence[Node] | None,
    ) -> None:
        text = statement.planned if statement.effect != statement.kind else statement.describable
        several = len(connection.extract_statements(text)) > 1  # PIVOT, for one
        if plan is None:
            plan = () if several else _plan(connection, text, values)
        called = set(table_functions(plan))
        for name in sorted(called & self._refused):
            raise PermissionDenied(f"Permission Error: the function {name}() is not available here")
        if several or statement.effect == "CREATE":  # of which EXPLAIN does not show all
            self.paths.check_text(text)
        if not called.isdisjoint(SHOWING):
            self.paths.check(connection, text)


def _plan(connection: duckdb.DuckDBPyConnection, text: str, values: Values) -> Sequence[Node]:
    """What EXPLAIN says; nothing of what it does not take, which is no query."""
    with sql_errors(lines_above=1):
        try:
            row = connection.execute(f"EXPLAIN (FORMAT json)\n{text}", values).fetchone()
        except duckdb.ParserException:  # CREATE SECRET: as such, the text has been parsed already
            row = None
    plan: Sequence[Node] = json.loads(row[1]) if row else ()
    return plan


def table_functions(plan: Sequence[Node]) -> Iterator[str]:
    """The table functions, in lower case, of what ``EXPLAIN (FORMAT json)`` says."""
    for node in nodes(plan):
        yield from node["name"].lower().split()[:1]
        function = node["extra_info"].get("Function")
        if isinstance(function, str):
            yield function.lower()
