"""Shared by the suites: running SQL, and waiting for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from adbc_driver_flightsql import dbapi
from adbc_driver_manager import Error

NO_LIMITS = {"rate_limit": {"requests_per_minute": 1_000_000, "burst_size": 1_000_000}}
"""``security`` of a deployment that one user asks a lot."""

_POLL_SECONDS = 0.1


def rows(connection: dbapi.Connection, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Run a statement; return all rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def failure(connection: dbapi.Connection, sql: str, parameters: Any = None) -> str:
    """Run a statement that has to fail; return the client's error message."""
    try:
        found = rows(connection, sql, parameters)
    except Error as error:
        return str(error)
    raise AssertionError(f"{sql} did not fail: {found[:3]}")


def succeeds(connection: dbapi.Connection, sql: str) -> bool:
    """Return whether a statement succeeds."""
    try:
        rows(connection, sql)
    except Error:
        return False
    return True


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> float:
    """Wait until ``condition`` holds; return the seconds that it took. Fails after ``seconds``."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, "it did not happen in time"
        time.sleep(_POLL_SECONDS)
    return time.monotonic() - begin
