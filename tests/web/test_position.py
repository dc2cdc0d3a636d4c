from __future__ import annotations

import duckdb
import pytest

from pondflight.web.position import position_of

LONG = "x" * 200

STATEMENTS = [
    "SELECT [nothing]",
    "SELECT 1,\n\n  [nothing]\nFROM range(3)",
    f"SELECT '{LONG}', [nothing], '{LONG}'",
    f"SELECT 1, [nothing], '{LONG}'",
    f"SELECT '{LONG}',\n '{LONG}', [nothing]",
    "SELECT '日本語', [nothing]",
    "SELECT 'é̂', [nothing]",
    f"SELECT '{'日本語' * 40}', [nothing]",
    "\n\n\nSELECT\t[nothing]",
    "[SELEC] 1",
]


@pytest.mark.parametrize("marked", STATEMENTS)
def test_position_is_where_duckdb_points(marked: str) -> None:
    start = marked.index("[")
    sql = marked.replace("[", "").replace("]", "")
    with pytest.raises(duckdb.Error) as caught, duckdb.connect() as connection:
        connection.execute(sql)
    above = sql[:start].split("\n")
    assert position_of(str(caught.value), sql) == {
        "line": len(above),
        "column": len(above[-1]) + 1,
        "offset": start,
    }


@pytest.mark.parametrize(
    "message",
    [
        "",
        "Conversion Error: no position",
        "Parser Error\n\nLINE 7: SELECT\n        ^",
        "Parser Error\n\nLINE 0: SELECT\n        ^",
        "Parser Error\n\nLINE 1: ...other...\n        ^",
    ],
)
def test_message_that_points_nowhere_has_no_position(message: str) -> None:
    assert position_of(message, "SELECT 1") is None
