"""A user's share of the memory for compressed uploads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace

import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight.errors import LimitExceeded
from pondflight.flightsql.uploads import Upload
from pondflight.proxy.reserve import Reserve, decompressed

SIZE = 800_000
BATCH = pa.record_batch([pa.array(range(SIZE // 8))], names=["n"])


class Receiver(flight.FlightServerBase):
    """Keeps what it gets, as it came."""

    def __init__(self) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self.batches: list[pa.RecordBatch] = []

    def do_put(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        self.batches += [chunk.data for chunk in reader]


@pytest.fixture(name="receiver")
def fixture_receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


def send(receiver: Receiver, compression: str | None) -> None:
    options = flight.FlightCallOptions(
        write_options=pa.ipc.IpcWriteOptions(compression=compression)
    )
    with flight.connect(f"grpc://127.0.0.1:{receiver.port}") as client:
        writer, _ = client.do_put(flight.FlightDescriptor.for_path("x"), BATCH.schema, options)
        writer.write_batch(BATCH)
        writer.close()


def test_what_was_compressed_counts_and_what_came_plain_does_not(receiver: Receiver) -> None:
    for compression in (None, "zstd", "lz4"):
        send(receiver, compression)
    assert [decompressed(batch) for batch in receiver.batches] == [0, SIZE, SIZE]


def test_one_user_cannot_take_the_share_of_another(receiver: Receiver) -> None:
    send(receiver, "zstd")
    send(receiver, None)
    packed, plain = receiver.batches
    reserve = Reserve(share=2 * SIZE)
    with ExitStack() as holding:
        for _ in range(2):
            holding.enter_context(reserve.hold("mallory", packed))
        with (
            pytest.raises(LimitExceeded, match="compressed uploads"),
            reserve.hold("mallory", packed),
        ):
            pass
        with reserve.hold("mallory", plain), reserve.hold("ada", packed):
            pass
    with reserve.hold("mallory", packed):
        pass


class Chunks:
    """A reader that notes what Arrow has allocated whenever it is asked for the next batch."""

    schema = BATCH.schema

    def __init__(self) -> None:
        self.allocated: list[int] = []

    def read_chunk(self) -> SimpleNamespace:
        self.allocated.append(pa.total_allocated_bytes())
        if len(self.allocated) == 4:
            raise StopIteration
        column = pa.array(range(SIZE // 8))
        return SimpleNamespace(data=pa.record_batch([column], ["n"]), app_metadata=None)


def test_a_batch_is_let_go_before_the_next_one_is_awaited() -> None:
    chunks = Chunks()
    for chunk in Upload(chunks, values=False):
        del chunk
    assert max(chunks.allocated) - chunks.allocated[0] < SIZE
