"""What DuckDB gets of a worker."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from pondflight.engine.duck import duckdb_memory, open_database, sql_error

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


@pytest.mark.parametrize(
    "rest",
    [
        "\n\nStack Trace:\n\n/usr/lib/duckdb.so(_ZN6duckdb9Exception+0x5b) [0x7fc669d967eb]",
        "\nThis error signals an assertion failure within DuckDB. This usually occurs due to",
    ],
)
def test_an_error_has_no_stack_trace_and_no_path(rest: str) -> None:
    leaf = sql_error(duckdb.InternalException(f"INTERNAL Error: no such column{rest}"))
    assert leaf is not None
    assert leaf.message == "INTERNAL Error: no such column"
