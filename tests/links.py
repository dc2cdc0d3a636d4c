"""Tests that a page of docs/ names: links to them, and file names in code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"\[([^\]]+)\]\(\.\./((?:tests|integration)/[^)#]+\.py)(?:#(\w+))?\)")
_CODE = re.compile(r"`((?:tests|integration)/[\w/]+\.py)`")
_LABEL = re.compile(r"`(test_\w+)`")


def page(name: str) -> str:
    """The text of docs/``name``."""
    return (ROOT / "docs" / name).read_text()


def linked(text: str) -> list[tuple[str, str]]:
    """File and function of each test that ``text`` names; "" where it names the file alone.

    A link names a function behind ``#``, or with its text.
    """
    found = [(path, "") for path in _CODE.findall(text)]
    for label, path, anchor in _LINK.findall(text):
        named = _LABEL.fullmatch(label)
        found.append((path, anchor or (named.group(1) if named else "")))
    return found


def missing(text: str) -> list[str]:
    """The tests that ``text`` names and that are not there."""
    return [f"{path}#{name}" for path, name in linked(text) if not _is_there(ROOT / path, name)]


def _is_there(path: Path, name: str) -> bool:
    return path.is_file() and (not name or f"def {name}(" in path.read_text())
