"""The statement timeout of a session: set as an option, or as SQL, as PostgreSQL has it.

DuckDB has no such setting, so ``SET statement_timeout`` is taken out of the SQL before DuckDB
sees it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NoReturn

from pondflight import control
from pondflight.engine.sql.lexer import tokenize
from pondflight.errors import InvalidArgument
from pondflight.units import DURATION, format_duration, parse_duration

NAME: Final = "statement_timeout"
PATIENCE: Final = 1.0
"""Seconds for which a statement may go on after its limit.

DuckDB checks for interrupts between vectors, and one value of a vector may take as long as its
author likes.
"""
_SCOPES = ("session", "global")


def seconds(value: str | int | None, *, longest: float) -> float | None:
    """Return a timeout in seconds, from milliseconds or from text such as ``30s``; 0 is none.

    ``None`` and 0 stand for the server's own, which is ``longest`` (0: none). Raises
    ``InvalidArgument`` for anything that is not a time, and for more than ``longest``.
    """
    if value is None:
        return None
    try:
        milli = isinstance(value, int) or value.strip().isdecimal()
        wanted = parse_duration(f"{value}ms" if milli else str(value)).total_seconds()
    except ValueError:
        wanted = -1.0
    if wanted < 0:
        raise InvalidArgument(f"{NAME}: a whole number of milliseconds, or {DURATION}")
    if longest and wanted > longest:
        raise InvalidArgument(
            f"{NAME}: the server allows {format_duration(timedelta(seconds=longest))} at most "
            "(duckdb.statement_timeout)"
        )
    return wanted or None


def end_worker() -> NoReturn:
    """End this process: a statement cannot be interrupted, and its time is long over."""
    sys.stderr.write("a statement went on after its time limit: the worker ends\n")
    sys.stderr.flush()
    os._exit(control.OVERRAN)


def milliseconds(timeout: float) -> int:
    """Return a timeout in milliseconds, as clients get it; 0 is none."""
    return round(timeout * 1000)


@dataclass(frozen=True, slots=True)
class Assignment:
    """``SET statement_timeout = value``; ``value`` is ``None`` for RESET and for DEFAULT."""

    value: str | None


def assignment(text: str) -> Assignment | None:
    """Return the assignment in ``text``; ``None`` if it is another statement."""
    words = [token.text for token in tokenize(text)]
    verb, *rest = words or [""]
    if rest and rest[0] in _SCOPES:
        rest = rest[1:]
    if not rest or rest[0].strip('"') != NAME:
        return None
    if verb == "reset" and len(rest) == 1:
        return Assignment(None)
    if verb != "set" or len(rest) < 3 or rest[1] not in ("=", "to"):  # noqa: PLR2004  name = value
        return None
    value = "".join(rest[2:]).strip("'")
    return Assignment(None if value == "default" else value)
