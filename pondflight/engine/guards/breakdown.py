"""Detects a DuckDB that cannot go on: every statement fails until it is reopened.

DuckDB reports such a fatal error by an exception class that streams lose, and by a message that a
user can forge. So an error that looks like one only prompts a test: whether the simplest statement
still works.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import duckdb

from pondflight.errors import Internal, PondflightError

log = logging.getLogger(__name__)

_GRAVE = ("FATAL Error: ", "INTERNAL Error: ")
MESSAGE = (
    "DuckDB failed and cannot go on: your worker ends, and with it tables in memory, temporary "
    "tables, settings and open transactions; the next call starts a new one"
)


class Breakdown:
    """Watches for the error after which nothing works, and then calls ``on_break`` once."""

    def __init__(
        self, database: duckdb.DuckDBPyConnection, on_break: Callable[[], None] = lambda: None
    ) -> None:
        self.on_break = on_break
        self.has_happened = False
        self._database = database

    def explain(self, error: PondflightError) -> PondflightError:
        """Return ``error``, or what the caller has to know if DuckDB is broken."""
        if not error.message.startswith(_GRAVE):
            return error
        if not self.has_happened:
            if not (_says_so(error.message) or self._fails()):
                return error
            self.has_happened = True
            log.critical("DuckDB cannot go on, and the worker ends: %s", error.message)
            self.on_break()
        return Internal(MESSAGE)

    def _fails(self) -> bool:
        try:
            with self._database.cursor() as cursor:
                cursor.execute("SELECT 1")
        except duckdb.Error:
            return True
        return False


def _says_so(text: str) -> bool:
    """Return whether DuckDB says that a database is broken, which may be just a user's file."""
    return text.startswith(_GRAVE[0]) and "database has been invalidated" in text
