"""The differences that are tolerated, and why. docs/databases.md has the same list."""

from __future__ import annotations

import re
from dataclasses import dataclass

from integration.truth.asking import Difference


@dataclass(frozen=True)
class Known:
    """A remaining difference between pondflight and ``against``, over ``system``.

    ``sign`` is a pattern of the statement or of the result. docs/databases.md has the ``reason``.
    """

    system: str
    against: str
    sign: str
    reason: str


KNOWN: tuple[Known, ...] = (
    Known(
        "postgres",
        "postgres",
        r"\.(kind|c\d+) (<|<=|>|>=|BETWEEN) '(red|Amber|green)'",
        "An enum beside a text, as in `mood < 'ok'`, is compared as text; sorting, `min()`"
        " and `max()` use the order of its declaration. PostgreSQL uses that order everywhere.",
    ),
)
"""Of generated statements."""

FORMS: dict[tuple[str, str], str] = {
    ("postgres", "char(5)"): "`char(n)` has no trailing spaces.",
    ("mariadb", "tinyint(1)"): "`tinyint(1)` is BOOLEAN: every number but 0 is true.",
    ("mariadb", "time(6)"): "TIME is text, without trailing zeros in its fraction.",
    ("sqlite", "blob"): "In a column of text and of bytes, bytes are text: `X'61'`.",
    ("postgres", "inet"): "`inet` has its prefix length in every address: `::1/128`.",
}
"""Of types: another form of the same value."""


def tolerated(system: str, difference: Difference) -> str:
    """Return the reason for which a difference is tolerated, or an empty text."""
    for known in KNOWN:
        where = known.system == system and known.against == difference.against
        if where and re.search(known.sign, difference.sql):
            return known.reason
    return ""
