"""Whether a batch that came over the wire is what it claims to be.

pyarrow's reader believes the offsets in a batch. One that points outside of its buffer has whoever
uses the batch read memory that is not part of it, or crash; and to send a batch on is to use it.

``validate()`` alone sees the first and the last offset of each array, and code that slices uses
those between. So only columns of a fixed width pass with that: there is nothing in them to follow.
All else is checked value by value.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from pondflight.errors import InvalidArgument

_FIXED: Final = (
    pa.types.is_primitive,
    pa.types.is_decimal,
    pa.types.is_fixed_size_binary,
    pa.types.is_null,
)
_LISTS: Final = (
    (pa.types.is_list, pa.list_),
    (pa.types.is_large_list, pa.large_list),
    (pa.types.is_list_view, pa.list_view),
    (pa.types.is_large_list_view, pa.large_list_view),
)
_BINARY: Final = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}


def check(batch: pa.RecordBatch, *, text: bool) -> None:
    """Raise ``InvalidArgument`` unless all of ``batch`` can be read.

    ``text``: and unless strings are UTF-8, as whoever reads the values must. Numbers that have
    more digits than their type are let through: so travels the largest HUGEINT.
    """
    try:
        batch.validate()
        for column in batch.columns:
            _check(column, text=text)
    except (pa.ArrowException, OSError) as error:
        raise InvalidArgument(f"the Arrow data is damaged: {error}") from None


def _check(column: pa.Array, *, text: bool) -> None:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        _check(column.storage, text=text)
    elif kind in _BINARY:
        column.view(_BINARY[kind]).validate(full=True)
        if text and not _ascii(column):
            column.validate(full=True)
    elif not _has_fixed_width(kind):
        plain = _plain(kind)
        (column if plain == kind else column.view(plain)).validate(full=True)


def _ascii(column: pa.Array) -> bool:
    """Whether a string column, whose offsets are valid, has only ASCII in it.

    Many times as fast as asking of each value whether it is UTF-8.
    """
    _, offsets, data = column.buffers()
    if len(column) == 0 or data is None:
        return True
    view = memoryview(offsets).cast("q" if column.type == pa.large_string() else "i")
    used = data[view[column.offset] : view[column.offset + len(column)]]
    return bool(used.to_pybytes().isascii())


def _has_fixed_width(kind: pa.DataType) -> bool:
    return any(fits(kind) for fits in _FIXED)


def _plain(kind: pa.DataType) -> pa.DataType:
    """``kind`` with the same buffers, in which every decimal is valid, whatever its digits."""
    if pa.types.is_decimal(kind):
        return pa.binary(kind.byte_width)
    children = [kind.field(i) for i in range(kind.num_fields)]
    children = [field.with_type(_plain(field.type)) for field in children]
    if pa.types.is_struct(kind):
        return pa.struct(children)
    if pa.types.is_union(kind):
        return pa.union(children, kind.mode, kind.type_codes)
    if pa.types.is_map(kind):
        return pa.map_(*(children[0].type.field(i) for i in range(2)))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(children[0], kind.list_size)
    make = next((make for fits, make in _LISTS if fits(kind)), None)
    return kind if make is None else make(children[0])
