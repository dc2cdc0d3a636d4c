"""A client process of the benchmark ``load``.

Its first line of input is ``[uri, [token], seconds]``: a connection for each token. It prints
``ready``, waits for another line, runs for that long, and prints the milliseconds of each
statement.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import ExitStack

from adbc_driver_flightsql import DatabaseOptions, dbapi


def main() -> None:
    """Connect, wait, run, and print."""
    uri, tokens, seconds = json.loads(sys.stdin.readline())
    header = DatabaseOptions.AUTHORIZATION_HEADER.value
    with ExitStack() as stack:
        connections = [
            stack.enter_context(
                dbapi.connect(uri, db_kwargs={header: f"Bearer {token}"}, autocommit=True)
            )
            for token in tokens
        ]
        for connection in connections:
            _select(connection)
        print("ready", flush=True)
        sys.stdin.readline()
        end = time.perf_counter() + seconds
        found: list[list[float]] = [[] for _ in connections]

        def repeat(connection: dbapi.Connection, times: list[float]) -> None:
            while (start := time.perf_counter()) < end:
                _select(connection)
                times.append((time.perf_counter() - start) * 1e3)

        threads = [
            threading.Thread(target=repeat, args=pair)
            for pair in zip(connections, found, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(json.dumps([ms for times in found for ms in times]), flush=True)


def _select(connection: dbapi.Connection) -> None:
    with connection.cursor() as cursor:  # a new one, or ADBC prepares only once
        cursor.execute("SELECT 42")
        assert cursor.fetchall() == [(42,)]


main()
