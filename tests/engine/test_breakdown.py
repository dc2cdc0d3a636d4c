"""A DuckDB that cannot go on, and errors that only look like it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Self

import duckdb
import pytest
from pyarrow import flight

from pondflight import control
from pondflight.engine import extensions
from pondflight.engine.guards.breakdown import Breakdown
from pondflight.engine.server import EngineServer
from pondflight.errors import SqlError
from tests.engine.conftest import MakeClient


class Database:
    """One that works, or does not."""

    def __init__(self, *, broken: bool) -> None:
        self._broken = broken

    def cursor(self) -> Database:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, _: str) -> None:
        if self._broken:
            raise duckdb.FatalException("FATAL Error: database has been invalidated")


@pytest.mark.parametrize(
    ("text", "broken", "ends"),
    [
        ("INTERNAL Error: assertion failed", True, True),
        ("INTERNAL Error: assertion failed", False, False),
        ("FATAL Error: Failed: database has been invalidated because of a previous", False, True),
        ("Invalid Input Error: FATAL Error: database has been invalidated", True, False),
        ("Binder Error: no such column", True, False),
    ],
)
def test_only_a_database_that_fails_ends_the_worker(text: str, *, broken: bool, ends: bool) -> None:
    ended: list[bool] = []
    breakdown = Breakdown(Database(broken=broken), lambda: ended.append(True))  # type: ignore[arg-type]
    error = SqlError(text)
    for _ in range(2):
        assert (breakdown.explain(error) is error) != ends
    assert ended == [True] * ends


def test_who_meets_a_fatal_error_is_told_and_the_worker_ends(
    engine: EngineServer, make_client: MakeClient, tmp_path: Path
) -> None:
    make_client().act(control.CONFIGURE, b'{"owner": "ann"}')
    client = make_client(**{control.CALL_HEADER: "call-1"})
    with closing(sqlite3.connect(tmp_path / "lite.db")) as file:
        file.executescript("CREATE TABLE t (s TEXT); INSERT INTO t VALUES (CAST(x'ff41' AS TEXT))")
    extensions.load(engine._database, ["sqlite"])
    engine._database.execute(f"ATTACH '{tmp_path}/lite.db' AS lite (TYPE sqlite)")
    with pytest.raises(Exception, match="DuckDB failed and cannot go on: your worker ends"):
        client.rows("SELECT upper(s) FROM lite.t")
    assert engine.breakdown.has_happened
    with pytest.raises(flight.FlightUnavailableError, match="being replaced"):
        client.rows("SELECT 1")
