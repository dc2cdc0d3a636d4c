"""What is kept between two calls of a client: no more than so much, however often it comes."""

from __future__ import annotations

import pyarrow as pa

from pondflight.engine.execution import tickets
from pondflight.engine.execution.tickets import Tickets


def test_parameters_of_prepared_statements_are_kept_for_the_latest_only() -> None:
    kept, table = Tickets(), pa.table({"a": [1]})
    keys = [str(number) for number in range(1000)]
    for key in keys:
        kept.bind(key, "s", table)
    found = [key for key in keys if kept.parameters(key, "s") is not None]
    assert found == keys[-tickets._MOST_KEPT :]


def test_of_tickets_that_keep_nothing_the_latest_are_remembered() -> None:
    kept = Tickets()
    for _ in range(3 * tickets._REMEMBERED):
        kept.new("s")
    assert len(kept._tickets) == tickets._REMEMBERED
