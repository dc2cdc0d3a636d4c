"""Checks whether a batch that came over the wire is valid Arrow.

pyarrow's reader trusts the offsets in a batch. An offset outside of its buffer makes whoever uses
the batch read other memory, or crash; and sending a batch on is using it.

``validate()`` looks only at the first and the last offset of each array. Sending a batch on uses no
others as long as the offsets of its columns lead to bytes or to values of a fixed width. In nested
columns, and for whoever reads values, the offsets between count as well, and all are checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
_BYTES: Final = frozenset({*_BINARY, *_BINARY.values()})


def check(batch: pa.RecordBatch, *, text: bool) -> None:
    """Raise ``InvalidArgument`` unless every value of ``batch`` can be read.

    ``text``: strings must be UTF-8, too. Numbers may have more digits than their type allows: the
    largest HUGEINT is sent like that.
    """
    with _damage():
        batch.validate()
        for column in batch.columns:
            _check(column, text=text)


def check_names(parent: pa.Schema | pa.DataType) -> None:
    """Raise ``InvalidArgument`` unless the names of all fields and time zones are UTF-8."""
    try:
        if isinstance(parent, pa.DictionaryType):
            check_names(parent.value_type)
        elif isinstance(parent, pa.BaseExtensionType):
            check_names(parent.storage_type)
        elif isinstance(parent, pa.TimestampType):
            _ = parent.tz
        else:
            number = len(parent) if isinstance(parent, pa.Schema) else parent.num_fields
            for field in map(parent.field, range(number)):
                _ = field.name
                check_names(field.type)
    except UnicodeDecodeError:
        raise InvalidArgument("a name in the schema of the upload is not UTF-8") from None


def is_quick(schema: pa.Schema) -> bool:
    """Return whether ``check`` takes the same time for batches of any length."""
    return all(_has_fixed_width(kind) for kind in schema.types)


def check_to_send(batch: pa.RecordBatch) -> None:
    """Raise ``InvalidArgument`` unless ``batch`` can be sent on as it came.

    That is less than ``check`` asks: the values of such a batch must not be read.
    """
    with _damage():
        batch.validate()
        for column in batch.columns:
            if not _is_flat(column.type):
                _check(column, text=False)


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InvalidArgument(f"the Arrow data is damaged: {error}") from None


def _check(column: pa.Array, *, text: bool) -> None:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        _check(column.storage, text=text)
    elif kind in _BINARY:
        is_plain = not text or _ascii(column)
        (column.view(_BINARY[kind]) if is_plain else column).validate(full=True)
    elif not _has_fixed_width(kind):
        plain = _plain(kind, text=text)
        (column if plain == kind else column.view(plain)).validate(full=True)


def _ascii(column: pa.Array) -> bool:
    """Return whether all bytes between a string column's first and last offset are ASCII.

    This is many times faster than asking whether each value is UTF-8.
    """
    _, offsets, data = column.buffers()
    if len(column) == 0 or data is None:
        return True
    view = memoryview(offsets).cast("q" if column.type == pa.large_string() else "i")
    used = data[view[column.offset] : view[column.offset + len(column)]]
    return bool(used.to_pybytes().isascii())


def _is_flat(kind: pa.DataType) -> bool:
    """Return whether a column of this type has no offsets, or only its own."""
    if isinstance(kind, pa.BaseExtensionType):
        return _is_flat(kind.storage_type)
    if kind in _BYTES or _has_fixed_width(kind):
        return True
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return is_list and _has_fixed_width(kind.value_type)


def _has_fixed_width(kind: pa.DataType) -> bool:
    return any(fits(kind) for fits in _FIXED)


def _plain(kind: pa.DataType, *, text: bool) -> pa.DataType:
    """Return a type with the same buffers as ``kind``, in which any decimal is valid.

    Without ``text``, any string is valid in it as well.
    """
    bytes_of_string = None if text else _BINARY.get(kind)
    if bytes_of_string is not None or pa.types.is_decimal(kind):
        return bytes_of_string or pa.binary(kind.byte_width)
    children = [kind.field(i) for i in range(kind.num_fields)]
    children = [field.with_type(_plain(field.type, text=text)) for field in children]
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
