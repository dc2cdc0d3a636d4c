"""How each database writes the parts of generated statements."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from integration.truth.systems import System


class Dialect:
    """The SQL of one database.

    ``text`` writes text and bytes as a literal. ``bound`` collects the values that a statement
    binds; ``None``: they are literals.
    """

    def __init__(self, name: str, text: Callable[[str | bytes], str]) -> None:
        self.name = name
        self.bound: list[Any] | None = None
        self._text = text

    @classmethod
    def of(cls, system: System) -> Dialect:
        """Return the dialect of a system."""
        return cls(system.name, system.literal)

    def binding(self) -> Dialect:
        """Return the same dialect with values bound as $1, $2 …"""
        found = Dialect(self.name, self._text)
        found.bound = []
        return found

    def constant(self, value: Any) -> str:
        """Return a value in a statement, as a literal or bound."""
        if self.bound is None or value is None:
            return self.literal(value)
        self.bound.append(value)
        return f"${len(self.bound)}"

    def literal(self, value: Any) -> str:
        """Return a value as a literal."""
        if value is None:
            return "NULL"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str | bytes):
            return self._text(value)
        if isinstance(value, date | time | UUID):
            return self._typed(value)
        if isinstance(value, float):
            return self._float(value)
        return f"{value:f}" if isinstance(value, Decimal) else str(value)

    def _float(self, value: float) -> str:
        if self.name == "sqlite":
            return repr(value) if math.isfinite(value) else f"{'-' if value < 0 else ''}9e999"
        if self.name == "mariadb":
            return f"{value!r}e0" if "e" not in repr(value) else repr(value)
        return (
            f"CAST('{value!r}' AS double precision)"
            if self.name == "postgres"
            else f"CAST('{value!r}' AS DOUBLE)"
        )

    def _typed(self, value: date | time | UUID) -> str:
        text = self._text(value.isoformat(" ") if isinstance(value, datetime) else str(value))
        name = type(value).__name__.upper()
        if isinstance(value, datetime):
            name = "TIMESTAMP" if value.tzinfo is None else "TIMESTAMPTZ"
        return text if self.name == "sqlite" else f"{name} {text}"


def _duckdb(value: str | bytes) -> str:
    if isinstance(value, bytes):
        return "'" + "".join(f"\\x{byte:02X}" for byte in value) + "'::BLOB"
    return "'" + value.replace("'", "''") + "'"


DUCKDB = Dialect("duckdb", _duckdb)
