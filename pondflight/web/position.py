"""Where in the SQL an error is: DuckDB draws it under the line; a program wants numbers.

::

    LINE 3:   where amuont > 1
                    ^

Long lines are cut at both ends, so the drawing is found again in the text that was sent.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_DRAWING: Final = re.compile(r"\nLINE (\d+): ([^\n]*)\n( *)\^")
_CUT: Final = "..."


def position_of(message: str, sql: str) -> dict[str, int] | None:
    """Where ``message`` points in ``sql``: ``line`` and ``column`` from 1, ``offset`` from 0.

    Column and offset count characters (code points). None where the message points nowhere, or
    at a text that is not ``sql``.
    """
    drawing = _DRAWING.search(message)
    if drawing is None:
        return None
    number = int(drawing[1])
    lines = sql.split("\n")
    if not 1 <= number <= len(lines):
        return None
    line, shown = lines[number - 1], drawing[2]
    width = len(drawing[3]) - len(f"LINE {number}: ")
    start = 0
    if not line.startswith(shown):
        cut_front, cut_back = shown.startswith(_CUT), shown.endswith(_CUT)
        piece = shown[len(_CUT) if cut_front else 0 : -len(_CUT) if cut_back else None]
        start = line.find(piece)
        if start < 0:
            return None
        if cut_front:
            width -= len(_CUT)
        shown = piece
    column = start + _characters(shown, width)
    offset = sum(len(above) + 1 for above in lines[: number - 1]) + column
    return {"line": number, "column": column + 1, "offset": offset}


def _characters(text: str, width: int) -> int:
    """How many characters of ``text`` stand before the one at ``width``, as DuckDB draws it."""
    taken = 0
    for count, character in enumerate(text):
        columns = _columns(character)
        if columns and taken >= width:
            return count
        taken += columns
    return len(text)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == "Cc":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
