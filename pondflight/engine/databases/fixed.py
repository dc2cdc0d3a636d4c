"""The settings of DuckDB's extensions that right answers depend on: all of them, in one place.

They are set behind ``duckdb.init_sql`` and before the sandbox closes, which locks them. Look at
each again when DuckDB's version changes: ``integration/databases/test_meaning.py`` shows why.
"""

from __future__ import annotations

import duckdb

FIXED: dict[str, str] = {
    # A filter that goes to MySQL is a string of the extension's making, in which backslashes are as
    # they were: to MySQL they are escapes, so that a value, of the user's or of anybody's row, can
    # be SQL. And it is compared by collation, which ignores case, accents and blanks at the end.
    "mysql_experimental_filter_pushdown": "false",
    # Another way to the same filters, by cost.
    "mysql_enable_predicate_analyzer": "false",
    # max() of text goes by collation, avg() has four digits; of a subquery all are INTERNAL errors.
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
"""All that the lock leaves open for us alone."""


def fix(database: duckdb.DuckDBPyConnection) -> None:
    """Set them all, as far as their extensions are loaded."""
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
