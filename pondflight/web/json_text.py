"""Arrow values as JSON text, with nothing lost but the type.

Numbers keep all their digits, decimals and 128-bit integers too. What JSON has no form for becomes
a string: dates and times (ISO 8601), intervals (ISO 8601 durations), binary data (base64), and the
floating-point values that are no numbers. A map becomes an object, unless its keys are not text.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

Write = Callable[[Any], str]
"""Gives the JSON text of one Python value that is not None."""

_NULL = "null"
_text: Write = json.encoder.encode_basestring  # with the quotation marks; leaves Unicode as it is


def column(array: pa.Array) -> list[str]:
    """The JSON text of each value of ``array``."""
    array = _plain(array)
    write = writer(array.type)
    return [_NULL if value is None else write(value) for value in array.to_pylist()]


def writer(kind: pa.DataType) -> Write:  # noqa: C901, PLR0911 - one for each family of types
    """How a value of this type is written, as ``to_pylist`` gives it."""
    types = pa.types
    if types.is_boolean(kind):
        return lambda value: "true" if value else "false"
    if types.is_integer(kind):
        return str
    if types.is_floating(kind):
        return _float
    if types.is_decimal(kind):
        return lambda value: format(value, "f")
    if types.is_date(kind) or types.is_time(kind) or types.is_timestamp(kind):
        return lambda value: f'"{value.isoformat()}"'
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return lambda value: f'"{base64.b64encode(value).decode()}"'
    if types.is_interval(kind):
        return _interval
    if types.is_struct(kind):
        return _struct(kind)
    if types.is_map(kind):
        return _map(kind)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _list(kind)
    return _any


def distinct(names: Sequence[str]) -> list[str]:
    """``names``, where a second ``a`` is ``a_1``: an object has each name once."""
    taken = set(names)
    seen: set[str] = set()
    result = []
    for name in names:
        new, number = name, 0
        while new in seen or (number and new in taken):
            number += 1
            new = f"{name}_{number}"
        seen.add(new)
        result.append(new)
    return result


def _plain(array: pa.Array) -> pa.Array:
    """``array`` with values that ``to_pylist`` can give."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(array.storage)
    if pa.types.is_dictionary(kind):
        return _plain(array.dictionary_decode())
    # Python's times have no nanoseconds.
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return array.cast(pa.string())
    if pa.types.is_time64(kind) and kind.unit == "ns":
        return array.cast(pa.string())
    return array


def _float(value: float) -> str:
    if value - value == 0:
        return repr(value)
    return '"NaN"' if value != value else '"Infinity"' if value > 0 else '"-Infinity"'  # noqa: PLR0124


def _interval(value: Any) -> str:
    months, days, nanoseconds = value
    date = "".join(f"{n}{unit}" for n, unit in ((months, "M"), (days, "D")) if n)
    if not nanoseconds:
        return f'"P{date or "0D"}"'
    sign = "-" if nanoseconds < 0 else ""
    seconds, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f'"P{date}T{sign}{seconds}{digits}S"'


def _struct(kind: pa.StructType) -> Write:
    fields = [kind.field(i) for i in range(kind.num_fields)]
    writers = [(field.name, _text(field.name), writer(field.type)) for field in fields]

    def write(value: dict[str, Any]) -> str:
        parts = (
            f"{name_text}:{_NULL if value[name] is None else write_field(value[name])}"
            for name, name_text, write_field in writers
        )
        return "{" + ",".join(parts) + "}"

    return write


def _list(kind: Any) -> Write:
    write_item = writer(kind.value_type)

    def write(value: list[Any]) -> str:
        return "[" + ",".join(_NULL if v is None else write_item(v) for v in value) + "]"

    return write


def _map(kind: pa.MapType) -> Write:
    write_key, write_item = writer(kind.key_type), writer(kind.item_type)
    by_name = pa.types.is_string(kind.key_type)

    def write(value: list[tuple[Any, Any]]) -> str:
        pairs = [(write_key(k), _NULL if v is None else write_item(v)) for k, v in value]
        if by_name:
            return "{" + ",".join(f"{k}:{v}" for k, v in pairs) + "}"
        return "[" + ",".join(f'{{"key":{k},"value":{v}}}' for k, v in pairs) + "]"

    return write


def _any(value: Any) -> str:  # noqa: PLR0911 - one for each kind of value
    """A value whose type says too little: of a union, or text."""
    match value:
        case None:
            return _NULL
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _float(value)
        case bytes():
            return f'"{base64.b64encode(value).decode()}"'
        case dt.date() | dt.time():
            return f'"{value.isoformat()}"'
        case dict():
            return "{" + ",".join(f"{_text(str(k))}:{_any(v)}" for k, v in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_any, value)) + "]"
    return str(_text(str(value)))
