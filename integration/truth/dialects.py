"""How each database writes what the generated statements have in them."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from integration.truth.systems import System


class Dialect:
    """SQL of one database. ``text`` writes text and bytes as a literal.

    ``bound`` is where values go that a statement binds; ``None``: they are literals.
    """

    def __init__(self, name: str, text: Callable[[str | bytes], str]) -> None:
        self.name = name
        self.bound: list[Any] | None = None
        self._text = text

    @classmethod
    def of(cls, system: System) -> Dialect:
        """That of a system."""
        return cls(system.name, system.literal)

    def binding(self) -> Dialect:
        """The same, with values bound as $1, $2 …"""
        found = Dialect(self.name, self._text)
        found.bound = []
        return found

    def constant(self, value: Any, family: str) -> str:
        """A value in a statement, as a literal or bound."""
        if self.bound is None or value is None:
            return self.literal(value, family)
        self.bound.append(value)
        return f"${len(self.bound)}"

    def literal(self, value: Any, family: str) -> str:
        """A value as a literal of its family."""
        if value is None:
            return "NULL"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float):
            return self._float(value)
        if isinstance(value, int | Decimal):
            return f"{value:f}" if isinstance(value, Decimal) else str(value)
        if isinstance(value, str | bytes):
            return self._text(value)
        text = str(value)
        if isinstance(value, datetime):
            text = value.isoformat(" ")
        if self.name == "sqlite":
            return self._text(text)
        return f"{self._type(value)} {self._text(text)}"

    def quote(self, identifier: str) -> str:
        """A name in quotes."""
        return f"`{identifier}`" if self.name == "mariadb" else f'"{identifier}"'

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

    @staticmethod
    def _type(value: Any) -> str:
        if isinstance(value, datetime):
            return "TIMESTAMP" if value.tzinfo is None else "TIMESTAMPTZ"
        return {date: "DATE", time: "TIME", UUID: "UUID"}[type(value)]


def _duckdb(value: str | bytes) -> str:
    if isinstance(value, bytes):
        return "'" + "".join(f"\\x{byte:02X}" for byte in value) + "'::BLOB"
    return "'" + value.replace("'", "''") + "'"


DUCKDB = Dialect("duckdb", _duckdb)
