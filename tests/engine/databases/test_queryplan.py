"""What DuckDB says of a statement before it runs."""

from __future__ import annotations

import duckdb
import pytest

from pondflight.engine.databases.queryplan import read_plan
from pondflight.engine.sql.statement import parse
from pondflight.errors import SqlError


def test_an_error_shows_the_statement_and_nothing_that_was_put_before_it() -> None:
    sql = "INSERT INTO t\nVALUES (99999)"
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (n TINYINT)")
        (statement,) = parse(connection, sql)
        with pytest.raises(
            SqlError, match=r"out of range(?s:.*)\nLINE 2: VALUES \(99999\)"
        ) as told:
            read_plan(connection, statement, None)
    assert "EXPLAIN" not in told.value.message
