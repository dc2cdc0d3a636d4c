"""Cells in one form, whether from Arrow, from JSON, or from the text of a database's client.

A cell is ``None``, a bool, an int, a float, a Decimal, text, bytes, or a tuple of cells. Dates are
days since 1970; times and timestamps are in the unit of their type, so that years beyond 9999 are
plain numbers; an interval is (months, days, nanoseconds).
"""

from __future__ import annotations

import base64
import csv
import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa

Cell = Any
Row = tuple[Cell, ...]

_INFINITE_DAY = 2**31 - 1
_INFINITE_TIME = 2**63 - 1
_BOOLEANS = {"t": True, "f": False, "1": True, "0": False, "\1": True, "\0": False}
_PER_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}
_DATE = re.compile(r"([+-]?\d+)-(\d+)-(\d+)( BC)?")
_TIME = re.compile(r"(-?)(\d+):(\d+)(?::(\d+)(?:\.(\d+))?)?")
_ZONE = re.compile(r"(?:Z|([+-])(\d\d)(?::?(\d\d))?)$")
_NUMBER = re.compile(r"[-+\d.e]+")
_DURATION = re.compile(
    r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?[\d.]+)S)?)?$"
)


def rows_of(table: pa.Table) -> list[Row]:
    """Return the rows of an Arrow table."""
    columns = [_column(column.combine_chunks()) for column in table.columns]
    return list(zip(*columns, strict=True)) if columns else [()] * table.num_rows


def types_of(schema: pa.Schema) -> list[pa.DataType]:
    """Return the types of the columns; for an ENUM its values' type, as which it is sent."""
    return [_plain(field.type) for field in schema]


def from_text(text: str | bytes | None, type_: pa.DataType) -> Cell:
    """Return a cell that PostgreSQL, MariaDB or SQLite wrote, read as Arrow's ``type_``."""
    if text is None:
        return None
    if pa.types.is_binary(type_):
        return text if isinstance(text, bytes) else bytes.fromhex(text.removeprefix("\\x"))
    plain = text.decode() if isinstance(text, bytes) else text
    if pa.types.is_struct(type_):
        return _struct(plain, type_)
    if _is_list(type_):
        return _list(plain, type_)
    return _BOOLEANS[plain] if pa.types.is_boolean(type_) else _scalar(plain, type_)


def from_json(value: Any, type_: pa.DataType) -> Cell:
    """Return a cell of a JSON line, read as Arrow's ``type_``; numbers must be Decimals."""
    if value is None:
        return None
    if pa.types.is_binary(type_):
        return base64.b64decode(value)
    if _is_list(type_):
        return tuple(from_json(item, type_.value_type) for item in value)
    if pa.types.is_struct(type_):
        return tuple(from_json(value[field.name], field.type) for field in type_)
    if pa.types.is_boolean(type_):
        assert isinstance(value, bool), value
    return value if isinstance(value, bool) else _scalar(str(value), type_)


def same(one: Sequence[Row], other: Sequence[Row], *, ordered: bool, digits: int = 17) -> bool:
    """Return whether two results have the same rows, in the same order or equally often.

    Floats are compared in their first ``digits`` digits. NaN equals NaN, and 0 equals -0 only if
    digits are left out.
    """
    left = [tuple(_key(cell, digits) for cell in row) for row in one]
    right = [tuple(_key(cell, digits) for cell in row) for row in other]
    if ordered:
        return left == right
    return sorted(left, key=repr) == sorted(right, key=repr)


def _key(cell: Cell, digits: int) -> Cell:
    if isinstance(cell, bool):
        return ("bool", cell)
    if isinstance(cell, tuple):
        return tuple(_key(item, digits) for item in cell)
    if isinstance(cell, Decimal):
        return ("decimal", cell.as_tuple() if digits >= 17 else cell)
    if isinstance(cell, float):
        if math.isfinite(cell) and digits < 17:
            return ("float", float(f"{cell:.{digits}g}") + 0.0)
        return ("float", repr(cell))
    return cell


# -- from Arrow ---------------------------------------------------------------------------------


def _column(array: pa.Array) -> list[Cell]:
    read = next((read for is_such, read in _FORMS if is_such(array.type)), pa.Array.to_pylist)
    return list(read(array))


def _structs(array: pa.Array) -> list[Cell]:
    rows = zip(*map(_column, array.flatten()), strict=True)
    return [row if valid else None for row, valid in zip(rows, _valid(array), strict=True)]


def _lists(array: pa.Array) -> list[Cell]:
    return [tuple(_column(cell.values)) if cell.is_valid else None for cell in array]


def _valid(array: pa.Array) -> list[bool]:
    return list(array.is_valid().to_pylist())


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_fixed_size_list(type_))


_FORMS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Iterable[Cell]]], ...] = (
    (pa.types.is_dictionary, lambda array: _column(array.dictionary_decode())),
    (pa.types.is_date32, lambda array: array.view(pa.int32()).to_pylist()),
    (pa.types.is_timestamp, lambda array: array.view(pa.int64()).to_pylist()),
    (pa.types.is_time64, lambda array: array.view(pa.int64()).to_pylist()),
    (pa.types.is_interval, lambda array: (cell and tuple(cell) for cell in array.to_pylist())),
    (_is_list, _lists),
    (pa.types.is_struct, _structs),
)


