"""Uploads whose bytes are not what they claim: refused, and nothing of the proxy's gets out."""

from __future__ import annotations

import struct

import pyarrow as pa
import pytest

from tests.proxy.conftest import Deployment
from tests.raw_put import Message, RawPut, Refused, flight_data, ingest_command, ipc_messages


def with_offsets(table: pa.Table, *offsets: int) -> list[Message]:
    """The messages of ``table`` with other first offsets."""
    schema, (header, body) = ipc_messages(table)
    packed = struct.pack(f"<{len(offsets)}i", *offsets)
    return [schema, (header, packed + body[len(packed) :])]


BINARY = pa.table({"b": pa.array([b"A" * 4000, b"B" * 4000], pa.binary())})
LISTS = pa.table({"l": pa.array([[b"A" * 8] * 512] * 2, pa.list_(pa.binary()))})

DAMAGED = {
    "negative": with_offsets(BINARY, -1000, 1000),
    "negative and falling": with_offsets(BINARY, 0, -1000, 4000),
    "beyond the values": with_offsets(BINARY, 0, 1 << 20, 1 << 21),
    "a list beyond its values": with_offsets(LISTS, 1 << 20, 1 << 20, (1 << 20) + 1024),
    "in the second batch": [*ipc_messages(BINARY), with_offsets(BINARY, -1000, 1000)[1]],
    "a list that falls": with_offsets(LISTS, 0, 1024, 512),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_batch_is_refused(shared: Deployment, user: str, name: str) -> None:
    address = shared.uri.removeprefix("grpc://")
    data = flight_data(ingest_command("t"), DAMAGED[name])
    with RawPut(address, shared.token(user)) as put:
        with pytest.raises(Refused, match="INVALID_ARGUMENT: the Arrow data is damaged"):
            put.send(data)
        with pytest.raises(pa.ArrowInvalid, match="Table with name t does not exist"):
            shared.client(user).info("FROM t")
        assert put.send(flight_data(ingest_command("t"), ipc_messages(BINARY)))
    assert shared.client(user).rows("SELECT count(*) FROM t") == [(2,)]
