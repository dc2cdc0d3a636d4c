"""CONTRIBUTING.md points at files that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_place_on_the_map_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    section = text.split("## Where things are")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 20
    for row in rows:
        folder = ROOT
        for path in re.findall(r"`([^`]+)`", row.split("|")[2]):
            place = ROOT / path if "/" in path else folder / path
            assert place.exists(), path
            folder = place.parent
