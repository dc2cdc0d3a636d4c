"""A LIMIT below a join chooses its rows before the join does."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from pondflight.engine.databases.queryplan import read_plan
from pondflight.engine.execution.joinfilters import JoinFilters, pass_limits
from pondflight.engine.sql.statement import parse

_LAST = "SELECT a.id FROM large a JOIN large b USING (id) ORDER BY a.id DESC LIMIT 200"
QUERY = f"SELECT count(*) FROM ({_LAST}) d JOIN small t ON d.id = t.n"
"""The 200 largest ids, and how many of them are among the 20 smallest: none."""


@pytest.fixture(name="duck")
def fixture_duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE large AS SELECT i AS id FROM range(300000) AS r(i)")
        connection.execute("CREATE TABLE small AS SELECT i AS n FROM range(20) AS r(i)")
        yield connection


def test_duckdb_itself_still_has_the_fault(duck: duckdb.DuckDBPyConnection) -> None:
    """When this fails, the guard has become needless."""
    assert duck.execute(QUERY).fetchone() != (0,)


def test_filters_are_withheld_while_one_statement_needs_it(
    duck: duckdb.DuckDBPyConnection,
) -> None:
    duck.execute("SET disabled_optimizers = 'late_materialization'")
    filters = JoinFilters(duck)
    with filters.withheld(), filters.withheld():
        assert duck.execute(QUERY).fetchone() == (0,)
    kept = duck.execute("SELECT current_setting('disabled_optimizers')").fetchone()
    assert kept == ("late_materialization",)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (QUERY, True),
        ("SELECT count(*) FROM (FROM large OFFSET 3) d JOIN small t ON d.id = t.n", True),
        ("PIVOT large ON id % 2 USING count(*)", True),
        ("SELECT * FROM large JOIN small ON id = n ORDER BY n LIMIT 5", False),
        ("SELECT * FROM large JOIN small ON id = n", False),
        ("SELECT * FROM large LIMIT 5", False),
    ],
)
def test_only_limits_on_the_side_that_is_filtered_matter(
    duck: duckdb.DuckDBPyConnection, query: str, expected: bool
) -> None:
    (statement,) = parse(duck, query)
    assert pass_limits(read_plan(duck, statement, None)) is expected


def test_a_limit_may_be_in_a_view_or_a_macro(duck: duckdb.DuckDBPyConnection) -> None:
    (statement,) = parse(duck, "FROM large JOIN small ON id = n")
    (create,) = parse(duck, f"CREATE VIEW last AS {_LAST}")
    filters = JoinFilters(duck)
    assert not filters.may_limit(statement)
    assert filters.may_limit(create)
    assert filters.may_limit(statement)
    duck.execute("CREATE MACRO first_rows() AS TABLE FROM large LIMIT 5")
    assert JoinFilters(duck).may_limit(statement)
