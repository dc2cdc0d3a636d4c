"""What DuckDB gets of a worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from pondflight.engine.duck import duckdb_memory, open_database

MB = 1 << 20


@pytest.mark.parametrize(
    ("worker", "duckdb"),
    [(4096, 3276), (512, 409), (320, 256), (192, 128), (128, 64), (96, 38), (16, 6)],
)
def test_four_fifths_of_the_memory_are_duckdbs_and_of_a_small_one_less(
    worker: int, duckdb: int
) -> None:
    assert duckdb_memory(worker * MB) // MB == duckdb


def test_duckdb_is_told(tmp_path: Path) -> None:
    with open_database(tmp_path, memory_limit=192 * MB, threads=1) as database:
        told = database.sql("SELECT current_setting('memory_limit')").fetchone()
    assert told == ("128.0 MiB",)
