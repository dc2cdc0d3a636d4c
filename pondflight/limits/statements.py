"""How many statements a SQL text has, at most.

The proxy counts by this, without DuckDB, before a worker sees the text; the worker, which parses
it, runs no more than were counted. So a text that hides a statement from this count is refused; if
in doubt, the count is too high.
"""

from __future__ import annotations

import json
import re

_STATEMENT = re.compile(
    r"""
    (?:
        [^;'"$/e-]++
        | '(?:[^']|'')*+'
        | "(?:[^"]|"")*+"
        | (?<![\w$])e'(?:[^'\\]|''|\\.)*+' | e(?!') | (?<=[\w$])e(?=')
        | --[^\r\n]*+ | -(?!-)
        | /\*.*?\*/ | /(?!\*)       # to the first end, where DuckDB may want as many as beginnings
        | (?<![\w$])\$(?P<tag>(?:[^\W\d]\w*+)?)\$.*?\$(?P=tag)\$
        | \$(?!(?:[^\W\d]\w*+)?\$) | (?<=[\w$])\$
    )*+
    """,
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
"""Everything up to the semicolon that ends it, or to a quote or comment that does not end."""

_EMPTY = re.compile(r"(?:\s++|--[^\r\n]*+|/\*.*?\*/)*+", re.DOTALL)
_MOST = 10_000
"""From this number on, it is not worth the time to find out which semicolons end a statement."""


def count(text: str) -> int:
    """Return the number of statements in ``text``, at least one; never fewer than DuckDB finds."""
    if ";" not in text.rstrip().rstrip(";"):
        return 1
    found, place = 0, 0
    while place < len(text) and found < _MOST:
        piece = _STATEMENT.match(text, place)
        assert piece is not None  # it may be empty
        found += _EMPTY.fullmatch(piece[0]) is None
        place = piece.end() + 1
        if text[piece.end() : place] not in (";", ""):
            place = piece.end()
            break
    return max(1, found + text.count(";", place))


def count_handle(handle: bytes) -> int:
    """Return the number of statements in a worker's handle (``engine.execution.handles``).

    It may be forged.
    """
    end = handle.find(b"\n")
    head = handle if end < 0 else handle[:end]
    if b";" not in head:
        return 1
    try:
        text = json.loads(head)["q"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 1
    return count(text) if isinstance(text, str) else 1
