"""Dates and times as ISO 8601 text, including those beyond Python's own types.

DuckDB has years up to 5,881,580, years before Christ, 24:00:00, infinities and nanoseconds. A year
outside of four digits is written with its sign and at least six digits (``+010000``, ``-000043``),
as in ECMAScript; the infinities are ``infinity`` and ``-infinity``, as in SQL.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

_PER_SECOND: Final = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY: Final = 86_400
_EPOCH: Final = dt.date(1970, 1, 1).toordinal()
_FIRST_DAY: Final = dt.date.min.toordinal() - _EPOCH
_LAST_DAY: Final = dt.date.max.toordinal() - _EPOCH
"""Days since 1970 of the last date that Python supports."""

_SHORT_YEARS: Final = 10_000


def texts(array: pa.Array) -> list[str]:
    """Return the text of each date, time or timestamp in an array; any text for nulls."""
    kind = array.type
    numbers = _numbers(array).fill_null(0).to_pylist()
    if pa.types.is_date32(kind):
        most = 2**31 - 1
        return [_infinite(n, most) or _date(n) for n in numbers]
    if pa.types.is_time(kind):
        return [_time(n, kind.unit) for n in numbers]
    most = 2**63 - 1
    zone = None if kind.tz is None else _zone(kind.tz)
    return [_infinite(n, most) or _timestamp(n, kind.unit, zone) for n in numbers]


def ordinary(array: pa.Array) -> bool:
    """Return whether all are within the years 1 to 9999, and within a day's 24 hours."""
    least, most = (limit.as_py() for limit in pc.min_max(_numbers(array)).values())
    if least is None:
        return True
    kind = array.type
    if pa.types.is_date32(kind):
        return bool(least >= _FIRST_DAY and most <= _LAST_DAY)
    day = _DAY * _PER_SECOND[kind.unit]
    if pa.types.is_time(kind):
        return bool(most < day)
    # A day less on either side, since a time zone may add to it.
    return bool((_FIRST_DAY + 1) * day <= least and most < _LAST_DAY * day)


def _numbers(array: pa.Array) -> pa.Array:
    return array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())  # noqa: PLR2004


def _infinite(number: int, most: int) -> str:
    return "infinity" if number == most else "-infinity" if number == -most else ""


def _date(days: int) -> str:
    if _FIRST_DAY <= days <= _LAST_DAY:
        return dt.date.fromordinal(_EPOCH + days).isoformat()
    # The calendar repeats every 400 years.
    cycles, day = divmod(days, 146_097)
    near = dt.date.fromordinal(_EPOCH + day)
    year = near.year + 400 * cycles
    text = f"{year:04d}" if 0 <= year < _SHORT_YEARS else f"{year:+07d}"
    return f"{text}-{near.month:02d}-{near.day:02d}"


def _time(number: int, unit: str) -> str:
    second, fraction = divmod(number, _PER_SECOND[unit])
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    text = f"{hour:02d}:{minute:02d}:{second:02d}"
    if not fraction:
        return text
    if unit == "ns":
        return f"{text}.{fraction:09d}"
    return f"{text}.{fraction * 1_000_000 // _PER_SECOND[unit]:06d}"


def _timestamp(number: int, unit: str, zone: dt.tzinfo | None) -> str:
    per_second = _PER_SECOND[unit]
    suffix = ""
    if zone is not None:
        offset = _offset(number // per_second, zone)
        number += int(offset.total_seconds()) * per_second
        suffix = dt.time(tzinfo=dt.timezone(offset)).isoformat()[8:]
    days, rest = divmod(number, _DAY * per_second)
    return f"{_date(days)}T{_time(rest, unit)}{suffix}"


def _offset(seconds: int, zone: dt.tzinfo) -> dt.timedelta:
    try:
        return dt.datetime.fromtimestamp(seconds, zone).utcoffset() or dt.timedelta()
    except (ValueError, OverflowError, OSError):
        return dt.timedelta()


def _zone(name: str) -> dt.tzinfo:
    try:
        zone: dt.tzinfo = pa.lib.string_to_tzinfo(name)
    except Exception:  # noqa: BLE001 - a zone that this machine does not know: then its instant
        return dt.UTC
    return zone
