"""One ATTACH that has begun, and waits at its gate for as long as the server is away.

It runs in a thread of its own, since DuckDB's ATTACH returns only when it is done. DuckDB checks
whether ATTACH is allowed only when it begins: one that began before the sandbox closed may end
after it.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import duckdb

from pondflight.dsn import MYSQL
from pondflight.engine.databases import mysql_columns
from pondflight.engine.databases.gate import Gate
from pondflight.engine.databases.plan import Plan
from pondflight.engine.duck import quote

_POLL_SECONDS = 0.005


class NamesCollide(Exception):
    """Some tables have names that are equal to DuckDB, so it cannot list the others."""


class Attempt:
    """An ATTACH according to ``plan``.

    ``on_break`` is called whenever the server ends a connection, from the beginning on.
    """

    def __init__(
        self, database: duckdb.DuckDBPyConnection, plan: Plan, on_break: Callable[[], None]
    ) -> None:
        self.gate = (
            None
            if plan.upstream is None
            else Gate(plan.upstream, on_break, plan.spec.max_connections)
        )
        self.error: Exception | None = None
        """Why it failed; set when it has ended."""
        self.twins: dict[str, list[str]] = {}
        """Tables whose names are equal to DuckDB, by schema; set when it has ended."""
        self._database = database
        self._plan = plan
        self._secret = f"pondflight_{plan.spec.alias}_{secrets.token_hex(4)}"
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"attach-{plan.spec.alias}", daemon=True
        )
        self._thread.start()

    def under_way(self, seconds: float) -> bool:
        """Return whether it is past all of DuckDB's checks of an ATTACH; wait up to ``seconds``.

        It is once it waits at its gate. Without a gate, this can only be guessed.
        """
        deadline = time.monotonic() + seconds
        while not self._ended.is_set() and time.monotonic() < deadline:
            if self.gate is not None and self.gate.waited_for(_POLL_SECONDS):
                self._forget_secret()
                return True
            if self.gate is None and self._ended.wait(_POLL_SECONDS):
                break
        if self._ended.is_set():
            return self.error is None
        return self.gate is None

    def finish(self) -> bool:
        """Open the gate, wait for the end, and return whether the database is attached."""
        if self.gate is not None:
            self.gate.open()
        self._ended.wait()
        if self.error is None and self._plan.spec.type == MYSQL:
            self._find_twins()
        return self.error is None

    def _find_twins(self) -> None:
        alias = self._plan.spec.alias
        with suppress(duckdb.Error), self._database.cursor() as cursor:
            self.twins = mysql_columns.twins(cursor, alias)
            for schema in self.twins:  # all tables of a schema are listed together, or none
                name = f"{quote(alias)}.{quote(schema)}.{quote(secrets.token_hex(8))}"
                try:
                    cursor.execute(f"FROM {name}")
                except duckdb.CatalogException as error:
                    if "already exists" in str(error):
                        self.undo()
                        self.error = NamesCollide()
                        return

    def undo(self) -> None:
        """Detach the database if it is attached, and end its connections."""
        if self._ended.is_set() and self.error is None:
            with suppress(duckdb.Error):
                self._execute(f"DETACH DATABASE IF EXISTS {quote(self._plan.spec.alias)}")
        if self.gate is not None:
            self.gate.shut()

    def _run(self) -> None:
        port = None if self.gate is None else self.gate.port
        try:
            self._execute(*self._plan.secret(self._secret, port))
            self._execute(self._plan.attach(self._secret, port))
        except Exception as error:  # noqa: BLE001  whatever it is, nothing is attached
            self.error = error
        finally:
            self._forget_secret()
            self._ended.set()

    def _forget_secret(self) -> None:
        with suppress(duckdb.Error):  # the database is closed, and everything with it
            self._execute(f"DROP SECRET IF EXISTS {quote(self._secret)}")

    def _execute(self, statement: str, parameters: list[str] | None = None) -> None:
        with self._database.cursor() as cursor:
            cursor.execute(statement, parameters)
