"""Ways to relay a stream, without TLS.

They are pyarrow's RecordBatchStream over the upstream reader, and the generator stream that
pondflight uses so that errors arrive clean. The servers are minimal, so that nothing else is
measured. For comparison there are nginx (if installed) and Caddy, which pass on frames of HTTP/2.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import flight

from benchmarks.bench import show
from integration.bundle.front import caddy
from pondflight.errors import Internal, PondflightError
from pondflight.flightsql.calls import Call
from pondflight.flightsql.streams import ResultStream, to_flight_stream
from tests.ports import free_ports

_ROWS = 122_880
_BATCHES = 100
_STREAMS = (1, 8)
_NGINX = """
daemon off; user root; worker_processes auto; pid {folder}/pid; error_log stderr;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} http2;
    location / {{ grpc_buffer_size 256k; grpc_pass grpc://{upstream}; }}
  }}
}}
"""
_CADDY = """
{{
  admin off
  persist_config off
  servers {{
    protocols h1 h2c
  }}
}}
http://127.0.0.1:{port} {{
  reverse_proxy h2c://{upstream}
}}
"""


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
        call: Call[None] = Call("do_get", {}, None)
        return to_flight_stream(ResultStream(reader.schema, batches), call, _leaf)


def _leaf(error: BaseException) -> PondflightError:
    return Internal(str(error))


def main() -> None:
    """Measure GB/s of each way in turns, for one stream and for several at once."""
    with ExitStack() as stack:
        source = stack.enter_context(_server("source"))
        relay = stack.enter_context(_server("relay", source))
        ways = {
            "direct": (source, b""),
            "RecordBatchStream": (relay, b"reader"),
            "generator": (relay, b"generator"),
        }
        nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin")
        if nginx is not None:
            command = [nginx, "-e", "stderr", "-p", ".", "-c"]
            ways["nginx"] = (stack.enter_context(_front(_NGINX, source, *command)), b"")
        command = [caddy(), "run", "--adapter", "caddyfile", "--config"]
        ways["Caddy"] = (stack.enter_context(_front(_CADDY, source, *command)), b"")
        rows = []
        for streams in _STREAMS:
            rates = [
                [_rate(uri, ticket, streams) for uri, ticket in ways.values()] for _ in range(5)
            ]
            rows.append((streams, *(max(column) for column in zip(*rates, strict=True))))
    show(
        "Relay of 8 float64 columns, batches of 7.9 MB, without TLS, best of 5, GB/s",
        ("streams", *ways),
        rows,
    )


@contextmanager
def _front(text: str, upstream: str, *command: str) -> Iterator[str]:
    """Run a program in front of ``upstream``; its last argument is its configuration."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "front.conf"
        path.write_text(
            text.format(port=port, folder=folder, upstream=upstream.removeprefix("grpc://"))
        )
        process = subprocess.Popen(  # noqa: S603
            [*command, str(path)], cwd=folder, stderr=subprocess.DEVNULL
        )
        uri = f"grpc://127.0.0.1:{port}"
        try:
            while True:
                assert process.poll() is None
                try:
                    _rate(uri, b"", 1)
                    break
                except pa.ArrowException:
                    time.sleep(0.1)
            yield uri
        finally:
            process.terminate()
            process.wait(30)


def _rate(uri: str, ticket: bytes, streams: int) -> float:
    def read() -> None:
        with flight.connect(uri) as client:
            for _ in client.do_get(flight.Ticket(ticket)):
                pass

    start = time.perf_counter()
    with ThreadPoolExecutor(streams) as executor:
        for done in [executor.submit(read) for _ in range(streams)]:
            done.result()
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
