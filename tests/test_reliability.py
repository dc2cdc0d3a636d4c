"""docs/reliability.md: each promise links to a test, and the test is there."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
LINK = re.compile(r"\[[^\]]+\]\((\.\./[^)#]+\.py)#(\w+)\)")
PAGE = (DOCS / "reliability.md").read_text()


def test_each_fault_and_each_bound_has_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    heads = [row for row in rows if row.startswith(("| fault |", "| what |"))]
    assert len(heads) == 2
    for row in rows:
        assert row in heads or LINK.search(row), row


def test_every_test_that_is_linked_exists() -> None:
    links = LINK.findall(PAGE)
    assert len(links) > 40
    for path, name in links:
        assert f"def {name}(" in (DOCS / path).read_text(), f"{path} has no {name}"
