"""Parsed statements, cached by their text: one execute of a client sends it several times."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from pondflight.engine.sql.statement import Statement

_MOST: Final = 512
_LONGEST: Final = 16 << 10
"""Longest text that is cached, in characters."""

_KINDS: Final = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE_INTO"})
"""Kinds of statements whose meaning is in the text alone.

For others (PRAGMA, IMPORT), the result of parsing depends on the state of the database.
"""


class ParsedStatements:
    """The texts parsed last, and their statements."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, list[Statement]] = OrderedDict()

    def find(self, text: str) -> list[Statement] | None:
        """Return the statements of ``text``; None if they are not cached."""
        with self._lock:
            found = self._kept.get(text)
            if found is not None:
                self._kept.move_to_end(text)
        return found

    def keep(self, text: str, statements: Sequence[Statement]) -> None:
        """Cache the statements of ``text``, unless it is long.

        Statements that might be parsed differently the next time are not cached either.
        """
        if len(text) > _LONGEST or not all(map(_is_in_its_text, statements)):
            return
        with self._lock:
            self._kept[text] = list(statements)
            if len(self._kept) > _MOST:
                self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget all: other statements may be allowed from now on."""
        with self._lock:
            self._kept.clear()


def _is_in_its_text(statement: Statement) -> bool:
    return statement.kind in _KINDS and statement.describable == statement.text
