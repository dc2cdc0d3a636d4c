"""What a statement really calls, as DuckDB has bound it: views, macros and EXECUTEs resolved.

A statement's text shows the names that it uses; its plan shows what they stand for. So before a
statement runs, the table functions in its plan are checked against the same list as those in its
text (``engine.guards.functions``): a function that is not on the list is refused, whoever's view it
is in. Such a plan does not show scalar functions: those are looked for in each text, and in
everything that is stored (``engine.guards.stored``). A plan costs as much as a short query, so a
text is checked once, until something may have changed what it stands for.
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
"""Kinds of statements that change no view, no macro, and no name."""

_VALUES = re.compile(
    r"""\s*+INSERT\s++INTO\s++[\w."]++\s*+(?:\([\w\s,"]++\)\s*+)?VALUES
    (?:[\s,()]++ | [-+]?[\d.]++(?:e[-+]?\d++)? | '[^']*+' | (?:NULL|TRUE|FALSE)\b)*+;?\s*+""",
    re.IGNORECASE | re.VERBOSE,
)
"""Rows of constants, which call nothing and may be long."""

_OURS = frozenset({"sqlite_query"})
"""Called by the server's own views of SQLite's; no user can create such a view."""

_MOST_TEXTS = 512


def changes_names(kind: str) -> bool:
    """Return whether a statement of that kind may change what names stand for."""
    return kind not in _HARMLESS


class Bound:
    """Checks the plans of one worker's statements.

    ``refused``: the functions, in lower case, that no plan may contain.
    """

    def __init__(self, refused: frozenset[str], paths: Paths) -> None:
        self.paths = paths
        self.by_value = False
        """Whether a parameter's value may be the name of a table, in ``query_table``."""
        self._refused = refused - SCANS - _OURS
        self._lock = threading.Lock()
        self._changes = 0
        self._passing: set[str] = set()
        self._of_session: WeakKeyDictionary[Cursor, set[str]] = WeakKeyDictionary()

    def forget(self, kind: str) -> None:
        """Note that a statement of that kind may have run: names may stand for something else."""
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
        """Check ``statement``, which is about to run on ``cursor``; ``plan`` is its own, if known.

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
        """Return the checked texts of this session, which may have tables and macros of its own."""
        return self._passing if cursor.passing else self._of_session.setdefault(cursor, set())

    def _look(
        self,
        connection: duckdb.DuckDBPyConnection,
        statement: Statement,
        values: Values,
        plan: Sequence[Node] | None,
    ) -> None:
        text = statement.planned if statement.effect != statement.kind else statement.describable
        several = len(connection.extract_statements(text)) > 1  # such as PIVOT
        if plan is None:
            plan = () if several else _plan(connection, text, values)
        called = set(table_functions(plan))
        for name in sorted(called & self._refused):
            raise PermissionDenied(f"Permission Error: the function {name}() is not available here")
        if several or statement.effect == "CREATE":  # EXPLAIN does not show all of a CREATE
            self.paths.check_text(text)
        if not called.isdisjoint(SHOWING):
            self.paths.check(connection, text)


def _plan(connection: duckdb.DuckDBPyConnection, text: str, values: Values) -> Sequence[Node]:
    """Return the result of EXPLAIN; empty for statements that it does not accept."""
    with sql_errors(lines_above=1):
        try:
            row = connection.execute(f"EXPLAIN (FORMAT json)\n{text}", values).fetchone()
        except duckdb.ParserException:  # such as CREATE SECRET; the text itself was parsed before
            row = None
    plan: Sequence[Node] = json.loads(row[1]) if row else ()
    return plan


def table_functions(plan: Sequence[Node]) -> Iterator[str]:
    """Yield the table functions, in lower case, in the result of ``EXPLAIN (FORMAT json)``."""
    for node in nodes(plan):
        yield from node["name"].lower().split()[:1]
        function = node["extra_info"].get("Function")
        if isinstance(function, str):
            yield function.lower()
