"""docs/reliability.md: each promise links to a test, and the test is there."""

from __future__ import annotations

from tests import links

PAGE = links.page("reliability.md")


def test_each_fault_and_each_bound_has_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    heads = [row for row in rows if row.startswith(("| fault |", "| what |"))]
    assert len(heads) == 2
    for row in rows:
        assert row in heads or any(name for _, name in links.linked(row)), row


def test_every_test_that_is_linked_exists() -> None:
    assert len(links.linked(PAGE)) > 40
    assert links.missing(PAGE) == []
