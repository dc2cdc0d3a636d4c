"""What clients do most: small statements, listing all tables, many connections at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from adbc_driver_flightsql import dbapi
from pyarrow import flight

from benchmarks.bench import Server, latencies, percentile, served, show, worker
from pondflight.flightsql import wire

_RUNS = 500
_TABLES = 10_000
_COLUMNS = 5
_CONNECTIONS = 8
_SECONDS = 3.0


def main() -> None:
    """Measure a statement and its four RPCs, metadata, and parallel connections."""
    with served(_CONFIG) as proxy, worker(threads=2) as direct:
        with proxy.connect(autocommit=True) as one, direct.connect(autocommit=True) as other:
            show(
                "ADBC execute and fetchall of `SELECT 42`, ms",
                ("call", "direct p50", "through the proxy p50", "added"),
                [_row("all four", other, one), *_rpcs(direct, proxy)],
            )
            show(
                f"adbc_get_objects(depth='columns') of {_TABLES:,} tables of {_COLUMNS} columns, s",
                ("through the proxy", "depth='tables'"),
                [_metadata(one)],
            )
        show(
            f"Statements a second, {_SECONDS:.0f} s each",
            ("statement", "1 connection", f"{_CONNECTIONS} connections", "times"),
            [_rates(proxy, name, sql) for name, sql in _STATEMENTS.items()],
        )


_CONFIG = "containers: {memory_limit: 2g, cpu_limit: 2}"
_STATEMENTS = {
    "`SELECT 42`": "SELECT 42",
    "sum over 1 M rows": "SELECT sum(range) FROM range(1000000)",
}


def _statement(connection: dbapi.Connection, sql: str = "SELECT 42") -> Callable[[], None]:
    def run() -> None:
        with connection.cursor() as cursor:  # a new one, or ADBC prepares only once
            cursor.execute(sql)
            assert len(cursor.fetchall()) == 1

    return run


def _row(name: str, straight: dbapi.Connection, through: dbapi.Connection) -> tuple[object, ...]:
    return (name, *_medians(_statement(straight), _statement(through)))


def _medians(straight: Callable[[], Any], through: Callable[[], Any]) -> tuple[float, ...]:
    there, here = (percentile(times, 0.5) for times in latencies(_RUNS, straight, through))
    return there, here, here - there


def _rpcs(direct: Server, proxy: Server) -> Iterator[tuple[object, ...]]:
    with _calls(direct) as straight, _calls(proxy) as through:
        for name, call in straight.items():
            yield (name, *_medians(call, through[name]))


@contextmanager
def _calls(server: Server) -> Iterator[dict[str, Callable[[], Any]]]:
    """Yield the RPCs of one ADBC execute, as functions that use pyarrow."""
    session = "bench-session-000"
    options = flight.FlightCallOptions(
        headers=[
            (b"authorization", f"Bearer {server.token()}".encode()),
            (b"cookie", f"arrow_flight_session_id={session}".encode()),  # for the proxy
            (b"x-pondflight-session", session.encode()),  # for the worker
        ]
    )
    with flight.FlightClient(server.uri) as client:

        def act(kind: str, **fields: object) -> bytes:
            body = wire.pack(wire.new(f"Action{kind}Request", **fields))
            answers = list(client.do_action(flight.Action(kind, body), options))
            return answers[0].body.to_pybytes() if answers else b""

        created = wire.message_class(wire.ANY).FromString(
            act("CreatePreparedStatement", query="SELECT 42")
        )
        result = wire.message_class("ActionCreatePreparedStatementResult").FromString(created.value)
        handle = result.prepared_statement_handle
        query = wire.new("CommandPreparedStatementQuery", prepared_statement_handle=handle)
        descriptor = flight.FlightDescriptor.for_command(wire.pack(query))
        ticket = client.get_flight_info(descriptor, options).endpoints[0].ticket
        yield {
            "CreatePreparedStatement": lambda: act("CreatePreparedStatement", query="SELECT 42"),
            "GetFlightInfo": lambda: client.get_flight_info(descriptor, options),
            "DoGet": lambda: client.do_get(ticket, options).read_all(),
            "ClosePreparedStatement": lambda: act(
                "ClosePreparedStatement", prepared_statement_handle=handle
            ),
        }


def _metadata(connection: dbapi.Connection) -> tuple[float, float]:
    columns = ", ".join(f"c{i} DECIMAL(10,{i})" for i in range(_COLUMNS))
    with connection.cursor() as cursor:
        for first in range(0, _TABLES, 1000):
            numbers = range(first, first + 1000)
            cursor.execute("; ".join(f"CREATE TABLE t{n} ({columns})" for n in numbers))
    return _objects(connection, "columns"), _objects(connection, "tables")


def _objects(connection: dbapi.Connection, depth: Any) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        found = connection.adbc_get_objects(depth=depth).read_all()
        times.append(time.perf_counter() - start)
        schemas = found.to_pylist()[0]["catalog_db_schemas"]
        assert sum(len(schema["db_schema_tables"]) for schema in schemas) == _TABLES
    return sorted(times)[1]


def _rates(server: Server, name: str, sql: str) -> tuple[object, ...]:
    one, many = (_rate(server, sql, number) for number in (1, _CONNECTIONS))
    return name, one, many, many / one


def _rate(server: Server, sql: str, number: int) -> float:
    """Return the statements a second that ``number`` connections run together."""
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connect(autocommit=True)) for _ in range(number)]
        runs = [_statement(connection, sql) for connection in connections]
        for run in runs:
            run()
        end = time.perf_counter() + _SECONDS

        def repeat(run: Callable[[], None]) -> int:
            count = 0
            while time.perf_counter() < end:
                run()
                count += 1
            return count

        with ThreadPoolExecutor(number) as pool:
            return sum(pool.map(repeat, runs)) / _SECONDS
