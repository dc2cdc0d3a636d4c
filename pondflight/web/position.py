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
_JOINER: Final = "\u200d"
_VIRAMA: Final = 9
_EXTENDING: Final = frozenset(
    "\u200d\u0e33\u0eb3"  # the joiner, and a vowel of Thai and Lao
    "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # the colours of skin
) | frozenset(map(chr, range(0x1160, 0x1200)))  # vowels and ends of Hangul syllables
_FLAG_LETTERS: Final = frozenset(map(chr, range(0x1F1E6, 0x1F200)))
"""Two of them are one flag."""


def position_of(message: str, sql: str) -> dict[str, int] | None:
    """Return the position in ``message``: ``line``, ``column`` from 1, ``offset`` from 0.

    Column and offset count characters (code points). Returns None if the message has no position,
    or one in a text that is not ``sql``.
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
    start = _whole_statement(line, shown)
    if start is None:
        cut_front, cut_back = shown.startswith(_CUT), shown.endswith(_CUT)
        shown = shown[len(_CUT) if cut_front else 0 : -len(_CUT) if cut_back else None]
        start = line.find(shown)
        if start < 0:
            return None
        if cut_front:
            width -= len(_CUT)
    column = start + _characters(shown, width)
    offset = sum(len(above) + 1 for above in lines[: number - 1]) + column
    return {"line": number, "column": column + 1, "offset": offset}


def _whole_statement(line: str, shown: str) -> int | None:
    """Return where ``shown`` begins in ``line``, from the end of a statement or of the line.

    Of several statements in a line, the drawing has only one, and its text may occur in another.
    """
    start = line.find(shown)
    while start >= 0:
        end = start + len(shown)
        if line[start - 1 : start] in ("", ";") and line[end : end + 1] in ("", ";", "\r"):
            return start
        start = line.find(shown, start + 1)
    return None


def _characters(text: str, width: int) -> int:
    """Return how many characters of ``text`` precede the one at ``width``, as DuckDB draws it."""
    taken = 0
    before = ""
    flags = 0
    for count, character in enumerate(text):
        is_flag = character in _FLAG_LETTERS
        flags = flags + 1 if is_flag else 0
        extends = _extends(character, before) or (is_flag and flags % 2 == 0)
        before = character
        if extends:
            continue
        columns = _columns(character)
        if columns and taken >= width:
            return count
        taken += columns
    return len(text)


def _extends(character: str, before: str) -> bool:
    """Return whether a character is drawn over the one before it: accents, parts of emoji."""
    category = unicodedata.category(character)
    if before == _JOINER and category == "So":
        return True
    if before and unicodedata.combining(before) == _VIRAMA and category == "Lo":
        return True
    return character in _EXTENDING or category in ("Mn", "Mc", "Me")


def _columns(character: str) -> int:
    if unicodedata.category(character) == "Cc":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
