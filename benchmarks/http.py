"""HTTP: results of /query and of Flight, /health while results stream, memory of the process."""

from __future__ import annotations

import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import flight

from benchmarks.bench import MB, Server, percentile, served, show

_ROWS = 5_000_000
_TABLE = f"CREATE TABLE numbers AS SELECT range AS a, range + 1 AS b, range * 2 AS c, range AS d FROM range({_ROWS})"  # noqa: E501
_FORMS = (
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.parquet",
    "text/csv",
    "application/x-ndjson",
)
_ENDLESS = "SELECT range AS a, range * 2 AS b FROM range(1000000000000)"
_STREAMS = 20
_SECONDS = 10.0
_CONFIG = "containers: {memory_limit: 1g, cpu_limit: 1}"


def main() -> None:
    """Measure rates, latencies and memory."""
    with served(_CONFIG) as server:
        _health(server)  # also the first request, so that everything is imported
        at_rest = _memory(server)
        _query(server, _TABLE).read()
        _http_rate(server)
        after_one = _memory(server)
        rates = [(_flight_rate(server), _http_rate(server)) for _ in range(5)]
        by_flight, by_http = (max(column) for column in zip(*rates, strict=True))
        show(
            f"{_ROWS:,} rows of 4 int64, best of 5, million rows a second",
            ("Flight", "POST /query, Arrow", "share"),
            [(by_flight / 1e6, by_http / 1e6, by_http / by_flight)],
        )
        sizes = [(form, *_download(server, form)) for form in _FORMS]
        show("The same rows in each form", ("form", "MB", "s"), sizes)
        show(
            "Memory of gunicorn and the app (PSS), MB",
            ("at rest", f"after {_ROWS:,} rows", f"after {len(rates) + len(_FORMS)} times that"),
            [(at_rest, after_one, _memory(server))],
        )
        loads: list[tuple[str, str | None, float]] = [
            ("nothing", None, 0.0),
            (f"{_STREAMS} streams of 1 MB/s", _FORMS[0], 1e6),
            (f"{_STREAMS} streams, as fast as they go", _FORMS[0], 0.0),
            (f"{_STREAMS} streams of JSON lines", _FORMS[3], 0.0),
        ]
        rows = []
        for name, form, rate in loads:
            with _bare_server() as bare, _load(server, form, rate) as received:
                before = received.value
                ours, theirs = _in_turns(lambda: _health(server), lambda: _get(bare, "/"))
                megabytes = (received.value - before) / 1e6 / _SECONDS
            rows.append(
                (
                    name,
                    *(percentile(ours, p) for p in (0.5, 0.99)),
                    percentile(theirs, 0.99),
                    megabytes,
                )
            )
        show(
            "GET /health, new connection each, ms",
            ("beside", "p50", "p99", "p99 of a bare socket server", "MB/s streamed"),
            rows,
        )


def _query(server: Server, sql: str, form: str = _FORMS[0]) -> Any:
    connection = HTTPConnection("127.0.0.1", server.http_port, timeout=120)
    headers = {"authorization": f"Bearer {server.token()}", "accept": form}
    connection.request("POST", "/query", sql, headers | {"content-type": "application/sql"})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    return response


def _http_rate(server: Server) -> float:
    start = time.perf_counter()
    rows: int = sum(b.num_rows for b in pa.ipc.open_stream(_query(server, "FROM numbers")))
    assert rows == _ROWS
    return rows / (time.perf_counter() - start)


def _flight_rate(server: Server) -> float:
    start = time.perf_counter()
    header = (b"authorization", f"Bearer {server.token()}".encode())
    options = flight.FlightCallOptions(headers=[header])
    with flight.FlightClient(server.uri) as client:
        descriptor = flight.FlightDescriptor.for_command(b"FROM numbers")
        (endpoint,) = client.get_flight_info(descriptor, options).endpoints
        rows: int = sum(chunk.data.num_rows for chunk in client.do_get(endpoint.ticket, options))
    assert rows == _ROWS
    return rows / (time.perf_counter() - start)


def _download(server: Server, form: str) -> tuple[float, float]:
    start, size = time.perf_counter(), 0
    response = _query(server, "FROM numbers", form)
    while piece := response.read(1 << 20):
        size += len(piece)
    return size / 1e6, time.perf_counter() - start


def _health(server: Server) -> None:
    _get(server.http_port, "/health")


def _get(port: int, path: str) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    connection.getresponse().read()
    connection.close()


def _in_turns(*actions: Callable[[], None]) -> list[list[float]]:
    """Return the milliseconds of each run, sorted; a hundred runs a second for ``_SECONDS``."""
    times: list[list[float]] = [[] for _ in actions]
    end = time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        for found, action in zip(times, actions, strict=True):
            start = time.perf_counter()
            action()
            found.append((time.perf_counter() - start) * 1e3)
            time.sleep(0.01)
    return [sorted(found) for found in times]


@contextmanager
def _bare_server() -> Iterator[int]:
    """Run a minimal server in a process of its own: the cost of the machine itself."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    process = multiprocessing.Process(target=_serve_bare, args=(listener,), daemon=True)
    process.start()
    port: int = listener.getsockname()[1]
    listener.close()
    yield port
    process.kill()
    process.join()


def _serve_bare(listener: socket.socket) -> None:
    while True:
        client, _ = listener.accept()
        client.recv(4096)
        client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        client.close()


@contextmanager
def _load(server: Server, form: str | None, rate: float) -> Iterator[Any]:
    """Run ``_STREAMS`` clients in processes of their own; yield the bytes that they received."""
    received = multiprocessing.Value("Q", 0)
    if form is None:
        yield received
        return
    process = multiprocessing.Process(target=_read_all, args=(server, form, rate, received))
    process.start()
    time.sleep(3)
    yield received
    process.kill()
    process.join()
    time.sleep(2)


def _read_all(server: Server, form: str, rate: float, received: Any) -> None:
    def read() -> None:
        response, buffer = _query(server, _ENDLESS, form), bytearray(1 << 18)
        while count := response.readinto(buffer):
            with received.get_lock():
                received.value += count
            time.sleep(count / rate if rate else 0)

    for _ in range(_STREAMS):
        threading.Thread(target=read).start()


def _memory(server: Server) -> float:
    """Return the proportional set size of the HTTP process and its parent in MB, after a moment."""
    time.sleep(1)
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"pondflight.web" in (folder / "cmdline").read_bytes() and _descends(
                folder, server.pid
            ):
                text = (folder / "smaps_rollup").read_text()
                total += next(
                    int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")
                )
        except OSError:
            continue
    return total * 1024 / MB


def _descends(folder: Path, ancestor: int) -> bool:
    pid = int(folder.name)
    while pid > 1:
        if pid == ancestor:
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False


if __name__ == "__main__":
    main()
