"""What a batch may be, and what is refused."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from pondflight.errors import InvalidArgument
from pondflight.flightsql.validity import check, check_names, check_to_send

WIDEST = pa.py_buffer(struct.pack("<qq", -1, (1 << 63) - 1))
"""The largest HUGEINT: a digit more than the decimal has that it travels as."""


def decimals(kind: pa.DataType, *, nulls: int = 0) -> pa.Array:
    return pa.Array.from_buffers(kind, 1, [None, WIDEST], nulls)


def batch(array: pa.Array) -> pa.RecordBatch:
    return pa.record_batch([array], names=["c"])


def nested(kind: pa.DataType) -> pa.Array:
    values = decimals(pa.decimal128(38, 0))
    if pa.types.is_struct(kind):
        return pa.StructArray.from_arrays([values], fields=[kind.field(0)])
    if pa.types.is_union(kind):
        codes = pa.array([0], pa.int8())
        return pa.UnionArray.from_sparse(codes, [values], ["h"])
    if pa.types.is_map(kind):
        return pa.MapArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array([1]), values)
    return pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), values)


HUGE = pa.decimal128(38, 0)


@pytest.mark.parametrize(
    "array",
    [
        decimals(HUGE),
        nested(pa.list_(HUGE)),
        nested(pa.struct([("h", HUGE)])),
        nested(pa.map_(pa.int64(), HUGE)),
        nested(pa.sparse_union([pa.field("h", HUGE)])),
        pa.array([Decimal(1)], pa.decimal256(60)),
        pa.array(["a", None, "é"]),
        pa.array(["a", None, "é"], pa.large_string()),
        pa.array(["a", None, "é"], pa.string_view()),
        pa.array(["a", "é", None]).dictionary_encode(),
        pa.array([None, None]),
        pa.array([[["a"]], None, []]),
        pa.array([[1, 2], None], pa.list_(pa.int8(), 2)),
        pa.array([[1], []], pa.list_view(pa.int8())),
        pa.array([], pa.string()),
        pa.array(["a", "é", "b"])[1:],
        pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", "b"])),
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16)], pa.binary(16))),
    ],
    ids=lambda array: str(array.type).replace(" ", ""),
)
def test_what_is_valid_passes(array: pa.Array) -> None:
    check(batch(array), text=True)
    check(batch(array), text=False)
    check_to_send(batch(array))


class Writable:
    """A buffer that is changed once the array is made, which pyarrow does only from valid ones."""

    def __init__(self, valid: bytes) -> None:
        self._data = bytearray(valid)
        self.buffer = pa.py_buffer(self._data)

    def becomes(self, form: str, *values: int) -> None:
        self._data[:] = struct.pack(f"<{form}", *values)


def text(data: bytes, *offsets: int, kind: Any = None) -> pa.Array:
    form = f"{len(offsets)}{'q' if kind == pa.large_string() else 'i'}"
    made = Writable(bytes(struct.calcsize(form)))
    buffers = [None, made.buffer, pa.py_buffer(data)]
    array = pa.Array.from_buffers(kind or pa.string(), len(offsets) - 1, buffers)
    made.becomes(form, *offsets)
    return array


def with_children(kind: pa.DataType, form: str, values: list[int], *children: pa.Array) -> pa.Array:
    """One row of ``kind``, with ``values`` in its second buffer."""
    made = Writable(bytes(struct.calcsize(form)))
    buffers = [None, made.buffer] if form else [None]
    array = pa.Array.from_buffers(kind, 1, buffers, children=list(children))
    made.becomes(form, *values)
    return array


def view(position: int) -> pa.Array:
    """A string of 100 bytes, of which none is at ``position``."""
    made = Writable(bytes(16))
    array = pa.Array.from_buffers(pa.string_view(), 1, [None, made.buffer, pa.py_buffer(b"abcd")])
    made.becomes("iiii", 100, 0, 0, position)
    return array


def list_view(start: int) -> pa.Array:
    made = Writable(bytes(4))
    size = pa.py_buffer(struct.pack("<i", 2))
    buffers = [None, made.buffer, size]
    kind = pa.list_view(pa.int8())
    array = pa.Array.from_buffers(kind, 1, buffers, children=[pa.array([1, 2], pa.int8())])
    made.becomes("i", start)
    return array


def dictionary(index: int) -> pa.Array:
    indices = pa.array([index], pa.int32())
    return pa.DictionaryArray.from_arrays(indices, pa.array(["a"]), safe=False)


FAR = 1 << 30
INSIDE = text(b"abc", 0, FAR, 3)
DAMAGED = {
    "inside": INSIDE,
    "inside, before": text(b"abc", 0, -FAR, 3),
    "inside, of 64 bits": text(b"abc", 0, 1 << 40, 3, kind=pa.large_string()),
    "in a list that starts inside": with_children(pa.list_(pa.string()), "2i", [1, 2], INSIDE),
    "in a struct that is shorter": with_children(pa.struct([("s", pa.string())]), "", [], INSIDE),
    "code of a union": with_children(
        pa.sparse_union([pa.field("n", pa.int8())]), "b", [127], pa.array([1], pa.int8())
    ),
    "index of a dictionary": dictionary(1 << 20),
    "index of a dictionary, before": dictionary(-1),
    "view": view(FAR),
    "list view": list_view(-9),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_points_elsewhere_is_refused(name: str) -> None:
    for reads_text in (False, True):
        with pytest.raises(InvalidArgument, match="the Arrow data is damaged"):
            check(batch(DAMAGED[name]), text=reads_text)


HARMLESS_TO_SEND = {"inside", "inside, before", "inside, of 64 bits"}


@pytest.mark.parametrize("name", set(DAMAGED) - HARMLESS_TO_SEND)
def test_what_would_be_followed_in_sending_is_not_sent(name: str) -> None:
    with pytest.raises(InvalidArgument, match="the Arrow data is damaged"):
        check_to_send(batch(DAMAGED[name]))


@pytest.mark.parametrize("name", HARMLESS_TO_SEND)
def test_what_is_sent_unread_has_no_byte_but_its_own(name: str) -> None:
    damaged = batch(DAMAGED[name])
    check_to_send(damaged)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, damaged.schema) as writer:
        writer.write_batch(damaged)
    (sent,) = pa.ipc.open_stream(sink.getvalue())
    for came, went in zip(damaged["c"].buffers(), sent["c"].buffers(), strict=True):
        assert (came and came.to_pybytes()) == (went and went.to_pybytes())


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.struct([("s", pa.string())])], ids=str)
def test_text_below_other_values_is_utf_8_for_who_reads_it(kind: pa.DataType) -> None:
    broken = text(b"a\xff", 0, 2)
    array = (
        pa.StructArray.from_arrays([broken], fields=[kind.field(0)])
        if pa.types.is_struct(kind)
        else pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), broken)
    )
    check(batch(array), text=False)
    check_to_send(batch(array))
    with pytest.raises(InvalidArgument, match="UTF"):
        check(batch(array), text=True)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize(("data", "offsets"), [(b"a\xff", (0, 2)), ("é".encode(), (0, 1, 2))])
def test_text_is_utf_8_for_who_reads_it(
    kind: pa.DataType, data: bytes, offsets: tuple[int, ...]
) -> None:
    array = text(data, *offsets, kind=kind)
    check(batch(array), text=False)
    with pytest.raises(InvalidArgument, match="UTF"):
        check(batch(array), text=True)


def renamed(schema: pa.Schema, name: str) -> pa.Schema:
    """``schema`` as it is read where ``name`` has been sent as what is not UTF-8."""
    sent = schema.serialize().to_pybytes()
    return pa.ipc.read_schema(pa.py_buffer(sent.replace(name.encode(), b"\xff" * len(name))))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (pa.int8(), "column"),
        (pa.struct([("inner", pa.int8())]), "inner"),
        (pa.list_(pa.field("inner", pa.int8())), "inner"),
        (pa.map_(pa.string(), pa.struct([("inner", pa.int8())])), "inner"),
        (pa.dense_union([pa.field("inner", pa.int8())]), "inner"),
        (pa.dictionary(pa.int8(), pa.struct([("inner", pa.int8())])), "inner"),
        (pa.run_end_encoded(pa.int32(), pa.timestamp("s", "Europe/Rome")), "Europe/Rome"),
    ],
    ids=str,
)
def test_names_are_utf_8(kind: pa.DataType, name: str) -> None:
    schema = pa.schema([("column", kind)])
    check_names(schema)
    with pytest.raises(InvalidArgument, match="a name in the schema of the upload is not UTF-8"):
        check_names(renamed(schema, name))
