"""Withholds the filters of joins where DuckDB would apply them too early.

DuckDB 1.5 passes the keys of one side of a join to the scans of the other side, even through a
LIMIT in between: ``(FROM t ORDER BY id DESC LIMIT 10) JOIN …`` then returns ten matching rows,
instead of the matching ones among the last ten. ``tests/engine/test_joinfilters.py`` shows it;
check it again when DuckDB's version changes. Only a setting of the whole database switches these
filters off. So it is set while such a statement is planned and begun; other statements are merely
slower meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from pondflight.engine.databases.fixed import OPTIMIZERS
from pondflight.engine.databases.queryplan import PLANNED, Node, QueryPlan
from pondflight.engine.duck import literal
from pondflight.engine.sql.statement import Statement

_OPTIMIZER = "join_filter_pushdown"
_WORDS = ("limit", "fetch", "offset", "sample", "query")
"""The words of a LIMIT, and functions whose argument is a query."""
_STORED_WORDS = rf"\b({'|'.join(_WORDS)}|query_table)\b"
_NODES = ("LIMIT", "TOP_N", "SAMPLE")
_HIDES = frozenset({"ATTACH", "COPY_DATABASE", "EXECUTE"})
_STORED = """
    SELECT 1 FROM (
        SELECT sql AS text FROM system.main.duckdb_views() WHERE NOT internal
        UNION ALL
        SELECT macro_definition FROM system.main.duckdb_functions() WHERE NOT internal
    ) WHERE regexp_matches(text, ?, 'i') LIMIT 1
"""


class JoinFilters:
    """Withholds join filters from the statements of one worker."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._withheld_from = 0
        self._before = ""
        self._stored: bool | None = None

    def may_limit(self, statement: Statement) -> bool:
        """Return whether the statement, or a view or macro that it names, may contain a LIMIT."""
        text = statement.text.lower()
        limits = any(word in text for word in _WORDS)
        if statement.effect in _HIDES or (limits and statement.effect == "CREATE"):
            self._stored = True
        if statement.effect not in PLANNED:
            return False
        if limits or self._stored:
            return True
        if self._stored is None:
            with self._database.cursor() as cursor:
                found = cursor.execute(_STORED, [_STORED_WORDS]).fetchone()
            self._stored = found is not None
        return self._stored

    @contextmanager
    def withheld(self) -> Iterator[None]:
        """While inside, statements are planned without join filters."""
        with self._lock:
            if not self._withheld_from:
                self._switch_off()
            self._withheld_from += 1
        try:
            yield
        finally:
            with self._lock:
                self._withheld_from -= 1
                if not self._withheld_from:
                    self._set(self._before)

    def _switch_off(self) -> None:
        with self._database.cursor() as cursor:
            row = cursor.execute(f"SELECT current_setting({literal(OPTIMIZERS)})").fetchone()
        self._before = str(row[0]) if row else ""
        self._set(f"{self._before},{_OPTIMIZER}" if self._before else _OPTIMIZER)

    def _set(self, value: str) -> None:
        with self._database.cursor() as cursor:
            cursor.execute(f"SET GLOBAL {OPTIMIZERS} = {literal(value)}")


def pass_limits(plan: QueryPlan) -> bool:
    """Return whether a join of the plan may pass its filters through a LIMIT."""
    return not plan.is_whole or any(
        "JOIN" in node["name"] and node["children"] and _limits(node["children"][0])
        for node in plan.nodes()
    )


def _limits(node: Node) -> bool:
    return any(word in node["name"] for word in _NODES) or any(map(_limits, node["children"]))
