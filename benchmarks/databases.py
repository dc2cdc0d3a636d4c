"""What attached databases cost: at a worker's start, for each row, and when memory is short.

It needs PostgreSQL and MariaDB on this machine, and starts its own servers of both.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
from adbc_driver_flightsql import dbapi

from benchmarks.bench import MB, Server, percentile, served, show
from integration.databases import tpch
from integration.servers import MariaDB, Postgres
from integration.tools import family
from pondflight.engine import extensions

_STARTS = 15
_RUNS = 25
_ROWS = 1_000_000
_COUNT = "SELECT count(*) FROM shop.public.million"
_SUM = "SELECT sum(id), max(label) FROM shop.public.million"
_OF_MARIADB = (
    "SELECT label FROM crm.million WHERE id = 4711",
    "SELECT label FROM crm.million WHERE id = 4711 AND label LIKE 'label%'",
    "SELECT count(*) FROM crm.million WHERE made >= DATE '2024-12-01'",
    "SELECT id FROM crm.million WHERE label = 'label 4711'",
    "SELECT * FROM crm.million ORDER BY id DESC LIMIT 10",
    "SELECT * FROM crm.million LIMIT 10",
    "SELECT count(*) FROM crm.million",
    "SELECT kind, count(*), max(id) FROM crm.million GROUP BY kind",
    "SELECT count(*) FROM crm.million AS m JOIN crm.customer AS c ON m.id = c.c_custkey",
)
_MARIADB_RUNS = 5
_AMOUNTS = 1_000_000
_OF_AMOUNTS = (
    "SELECT sum(price) FROM shop.public.amounts",
    "SELECT sum(free) FROM shop.public.amounts",
    "SELECT sum(price) FROM shop.public.amounts WHERE id = 4711",
    "SELECT sum(price) FROM shop.public.amounts WHERE id > 990000",
)
_AMOUNTS_RUNS = 5
# 2.3 GB: a number, a key and a text of 120 characters.
_LOOK_SECONDS = 0.05
_SORTED_ROWS = 17_000_000
_SORT = (
    "SELECT hash(range) AS k, range AS i, lpad(range::VARCHAR, 120, 'x') AS s"
    f" FROM range({_SORTED_ROWS}) ORDER BY k"
)


def main() -> None:
    """Measure a worker's start, a million rows of each server, and a sort larger than memory."""
    if not shutil.which("mariadbd") or not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        print("databases: not measured: apt-get install postgresql mariadb-server", file=sys.stderr)
        return
    with _databases() as (postgres, entries):
        _starts(entries)
        _million(postgres, entries)
        _million_of_mariadb(entries)
        _checks(postgres, entries)
    _sort()


@contextmanager
def _databases() -> Iterator[tuple[Postgres, list[dict[str, Any]]]]:
    postgres, mariadb = Postgres(), MariaDB()
    with tempfile.TemporaryDirectory() as folder, closing(postgres), closing(mariadb):
        sqlite = Path(folder) / "warehouse.db"
        postgres.start()
        mariadb.start()
        tpch.load(postgres, mariadb, sqlite)
        postgres.run(
            "CREATE TABLE million AS SELECT n AS id, 'label ' || n AS label"
            f" FROM generate_series(1, {_ROWS}) AS n;"
            f" GRANT SELECT ON million TO {postgres.user}; VACUUM ANALYZE million",
            "shop",
        )
        mariadb.run(
            "CREATE TABLE million (id INT PRIMARY KEY, label VARCHAR(30), kind INT, made DATE);"
            " INSERT INTO million SELECT seq, concat('label ', seq), seq % 7,"
            f" DATE '2022-01-01' + INTERVAL seq % 1096 DAY FROM seq_1_to_{_ROWS}",
            "crm",
        )
        yield (
            postgres,
            [
                {"alias": "shop", "type": "postgres", "connection_string": postgres.url("shop")},
                {"alias": "crm", "type": "mysql", "connection_string": mariadb.url("crm")},
                {"alias": "warehouse", "type": "sqlite", "connection_string": str(sqlite)},
            ],
        )


def _config(entries: list[dict[str, Any]]) -> str:
    # Extensions are loaded only for databases that need them.
    settings = {"extensions": [], "attached_databases": entries}
    limits = {"requests_per_minute": 1_000_000, "burst_size": 1_000_000}
    return json.dumps({"duckdb": settings, "security": {"rate_limit": limits}})


def _starts(entries: list[dict[str, Any]]) -> None:
    with served(_config([])) as without, served(_config(entries)) as with_three:
        times: list[list[float]] = [[], []]
        for number in range(_STARTS):
            for found, server in zip(times, (without, with_three), strict=True):
                begin = time.perf_counter()
                with server.connect(f"user-{number}", autocommit=True) as connection:
                    _fetch(connection, "SELECT 42")
                found.append((time.perf_counter() - begin) * 1e3)
        without_ms, with_ms = (percentile(sorted(found), 0.5) for found in times)
    show(
        f"New user: connect, start of the worker, first row; median of {_STARTS}, ms",
        ("without databases", "with three", "added"),
        [(without_ms, with_ms, with_ms - without_ms)],
    )


