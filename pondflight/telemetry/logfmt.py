"""Formats fields as one log line, such that no value can forge another field or line.

Logs contain user text: names, statements, error messages. Everything but printable characters is
escaped, so a terminal, ``grep`` and a parser all see the same line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST_VALUE = 4000
"""Characters. The rest of a longer value is cut off, marked with ``…``."""

LONGEST_TRACE = 20_000
"""Characters of a traceback, whose end is the most useful part."""

TRACE = "exception"
"""The field that holds a traceback."""

_PROSE = frozenset({"msg", "error", TRACE})
"""Fields that are always quoted, since they are sentences."""

_BARE = re.compile(r"[A-Za-z0-9_/:@+-][A-Za-z0-9_./:@,+%-]*")
_NOT_IN_KEY = re.compile(r"[^A-Za-z0-9_.]")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def line(fields: Iterable[tuple[str, object]]) -> str:
    """Return ``fields`` as one line, without a newline."""
    return " ".join(
        f"{_NOT_IN_KEY.sub('_', key) or '_'}={_value(key, value)}" for key, value in fields
    )


def _value(key: str, value: object) -> str:
    text = _text(value)
    if key == TRACE and len(text) > LONGEST_TRACE:
        text = "…" + text[-LONGEST_TRACE:]
    elif key != TRACE and len(text) > LONGEST_VALUE:
        text = text[:LONGEST_VALUE] + "…"
    if key not in _PROSE and _BARE.fullmatch(text):
        return text
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _text(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a value that cannot be shown must not cost the line
        return f"<{type(value).__name__}>"


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    # Not printable: controls, ANSI escapes, line separators, lone surrogates, and formatting
    # characters that reverse the text.
    if character.isprintable():
        return character
    code = ord(character)
    if code <= 0xFF:  # noqa: PLR2004 - two digits
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - four digits