def _plain(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(type_):
        return _plain(type_.value_type)
    if pa.types.is_list(type_):
        return pa.list_(_plain(type_.value_type))
    return type_


# -- from text ----------------------------------------------------------------------------------


def _scalar(text: str, type_: pa.DataType) -> Cell:
    for is_such, read in _READERS:
        if is_such(type_):
            return read(text, type_)
    raise NotImplementedError(f"{type_}: {text!r}")


def _float(text: str, type_: pa.DataType) -> float:
    value = float(text)
    return float(pa.scalar(value, type_).as_py())


def _decimal(text: str, type_: pa.DataType) -> Decimal:
    """Return a decimal with the scale of the type; extra digits stay, and are a difference."""
    value = Decimal(text)
    if not value.is_finite():
        return value
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if -exponent < type_.scale:
        return value.scaleb(0).__class__(
            (value.as_tuple().sign, digits + (0,) * (type_.scale + exponent), -type_.scale)
        )
    while -exponent > type_.scale and digits and digits[-1] == 0:
        digits, exponent = digits[:-1], exponent + 1
    return Decimal((value.as_tuple().sign, digits or (0,), exponent))


def _date(text: str, type_: pa.DataType) -> int:
    if text.endswith("infinity"):
        return -_INFINITE_DAY if text.startswith("-") else _INFINITE_DAY
    found = _DATE.match(text)
    assert found, text
    year = int(found[1])
    if text.endswith("BC"):
        year = 1 - year
    return _days(year, int(found[2]), int(found[3]))


def _days(year: int, month: int, day: int) -> int:
    """Return the days since 1970-01-01 in the proleptic Gregorian calendar, for any year."""
    cycles = (year - 1) // 400
    return date(year - 400 * cycles, month, day).toordinal() + 146_097 * cycles - 719_163


def _time(text: str, type_: pa.DataType) -> int:
    found = _TIME.match(text)
    assert found, text
    unit = _PER_SECOND[type_.unit]
    fraction = int((found[5] or "0").ljust(9, "0")[:9]) * unit // 1_000_000_000
    seconds = (int(found[2]) * 60 + int(found[3])) * 60 + int(found[4] or 0)
    return (seconds * unit + fraction) * (-1 if found[1] else 1)


def _timestamp(text: str, type_: pa.DataType) -> int:
    if text.endswith("infinity"):
        return -_INFINITE_TIME if text.startswith("-") else _INFINITE_TIME
    unit = _PER_SECOND[type_.unit]
    plain = text.removesuffix(" BC")
    day, _, clock = plain.replace("T", " ").partition(" ")
    shift = 0
    if zone := _ZONE.search(clock):
        clock = clock[: zone.start()]
        if zone[1]:
            minutes = int(zone[2]) * 60 + int(zone[3] or 0)
            shift = minutes * 60 * (1 if zone[1] == "+" else -1)
    days = _date(day + (" BC" if plain != text else ""), type_)
    return (days * 86_400 - shift) * unit + (_time(clock, type_) if clock else 0)


def _interval(text: str, type_: pa.DataType) -> tuple[int, int, int]:
    found = _DURATION.match(text)
    assert found, text
    years, months, days, hours, minutes = (int(found[n] or 0) for n in range(1, 6))
    seconds = Decimal(found[6] or 0)
    nanoseconds = (hours * 3600 + minutes * 60) * 10**9 + int(seconds * 10**9)
    return (years * 12 + months, days, nanoseconds)


def _struct(text: str, type_: pa.DataType) -> tuple[Cell, ...]:
    """Return a composite value or a point of PostgreSQL's."""
    fields = next(csv.reader([text[1:-1]], strict=True))
    return tuple(
        from_text(field or None, part.type) for field, part in zip(fields, type_, strict=True)
    )


def _list(text: str, type_: pa.DataType) -> tuple[Cell, ...]:
    """Return an array of PostgreSQL's, or the numbers of one of its geometric types."""
    if pa.types.is_float64(type_.value_type) and not text.startswith("{"):
        return tuple(map(float, _NUMBER.findall(text)))
    return tuple(from_text(item, type_.value_type) for item in _array(text))


def _array(text: str) -> list[str | None]:
    """Return the items of an array of PostgreSQL's, one level deep."""
    assert text[0] == "{", text
    assert text[-1] == "}", text
    items: list[str | None] = []
    at, end = 1, len(text) - 1
    while at < end:
        if text[at] == '"':
            item, at = "", at + 1
            while text[at] != '"':
                at += text[at] == "\\"
                item, at = item + text[at], at + 1
            items.append(item)
            at += 2
        elif text[at] == "{":
            depth, start = 0, at
            while True:
                depth += {"{": 1, "}": -1}.get(text[at], 0)
                at += 1
                if depth == 0:
                    break
            items.append(text[start:at])
            at += 1
        else:
            stop = text.find(",", at, end)
            stop = end if stop < 0 else stop
            items.append(None if text[at:stop] == "NULL" else text[at:stop])
            at = stop + 1
    return items


_READERS: tuple[tuple[Callable[[Any], bool], Callable[[str, Any], Cell]], ...] = (
    (pa.types.is_integer, lambda text, _: int(Decimal(text)) if Decimal(text) % 1 == 0 else text),
    (pa.types.is_floating, _float),
    (pa.types.is_decimal, _decimal),
    (pa.types.is_string, lambda text, _: text),
    (pa.types.is_date32, _date),
    (pa.types.is_time64, _time),
    (pa.types.is_timestamp, _timestamp),
    (pa.types.is_interval, _interval),
)
