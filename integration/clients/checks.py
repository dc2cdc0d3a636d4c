"""Programs in other languages that run checks, and print a line for each: ``check name: ok``."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parents[1]
_LINE = re.compile(r"^check ([a-z0-9_]+): (.*)$", re.MULTILINE)


def names(source: Path, pattern: str) -> list[str]:
    """Return the names of the checks in a program's source, by a pattern with one group."""
    found = re.findall(pattern, source.read_text("utf-8"))
    assert found, f"no checks in {source}"
    return found


def outcomes(output: str) -> dict[str, str]:
    """Return the outcome of each check."""
    return dict(_LINE.findall(output))
