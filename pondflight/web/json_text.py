"""Arrow values as JSON text, which loses nothing but the type.

Numbers keep all their digits, also decimals and 128-bit integers. Values without a form in JSON
become strings: dates and times (ISO 8601), intervals (ISO 8601 durations), binary data (base64),
and floating-point values that are not numbers. A map becomes an object, unless its keys are not
text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa

from pondflight.web import datetimes

Write = Callable[[Any], str]
"""Returns the JSON text of one Python value that is not None."""

_NULL = "null"
_text: Write = json.encoder.encode_basestring  # with quotation marks; leaves Unicode as it is


def column(array: pa.Array) -> list[str]:
    """Return the JSON text of each value of ``array``."""
    texts = _texts(array)
    if not array.null_count:
        return texts
    valid = array.is_valid().to_pylist()
    return [text if is_valid else _NULL for text, is_valid in zip(texts, valid, strict=True)]


def distinct(names: Sequence[str]) -> list[str]:
    """Return distinct names: a second ``a`` becomes ``a_1``, since an object has each name once."""
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


def _texts(array: pa.Array) -> list[str]:  # noqa: PLR0911 - one for each family of types
    """Return the same as ``column``, except that nulls may have any text."""
    kind, types = array.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return column(array.storage)
    if types.is_dictionary(kind):
        entries = column(array.dictionary)
        return [_NULL if index is None else entries[index] for index in array.indices.to_pylist()]
    if types.is_date32(kind) or types.is_time(kind) or types.is_timestamp(kind):
        return [f'"{text}"' for text in datetimes.texts(array)]
    if types.is_struct(kind):
        return _structs(array)
    if types.is_map(kind):
        return _maps(array)
    if types.is_list(kind) or types.is_large_list(kind):
        return [f"[{','.join(items)}]" for items in _items(array.offsets, array.values)]
    if types.is_fixed_size_list(kind):
        size = kind.list_size
        items = column(array.values.slice(array.offset * size, len(array) * size))
        return [f"[{','.join(items[n * size : (n + 1) * size])}]" for n in range(len(array))]
    if types.is_union(kind):
        return _unions(array)
    write = _writer(kind)
    return [_NULL if value is None else write(value) for value in array.to_pylist()]


def _writer(kind: pa.DataType) -> Write:
    """Return a function that writes a ``to_pylist`` value of a type without children."""
    return next((write for fits, write in _WRITERS if fits(kind)), lambda v: _text(str(v)))


def _float(value: float) -> str:
    if value - value == 0:
        return repr(value)
    return '"NaN"' if value != value else '"Infinity"' if value > 0 else '"-Infinity"'  # noqa: PLR0124


def _bytes(value: bytes) -> str:
    return f'"{base64.b64encode(value).decode()}"'


def _interval(value: pa.MonthDayNano) -> str:
    months, days, nanoseconds = value
    date = "".join(f"{n}{unit}" for n, unit in ((months, "M"), (days, "D")) if n)
    if not nanoseconds:
        return f'"P{date or "0D"}"'
    sign = "-" if nanoseconds < 0 else ""
    seconds, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f'"P{date}T{sign}{seconds}{digits}S"'


_WRITERS: tuple[tuple[Callable[[pa.DataType], bool], Write], ...] = (
    (pa.types.is_integer, str),
    (pa.types.is_boolean, lambda value: "true" if value else "false"),
    (pa.types.is_floating, _float),
    (pa.types.is_decimal, lambda value: format(value, "f")),
    (pa.types.is_interval, _interval),
    (pa.types.is_binary, _bytes),
    (pa.types.is_large_binary, _bytes),
    (pa.types.is_fixed_size_binary, _bytes),
)


# -- what has parts ---------------------------------------------------------------------------


def _items(offsets: pa.Array, values: pa.Array) -> list[list[str]]:
    """Return the texts of the ``values`` of each list."""
    bounds = offsets.to_pylist()
    first = bounds[0] if bounds else 0
    texts = column(values.slice(first, bounds[-1] - first)) if bounds else []
    return [texts[begin - first : end - first] for begin, end in pairwise(bounds)]


def _structs(array: pa.StructArray) -> list[str]:
    names = [_text(array.type.field(i).name) for i in range(array.type.num_fields)]
    columns = [column(array.field(i)) for i in range(len(names))]
    if not columns:
        return ["{}"] * len(array)
    return [
        "{" + ",".join(f"{name}:{text}" for name, text in zip(names, row, strict=True)) + "}"
        for row in zip(*columns, strict=True)
    ]


def _maps(array: pa.MapArray) -> list[str]:
    keys, values = _items(array.offsets, array.keys), _items(array.offsets, array.items)
    pairs = [list(zip(*row, strict=True)) for row in zip(keys, values, strict=True)]
    if pa.types.is_string(array.type.key_type):
        return ["{" + ",".join(f"{k}:{v}" for k, v in row) + "}" for row in pairs]
    return ["[" + ",".join(f'{{"key":{k},"value":{v}}}' for k, v in row) + "]" for row in pairs]


def _unions(array: pa.UnionArray) -> list[str]:
    kind = array.type
    places = {code: i for i, code in enumerate(kind.type_codes)}
    columns = [column(array.field(i)) for i in range(kind.num_fields)]
    codes = array.type_codes.to_pylist()
    rows = array.offsets.to_pylist() if kind.mode == "dense" else range(len(array))
    return [columns[places[code]][row] for code, row in zip(codes, rows, strict=True)]
