"""The cost of safety: the walls at each start of a worker, the checks of each uploaded batch."""

from __future__ import annotations

import resource
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa

from benchmarks.bench import served, show, worker
from benchmarks.processes import Cost, workers
from pondflight.control import NO_WALLS, Walls
from pondflight.flightsql import validity

_STARTS = 7
_UPLOADS = 9
_TURNS = 40
_ROWS = 1_000_000
_BATCH = 65_536
_NO_CHECKS = """
from pondflight.flightsql import validity
validity.check = lambda batch, *, text: None
validity.check_to_send = lambda batch: None
"""
_WALLS = Walls(mode="required", heap=True)


def main() -> None:
    """Measure starts with and without walls, in turns; then uploads, and checks of batches.

    Both in processor time, which depends little on what else the machine does. Then what the checks
    cost in time: uploads to a server that checks, and to one that does not, in turns.
    """
    _starts()
    _uploads()
    _rates()


def _starts() -> None:
    spent: dict[str, list[float]] = {"without": [], "with": []}
    for _ in range(_STARTS):
        for name, walls in (("without", NO_WALLS), ("with", _WALLS)):
            before = _children()
            with worker(walls=walls):
                pass
            spent[name].append((_children() - before) * 1e3)
    without, with_ = (min(found) for found in spent.values())
    show(
        f"Start and end of a worker, processor time, least of {_STARTS}, ms",
        ("without walls", "with walls", "added"),
        [(without, with_, with_ - without)],
    )


def _children() -> float:
    """Return the processor seconds of all child processes that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _uploads() -> None:
    rows: list[tuple[object, ...]] = []
    with (
        served() as server,
        server.connect(autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        for name, table in _tables().items():
            batches = _received(table)
            cursor.adbc_ingest("t", table, mode="replace")
            pids = (server.pid, *workers(server.pid))
            spent, checks = 0.0, 0.0
            for _ in range(_UPLOADS):
                before = sum(Cost.of(pid).seconds for pid in pids)
                cursor.adbc_ingest("t", table, mode="replace")
                spent += sum(Cost.of(pid).seconds for pid in pids) - before
                checks += _checked(batches)
            ms = 1e3 / _UPLOADS
            rows.append((name, spent * ms, checks * ms, 100 * checks / spent))
    show(
        f"{_ROWS:,} rows by `adbc_ingest`: processor time of proxy and worker, and that of the "
        f"checks of all batches in both; mean of {_UPLOADS}",
        ("column", "upload, ms", "of it checks, ms", "%"),
        rows,
    )


def _tables() -> dict[str, pa.Table]:
    numbers = pa.array(range(_ROWS))
    text = numbers.cast(pa.string())
    accents = pa.array([f"é{n}" for n in range(_ROWS)])
    offsets = pa.array(range(0, 3 * _ROWS + 1, 3), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, pa.array(range(3 * _ROWS), pa.int32()))
    columns = {
        "BIGINT": numbers,
        "VARCHAR, ASCII": text,
        "VARCHAR, other": accents,
        "INTEGER[]": lists,
    }
    return {name: pa.table({"c": column}) for name, column in columns.items()}


def _received(table: pa.Table) -> list[pa.RecordBatch]:
    """Its batches as they are when they have been sent: each with buffers of its own."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=_BATCH)
    return list(pa.ipc.open_stream(sink.getvalue()))


def _rates() -> None:
    """Whole uploads, as a client sees them. The workers have a thread for DuckDB, as by default."""
    rows: list[tuple[object, ...]] = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        (Path(folder) / "sitecustomize.py").write_text(_NO_CHECKS)
        servers = stack.enter_context(served()), stack.enter_context(served(PYTHONPATH=folder))
        cursors = [
            stack.enter_context(stack.enter_context(server.connect(autocommit=True)).cursor())
            for server in servers
        ]
        for name, table in _tables().items():
            seconds: tuple[list[float], list[float]] = [], []
            for turn in range(2 * _TURNS + 2):
                begin = time.perf_counter()
                cursors[turn % 2].adbc_ingest("t", table, mode="replace")
                seconds[turn % 2].append(time.perf_counter() - begin)
            with_, without = (sorted(found[1:]) for found in seconds)
            middle, low = _TURNS // 2, _TURNS // 4
            lost = (100 * (1 - without[place] / with_[place]) for place in (middle, low))
            rows.append((name, _ROWS / with_[middle] / 1e6, _ROWS / without[middle] / 1e6, *lost))
    show(
        f"{_ROWS:,} rows by `adbc_ingest`, {_TURNS} times each: million rows a second",
        ("column", "checked", "unchecked", "%, median", "%, quarter"),
        rows,
    )


def _checked(batches: list[pa.RecordBatch]) -> float:
    """Return the seconds of all checks: once as in the proxy, and once as in the worker."""
    begin = time.thread_time()
    for batch in batches:
        validity.check_to_send(batch)
        validity.check(batch, text=True)
    return time.thread_time() - begin
