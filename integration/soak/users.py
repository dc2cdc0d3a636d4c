"""What users do all day. Each row that comes carries its user's mark; any other is a leak."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable

import pyarrow as pa
from adbc_driver_flightsql import dbapi
from adbc_driver_manager import Error

Connect = Callable[[str], dbapi.Connection]
ROWS = 60_000


class Wrong(Exception):
    """What a user saw is not theirs, or not all of it."""


class Tally:
    """What came of all statements: whole results, errors by their words, and what is wrong."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.whole: Counter[str] = Counter()
        """By user."""
        self.errors: Counter[str] = Counter()
        self.wrong: list[str] = []

    def add(self, user: str, outcome: str, words: str = "") -> None:
        """``outcome`` is whole, error or WRONG."""
        with self._lock:
            if outcome == "whole":
                self.whole[user] += 1
            elif outcome == "error":
                self.errors[re.sub(r"[0-9a-f]{8,}|\d+", "N", words)[:120]] += 1
            else:
                self.wrong.append(f"{user}: {words}")


def live(user: str, connect: Connect, until: float, tally: Tally) -> None:
    """Ask over ADBC, again and again."""
    chance = random.Random(user)
    while time.monotonic() < until:
        try:
            with connect(user) as connection:
                for _ in range(chance.randint(1, 5)):
                    chance.choice(_DEEDS)(connection, user, chance)
                    tally.add(user, "whole")
        except Wrong as wrong:
            tally.add(user, "WRONG", str(wrong))
        except (Error, pa.ArrowException, OSError) as error:
            tally.add(user, "error", str(error))


def _select(rows: int, user: str) -> str:
    return f"SELECT '{user}' AS who, range AS i FROM range({rows})"


def _check(batch: pa.RecordBatch | pa.Table, user: str, start: int) -> int:
    """The number of rows; ``Wrong`` unless they are this user's, and counted from ``start``."""
    if set(batch["who"].to_pylist()) - {user}:
        raise Wrong(f"rows of {set(batch['who'].to_pylist())}")
    if batch["i"].to_pylist() != list(range(start, start + batch.num_rows)):
        raise Wrong(f"rows are missing after {start}")
    return int(batch.num_rows)


def _read(connection: dbapi.Connection, user: str, rows: int, pause: float) -> None:
    seen = 0
    with connection.cursor() as cursor:
        cursor.execute(_select(rows, user))
        with cursor.fetch_record_batch() as reader:  # a cursor with an open reader is not closed
            for batch in reader:
                seen += _check(batch, user, seen)
                time.sleep(pause)
    if seen != rows:
        raise Wrong(f"{seen} of {rows} rows, and no error")


def _all(connection: dbapi.Connection, user: str, chance: random.Random) -> None:
    _read(connection, user, chance.randint(1, ROWS), 0.0)


def _slowly(connection: dbapi.Connection, user: str, chance: random.Random) -> None:
    _read(connection, user, chance.randint(1, 4 * ROWS), 0.3)


def _drop(connection: dbapi.Connection, user: str, _: random.Random) -> None:
    """Read a little of much, and go away."""
    with connection.cursor() as cursor:
        cursor.execute(_select(50_000_000, user))
        with cursor.fetch_record_batch() as reader:
            _check(reader.read_next_batch(), user, 0)


def _keep(connection: dbapi.Connection, user: str, chance: random.Random) -> None:
    """A table of one's own, in memory: after a worker's end it is gone, never another's."""
    rows = chance.randint(1, 5000)
    table = pa.table({"who": [user] * rows, "i": range(rows)})
    with connection.cursor() as cursor:
        cursor.adbc_ingest("kept", table, mode="replace")
        connection.commit()
        cursor.execute("SELECT who, i FROM kept ORDER BY i")
        if _check(cursor.fetch_arrow_table(), user, 0) != rows:
            raise Wrong(f"a table of {rows} rows has lost some")


_DEEDS = (_all, _all, _keep, _keep, _slowly, _drop)
