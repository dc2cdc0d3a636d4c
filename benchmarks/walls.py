"""The cost of safety: the walls at each start of a worker, the checks of each uploaded batch."""

from __future__ import annotations

import resource
import time

import pyarrow as pa

from benchmarks.bench import served, show, worker
from benchmarks.processes import Cost, workers
from pondflight.control import NO_WALLS, Walls
from pondflight.flightsql import validity

_STARTS = 7
_UPLOADS = 9
_ROWS = 1_000_000
_WALLS = Walls(mode="required", heap=True)


def main() -> None:
    """Measure starts with and without walls, in turns; then uploads, and checks of batches.

    All figures are processor time, which depends little on what else the machine does.
    """
    _starts()
    _uploads()


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
            batches = table.to_batches(max_chunksize=65_536)
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


def _checked(batches: list[pa.RecordBatch]) -> float:
    """Return the seconds of all checks: once as in the proxy, and once as in the worker."""
    begin = time.thread_time()
    for batch in batches:
        validity.check(batch, text=False)
        validity.check(batch, text=True)
    return time.thread_time() - begin
