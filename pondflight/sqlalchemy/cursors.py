"""ADBC's cursors, made to say what SQLAlchemy listens for."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import default


class Cursor:
    """A cursor of ADBC that is closed with its statement where there are no columns.

    PEP 249 has no ``description`` then, ADBC an empty one, and SQLAlchemy would wait for rows.
    """

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    @property
    def description(self) -> Any:
        """The columns; ``None`` if there are none."""
        return self._cursor.description or None


class ExecutionContext(default.DefaultExecutionContext):
    """One execution of a statement."""

    def create_default_cursor(self) -> Cursor:
        """A cursor to execute it with."""
        return Cursor(super().create_default_cursor())
