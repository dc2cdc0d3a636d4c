"""Two ways to relay a stream.

pyarrow's RecordBatchStream over the upstream reader, and the generator stream that pondflight
uses so that errors arrive clean. Bare servers of a few lines, so that nothing else is measured.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
from pyarrow import flight

from benchmarks.bench import show
from pondflight.errors import Internal, PondflightError
from pondflight.flightsql.streams import ResultStream, to_flight_stream

_ROWS = 122_880
_BATCHES = 100
_STREAMS = (1, 8)


class _Source(flight.FlightServerBase):
    def do_get(self, context: flight.ServerCallContext, ticket: flight.Ticket) -> object:
        del context, ticket
        column = pa.array(range(_ROWS), pa.float64())
        batch = pa.RecordBatch.from_arrays([column] * 8, [f"c{i}" for i in range(8)])
        batches = (batch for _ in range(_BATCHES))
        return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(batch.schema, batches))


class _Relay(flight.FlightServerBase):
    def __init__(self, location: str, upstream: str) -> None:
        self._client = flight.FlightClient(upstream)
        super().__init__(location)

    def do_get(self, context: flight.ServerCallContext, ticket: flight.Ticket) -> object:
        del context
        reader = self._client.do_get(ticket)
        if ticket.ticket == b"reader":
            return flight.RecordBatchStream(reader.to_reader())
        batches = (chunk.data for chunk in reader)
        return to_flight_stream(ResultStream(reader.schema, batches), _leaf)


def _leaf(error: BaseException) -> PondflightError:
    return Internal(str(error))


def main() -> None:
    """GB/s of each way, taking turns, for one stream and for several at once."""
    rows = []
    with _server("source") as source, _server("relay", source) as relay:
        for streams in _STREAMS:
            ways = [(source, b""), (relay, b"reader"), (relay, b"generator")]
            rates = [[_rate(uri, ticket, streams) for uri, ticket in ways] for _ in range(5)]
            rows.append((streams, *(max(column) for column in zip(*rates, strict=True))))
    show(
        "Relay of 8 float64 columns, batches of 7.9 MB, best of 5, GB/s",
        ("streams", "straight", "RecordBatchStream", "generator"),
        rows,
    )


def _rate(uri: str, ticket: bytes, streams: int) -> float:
    def read() -> None:
        with flight.connect(uri) as client:
            for _ in client.do_get(flight.Ticket(ticket)):
                pass

    threads = [threading.Thread(target=read) for _ in range(streams)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return streams * _BATCHES * _ROWS * 64 / (time.perf_counter() - start) / 1e9


@contextmanager
def _server(*arguments: str) -> Iterator[str]:
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "benchmarks.relay", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().decode().strip()
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def _serve(kind: str, *upstream: str) -> None:
    location = "grpc://127.0.0.1:0"
    server = _Source(location) if kind == "source" else _Relay(location, *upstream)
    print(f"grpc://127.0.0.1:{server.port}", flush=True)
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
