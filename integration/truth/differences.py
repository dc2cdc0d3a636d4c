"""What may differ, and why: docs/databases.md has the same list, and nothing else is tolerated."""

from __future__ import annotations

import re
from dataclasses import dataclass

from integration.truth.asking import Difference


@dataclass(frozen=True)
class Known:
    """A difference that remains. ``reason`` is the sentence of docs/databases.md."""

    name: str
    system: str
    sign: str
    reason: str


KNOWN: tuple[Known, ...] = ()


def tolerated(system: str, difference: Difference) -> str:
    """The name of the known difference that this is, or nothing."""
    for known in KNOWN:
        if known.system == system and re.search(known.sign, str(difference)):
            return known.name
    return ""
