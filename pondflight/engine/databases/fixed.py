"""The settings of DuckDB's extensions that correct answers depend on, in one place.

They are made after ``duckdb.init_sql`` and before the sandbox closes, which locks them. Check each
again when DuckDB's version changes: ``integration/databases/test_meaning.py`` shows why.
"""

from __future__ import annotations

import duckdb

FIXED: dict[str, str] = {
    # The extension writes a filter for MySQL as a string without escaping backslashes. MySQL reads
    # them as escapes, so a value in a row, the user's or anybody's, could become SQL. MySQL also
    # compares by collation, which ignores case, accents and trailing blanks.
    "mysql_experimental_filter_pushdown": "false",
    # Another way to the same filters, chosen by cost.
    "mysql_enable_predicate_analyzer": "false",
    # max() of text goes by collation, avg() has four digits, and subqueries are INTERNAL errors.
    "mysql_aggregate_pushdown_enabled": "false",
    # ORDER BY of text goes by collation.
    "mysql_order_pushdown_enabled": "false",
}

FILTERS = "pg_experimental_filter_pushdown"
TEXT_PROTOCOL = "pg_use_text_protocol"
PER_STATEMENT: dict[str, str] = {FILTERS: "true", TEXT_PROTOCOL: "false"}
"""What is set for each statement, so that the lock leaves it open; users are refused it by name."""

OPTIMIZERS = "disabled_optimizers"
OWN = (*PER_STATEMENT, OPTIMIZERS)
"""All settings that the lock leaves open for us alone."""


def fix(database: duckdb.DuckDBPyConnection) -> None:
    """Make all these settings, as far as their extensions are loaded."""
    with database.cursor() as cursor:
        for name in _known(cursor, tuple(FIXED)):
            cursor.execute(f"RESET SESSION {name}; SET GLOBAL {name} = {FIXED[name]}")
        for name in _known(cursor, tuple(PER_STATEMENT)):
            cursor.execute(f"RESET SESSION {name}; SET GLOBAL {name} = {PER_STATEMENT[name]}")


def _known(cursor: duckdb.DuckDBPyConnection, names: tuple[str, ...]) -> list[str]:
    found = cursor.execute(
        "SELECT name FROM system.main.duckdb_settings() WHERE list_contains(?, name)", [list(names)]
    ).fetchall()
    return [name for (name,) in found]
