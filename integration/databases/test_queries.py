"""The queries of docs/databases.md, over three servers and over the same data in one DuckDB."""

from __future__ import annotations

import math
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from integration.databases import tpch
from integration.deployment import Deployment

_DOCUMENT = Path(__file__).parents[2] / "docs" / "databases.md"
_QUERIES = re.search(
    r"^## Queries$(.*?)^## ", _DOCUMENT.read_text("utf-8") + "\n## ", re.DOTALL | re.MULTILINE
)
assert _QUERIES is not None
QUERIES = re.findall(r"^```sql\n(.*?)^```$", _QUERIES[1], re.DOTALL | re.MULTILINE)


def test_all_documented_queries_are_found() -> None:
    assert len(QUERIES) == 6


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.split("\n")[0][:40])
def test_a_documented_query_gives_the_rows_of_one_local_duckdb(
    three: Deployment, query: str
) -> None:
    with closing(tpch.local()) as source:
        expected = source.execute(query).fetchall()
        names = [column[0] for column in source.description or []]
    with three.connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        assert [column[0] for column in cursor.description or []] == names
        assert _rounded(cursor.fetchall()) == _rounded(expected)
    assert expected


def _rounded(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Round sums of floats, whose last digit depends on the order."""
    return [
        tuple(float(f"{c:.9g}") if isinstance(c, float) and math.isfinite(c) else c for c in row)
        for row in rows
    ]


@pytest.mark.parametrize("table", ["shop.public.orders", "shop.public.lineitem"])
def test_every_row_of_postgresql_arrives(three: Deployment, table: str) -> None:
    _compare(three, f"SELECT * FROM {table} ORDER BY ALL")


def test_every_row_of_mariadb_arrives(three: Deployment) -> None:
    _compare(three, "SELECT * FROM crm.customer ORDER BY ALL")


def test_every_row_of_sqlite_arrives(three: Deployment) -> None:
    _compare(three, "SELECT * FROM warehouse.part ORDER BY ALL")


def _compare(deployment: Deployment, query: str) -> None:
    with closing(tpch.local()) as source:
        expected = source.execute(query).fetchall()
    with deployment.connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        assert cursor.fetchall() == expected