def _million(postgres: Postgres, entries: list[dict[str, Any]]) -> None:
    rows = []
    with served(_config(entries)) as server, duckdb.connect(config={"threads": 1}) as alone:
        extensions.load(alone, ["postgres"])
        alone.execute("CREATE SECRET s (TYPE postgres, URI ?)", [postgres.url("shop")])
        alone.execute("ATTACH '' AS shop (TYPE postgres, SECRET s, READ_ONLY)")
        with server.connect(autocommit=True) as connection:
            for sql in (_COUNT, _SUM):
                ways: list[Callable[[], object]] = [
                    lambda sql=sql: alone.execute(sql).fetchall(),  # type: ignore[misc]
                    lambda sql=sql: _fetch(connection, sql),  # type: ignore[misc]
                ]
                times = _in_turns(ways)
                direct, whole = (percentile(found, 0.5) for found in times)
                rows.append((f"`{sql}`", direct, whole, whole / direct))
    show(
        f"{_ROWS:,} rows of PostgreSQL, median of {_RUNS}, ms",
        ("statement", "DuckDB's extension alone", "ADBC through everything", "ratio"),
        rows,
    )


def _million_of_mariadb(entries: list[dict[str, Any]]) -> None:
    """Measure the same for the table in MariaDB and for its copy in the worker."""
    rows = []
    with served(_config(entries)) as server, server.connect(autocommit=True) as connection:
        _fetch(connection, "CREATE TABLE copied AS FROM crm.million")
        for sql in _OF_MARIADB:
            ways: list[Callable[[], object]] = [
                lambda sql=sql: _fetch(connection, sql),  # type: ignore[misc]
                lambda sql=sql: _fetch(connection, sql.replace("crm.million", "copied")),  # type: ignore[misc]
            ]
            times = _in_turns(ways, _MARIADB_RUNS)
            rows.append((f"`{sql}`", *(percentile(found, 0.5) for found in times)))
    show(
        f"{_ROWS:,} rows of MariaDB, median of {_MARIADB_RUNS}, ms",
        ("statement", "of MariaDB", "of a copy in the worker"),
        rows,
    )


def _checks(postgres: Postgres, entries: list[dict[str, Any]]) -> None:
    """Measure the search for values that DuckDB would change, in a large table."""
    postgres.run(
        "CREATE TABLE amounts AS SELECT n AS id, (n % 99991 * 0.01)::numeric(12, 2) AS price,"
        f" (n % 99991 * 0.01)::numeric AS free FROM generate_series(1, {_AMOUNTS}) AS n;"
        f" ALTER TABLE amounts ADD PRIMARY KEY (id); GRANT SELECT ON amounts TO {postgres.user};"
        " VACUUM ANALYZE amounts",
        "shop",
    )
    rows = []
    with (
        served(_config([entries[0] | {"exact": False}])) as loose,
        served(_config(entries[:1])) as exact,
        loose.connect(autocommit=True) as without,
        exact.connect(autocommit=True) as checked,
    ):
        for sql in _OF_AMOUNTS:
            times: list[list[float]] = [[], [], []]
            for _ in range(_AMOUNTS_RUNS):
                postgres.run("SELECT txid_current()", "shop")  # as a write would, elsewhere
                for found, connection in zip(times, (without, checked, checked), strict=True):
                    begin = time.perf_counter()
                    _fetch(connection, sql)
                    found.append((time.perf_counter() - begin) * 1e3)
            rows.append((f"`{sql}`", *(percentile(sorted(found), 0.5) for found in times)))
    show(
        f"Looking for inexact values among {_AMOUNTS:,} rows of PostgreSQL, median of"
        f" {_AMOUNTS_RUNS}, ms",
        ("statement", "not looked for", "after a write", "again"),
        rows,
    )


def _in_turns(ways: list[Callable[[], object]], runs: int = _RUNS) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in ways]
    for run in range(runs + 1):
        for found, way in zip(times, ways, strict=True):
            begin = time.perf_counter()
            way()
            if run:  # the first run is a warm-up
                found.append((time.perf_counter() - begin) * 1e3)
    return [sorted(found) for found in times]


def _sort() -> None:
    config = json.dumps({"containers": {"memory_limit": "512m"}})
    with served(config) as server, server.connect(autocommit=True) as connection:
        _fetch(connection, "SELECT 42")
        peaks = _Peaks(_worker(server))
        begin = time.perf_counter()
        count, size, last = 0, 0, -1
        with connection.cursor() as cursor:
            cursor.execute(_SORT)
            for batch in cursor.fetch_record_batch():
                keys = batch.column(0)
                assert keys[0].as_py() >= last
                last = keys[-1].as_py()
                count += batch.num_rows
                size += batch.nbytes
        seconds = time.perf_counter() - begin
        peaks.stop()
        assert count == _SORTED_ROWS
        show(
            "A sort of all rows, fetched, in a worker of 512 MB",
            ("GB", "s", "peak of the worker's memory, MB", "peak of what it spilled, MB"),
            [(size / 1e9, seconds, peaks.memory, peaks.spilled)],
        )


class _Peaks:
    """The most memory that a worker uses itself, and the most that it spills; in MB.

    Pages of program files do not count: the system drops them when it needs room.
    """

    def __init__(self, worker: int) -> None:
        self._status = Path(f"/proc/{worker}/status")
        self._folder = Path(f"/proc/{worker}/cwd").readlink().parent / "spill"
        self.memory = 0.0
        self.spilled = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(_LOOK_SECONDS):
            anonymous = self._status.read_text().partition("RssAnon:")[2].split()[0]
            self.memory = max(self.memory, int(anonymous) / 1024)
            with suppress(OSError):
                used = sum(path.stat().st_blocks * 512 for path in self._folder.iterdir())
                self.spilled = max(self.spilled, used / MB)


def _worker(server: Server) -> int:
    """Return the process id of the only worker."""
    for pid in family(server.pid):
        if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    raise AssertionError("there is no worker")


def _fetch(connection: dbapi.Connection, sql: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        found: list[Any] = cursor.fetchall()
        return found
