"""Durations and sizes as people write them: ``1h30m``, ``250ms``, ``512m``, ``1g``.

It is apart from the settings because the command line of a worker also reads sizes, and must not
spend time on importing the settings.
"""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction

DURATION = "a duration with its unit, such as 250ms, 30s, 5m, 1h or 1h30m"
SIZE = "a size, such as 256k, 512m or 1g, or a whole number of bytes"

LONGEST = timedelta(days=365)
"""Longest duration, far below the limits of clocks, timers and locks."""

LARGEST = 1 << 60
"""Largest size, in bytes."""

_DURATION = re.compile(
    r"(?:([0-9]{1,12})h)?(?:([0-9]{1,12})m)?(?:([0-9]{1,12})s)?(?:([0-9]{1,12})ms)?"
)
_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_duration(text: str) -> timedelta:
    """Return a duration such as ``1h30m``; a ``ValueError`` says what is wrong.

    A number without a unit is refused: it might be seconds or milliseconds.
    """
    text = text.strip()
    if text == "0":
        return timedelta()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        message = "has no unit"
        raise ValueError(message)
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        message = "is not a duration"
        raise ValueError(message)
    hours, minutes, seconds, milliseconds = (int(group or 0) for group in match.groups())
    try:
        value = timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
    except OverflowError:
        value = timedelta.max
    if value > LONGEST:
        message = f"is longer than {format_duration(LONGEST)}"
        raise ValueError(message)
    return value


def format_duration(value: timedelta) -> str:
    """Return a duration in whole milliseconds, such that ``parse_duration`` reads it again."""
    rest = value // timedelta(milliseconds=1)
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Return the bytes of a size such as ``512m``; units are powers of 1024, as in Docker."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        message = "is not a size"
        raise ValueError(message)
    number, unit = match.groups()
    value = int(Fraction(number) * _SIZE_UNITS[unit.lower()])
    if value > LARGEST:
        message = f"is larger than {format_size(LARGEST)}"
        raise ValueError(message)
    return value


def format_size(value: int) -> str:
    """Return a size in the largest unit that leaves it whole: ``1536m``, ``1g``, ``1000``."""
    for unit in ("t", "g", "m", "k"):
        count, rest = divmod(value, _SIZE_UNITS[unit])
        if count and not rest:
            return f"{count}{unit}"
    return str(value)
