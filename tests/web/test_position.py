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
    "SELECT '👨\u200d👩\u200d👧', [nothing]",
    "SELECT '❤\ufe0f👍🏽', [nothing]",
    "SELECT '🇩🇪🇫🇷🇩', [nothing]",
    "SELECT '한국어 हिन्दी ไทย', [nothing]",
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
    ("sql", "shown", "column"),
    [
        ("SELECT 1;SELECT nope", "SELECT nope", 17),
        ("SELECT nope FROM t;SELECT nope", "SELECT nope", 27),
        ("SELECT 1; SELECT nope ;SELECT nope", " SELECT nope ", 18),
        ("SELECT nope;SELECT nope", "SELECT nope", 8),
        ("SELECT nope\r\n;SELECT 1", "SELECT nope", 8),
    ],
)
def test_of_several_statements_in_a_line_the_drawing_has_one(
    sql: str, shown: str, column: int
) -> None:
    caret = " " * (len("LINE 1: ") + shown.index("nope")) + "^"
    found = position_of(f"Binder Error: no\n\nLINE 1: {shown}\n{caret}", sql)
    assert found == {"line": 1, "column": column, "offset": column - 1}


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
