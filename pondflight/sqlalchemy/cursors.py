"""ADBC's cursors, adapted to what SQLAlchemy expects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import default

if TYPE_CHECKING:
    from adbc_driver_manager import dbapi as adbc


class Cursor:
    """A cursor of ADBC that reports no ``description`` where there are no columns.

    PEP 249 has None then, ADBC an empty list, and SQLAlchemy would wait for rows.
    """

    def __init__(self, cursor: adbc.Cursor) -> None:
        self._cursor = cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    @property
    def description(self) -> list[tuple[object, ...]] | None:
        """Return the columns; ``None`` if there are none."""
        return self._cursor.description or None


class ExecutionContext(default.DefaultExecutionContext):
    """One execution of a statement."""

    def create_default_cursor(self) -> Cursor:
        """Return a cursor to execute the statement with."""
        return Cursor(super().create_default_cursor())
