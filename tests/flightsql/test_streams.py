"""Results on the wire: no message is larger than gRPC's clients take unless they are told to."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight.flightsql.streams import MAX_BATCH_BYTES, encoded_size, slices
from tests.bare_grpc import BareClient
from tests.flightsql.memory_server import MemoryServer

MIB = 1 << 20


@pytest.fixture(name="bare")
def fixture_bare(server: MemoryServer) -> Iterator[BareClient]:
    client = BareClient(server.uri, "")
    yield client
    client.close()


def large_dictionary() -> pa.Table:
    """Twelve megabytes of values, each of them once."""
    return pa.table({"d": pa.array([f"{i:012000}" for i in range(1000)]).dictionary_encode()})


def dense(table: pa.Table) -> pa.Table:
    """Without dictionaries: each piece may have one of its own."""
    if table.schema.field(0).type != pa.dictionary(pa.int32(), pa.string()):
        return table
    return table.cast(pa.schema([("d", pa.string())]))


TABLES = {
    "text": pa.table({"s": ["x" * 1000] * 20_000}),
    "uneven": pa.table({"s": ["x"] * 5000 + ["y" * MIB] * 7 + ["z"] * 5000}),
    "nested": pa.table({"l": [[{"a": list(range(100))}] * 10] * 2000}),
    "wide": pa.table({f"c{i}": pa.nulls(900, pa.int32()) for i in range(3000)}),
    "flags": pa.table({f"c{i}": [True, None, False] * 100 for i in range(10_000)}),
    "dictionary": large_dictionary(),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_with_default_limits_gets_every_row(
    server: MemoryServer,
    client: flight.FlightClient,
    bare: BareClient,
    name: str,
    *,
    streamed: bool,
) -> None:
    table = TABLES[name]
    server.tables["t"] = table
    server.streamed = streamed
    info = client.get_flight_info(flight.FlightDescriptor.for_command(b"SELECT t"))
    ticket = info.endpoints[0].ticket
    assert max(bare.sizes(ticket.ticket)) <= 4 * MIB
    assert dense(client.do_get(ticket).read_all()).equals(dense(table))


def test_a_row_that_is_larger_goes_out_alone(
    server: MemoryServer, client: flight.FlightClient
) -> None:
    server.tables["t"] = pa.table({"s": ["a", "b" * (9 * MIB), "c"]})
    info = client.get_flight_info(flight.FlightDescriptor.for_command(b"SELECT t"))
    ticket = info.endpoints[0].ticket
    bare = BareClient(server.uri, "", max_message=16 * MIB)
    _schema, *rows = bare.sizes(ticket.ticket)
    assert [size > 4 * MIB for size in rows] == [False, True, False]
    bare.close()


def test_pieces_have_all_rows_and_are_few() -> None:
    batch = pa.record_batch({"n": list(range(1_200_000))})  # 9.6 MB
    pieces = list(slices(batch))
    assert [encoded_size(piece) <= MAX_BATCH_BYTES for piece in pieces] == [True] * 3
    assert pa.Table.from_batches(pieces).equals(pa.Table.from_batches([batch]))


def test_what_fits_is_passed_on_as_it_is() -> None:
    batch = pa.record_batch({"n": [1, 2]})
    assert [piece is batch for piece in slices(batch)] == [True]
