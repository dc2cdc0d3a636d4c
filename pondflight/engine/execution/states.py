"""The states of cursors and results, and the transitions between them.

docs/architecture.md has both tables; a test compares it with this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

S = TypeVar("S", "CursorState", "ResultState")


class CursorState(StrEnum):
    """What a cursor is doing."""

    IDLE = "idle"
    RUNNING = "running"
    STREAMING = "streaming"
    CLOSED = "closed"

    @property
    def description(self) -> str:
        """Return the meaning of the state, in a sentence."""
        return _CURSORS[self]


class ResultState(StrEnum):
    """Where the unread rows are."""

    STREAMING = "streaming"
    SET_ASIDE = "set aside"
    FINISHED = "finished"
    FAILED = "failed"
    CLOSED = "closed"

    @property
    def description(self) -> str:
        """Return the meaning of the state, in a sentence."""
        return _RESULTS[self]


_CURSORS = {
    CursorState.IDLE: "No statement runs, and no rows are to come.",
    CursorState.RUNNING: "A statement runs, for one call alone.",
    CursorState.STREAMING: "The rows of the last statement come from it as they are read.",
    CursorState.CLOSED: "Its session, or its only statement, is over. The end.",
}

_RESULTS = {
    ResultState.STREAMING: "DuckDB makes the rows as they are read; some may be set aside already.",
    ResultState.SET_ASIDE: "All rows have left the cursor, for memory or the scratch directory.",
    ResultState.FINISHED: "The last row was read.",
    ResultState.FAILED: "An error ended the rows; reading on raises it.",
    ResultState.CLOSED: "Nobody wants the rows any more. The end.",
}

CURSOR_STEPS: Mapping[CursorState, frozenset[CursorState]] = {
    CursorState.IDLE: frozenset({CursorState.RUNNING, CursorState.CLOSED}),
    CursorState.RUNNING: frozenset({CursorState.IDLE, CursorState.STREAMING, CursorState.CLOSED}),
    CursorState.STREAMING: frozenset({CursorState.IDLE, CursorState.CLOSED}),
    CursorState.CLOSED: frozenset(),
}
"""The allowed transitions of a cursor."""

RESULT_STEPS: Mapping[ResultState, frozenset[ResultState]] = {
    ResultState.STREAMING: frozenset(
        {ResultState.SET_ASIDE, ResultState.FINISHED, ResultState.FAILED, ResultState.CLOSED}
    ),
    ResultState.SET_ASIDE: frozenset(
        {ResultState.FINISHED, ResultState.FAILED, ResultState.CLOSED}
    ),
    ResultState.FINISHED: frozenset({ResultState.CLOSED}),
    ResultState.FAILED: frozenset({ResultState.CLOSED}),
    ResultState.CLOSED: frozenset(),
}
"""The allowed transitions of a result."""


class IllegalTransition(Exception):
    """A transition that the table does not have: a bug in this program."""


def step(steps: Mapping[S, frozenset[S]], current: S, to: S) -> S:
    """Return ``to`` if the table ``steps`` has the transition from ``current``; else raise."""
    if to not in steps[current]:
        raise IllegalTransition(f"no step leads from {current} to {to}")
    return to
