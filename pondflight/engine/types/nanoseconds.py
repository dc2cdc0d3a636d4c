"""Refuses nanoseconds where DuckDB has microseconds, since it would cut them off in silence.

DuckDB keeps the nanoseconds of a TIMESTAMP without time zone and of a TIME. A TIMESTAMP WITH TIME
ZONE and an INTERVAL, also one that was sent as a duration, have no room for them.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pondflight.engine.types import compute as pc
from pondflight.errors import InvalidArgument

_IN_A_MICROSECOND = 1000
_TOO_FINE = (
    "a value has nanoseconds, but {} of DuckDB's has microseconds at the finest: "
    "round the value, or send a timestamp without time zone"
)
TIMESTAMP = "a timestamp with time zone"
INTERVAL = "an interval"


def too_fine(what: str) -> InvalidArgument:
    """Return the error for a value of the kind ``what``."""
    return InvalidArgument(_TOO_FINE.format(what))


def require_microseconds(array: pa.Array) -> None:
    """Raise ``InvalidArgument`` if DuckDB would cut a value of ``array``, at any depth."""
    kind = array.type
    what = _stored_as(kind)
    if what is not None:
        if _any_finer(_nanoseconds(array)):
            raise too_fine(what)
    elif _may_be_cut(kind):
        for part in _parts(array):
            require_microseconds(part)


def _stored_as(kind: pa.DataType) -> str | None:
    if pa.types.is_timestamp(kind) and kind.tz is not None and kind.unit == "ns":
        return TIMESTAMP
    if pa.types.is_interval(kind) or (pa.types.is_duration(kind) and kind.unit == "ns"):
        return INTERVAL
    return None


def _may_be_cut(kind: pa.DataType) -> bool:
    """Return whether ``kind`` contains such a type, so that most arrays need no inspection."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _may_be_cut(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _may_be_cut(kind.storage_type)
    if _stored_as(kind) is not None:
        return True
    return any(_may_be_cut(kind.field(i).type) for i in range(kind.num_fields))


def _nanoseconds(array: pa.Array) -> pa.Array:
    if not pa.types.is_interval(array.type):
        return array.cast(pa.int64())
    # Months and days have 32 bits each, so every other 64-bit number is the nanoseconds.
    halves = pa.Array.from_buffers(
        pa.int64(), 2 * (len(array) + array.offset), [None, array.buffers()[1]]
    )
    pairs = pa.FixedSizeListArray.from_arrays(halves, 2).slice(array.offset)
    return pc.if_else(array.is_valid(), pc.list_element(pairs, 1), None)


def _any_finer(nanoseconds: pa.Array) -> bool:
    rounded = pc.multiply(pc.divide(nanoseconds, _IN_A_MICROSECOND), _IN_A_MICROSECOND)
    found: bool | None = pc.any(pc.not_equal(nanoseconds, rounded)).as_py()
    return bool(found)


def _parts(array: Any) -> list[pa.Array]:  # noqa: PLR0911  one for each kind
    """Return the arrays inside ``array``, limited to the values that belong to it."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return [array.dictionary_decode()]
    if pa.types.is_run_end_encoded(kind):
        return [pc.run_end_decode(array)]
    if isinstance(kind, pa.BaseExtensionType):
        return [array.storage]
    if pa.types.is_struct(kind):
        return list(array.flatten())
    if pa.types.is_map(kind):
        entries = array.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))
        return [entries.flatten()]
    if pa.types.is_union(kind):
        return [
            array.filter(pc.equal(array.type_codes, code)).field(i)
            for i, code in enumerate(kind.type_codes)
        ]
    return [array.flatten()]  # any kind of list
