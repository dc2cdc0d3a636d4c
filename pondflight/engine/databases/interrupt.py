"""Ends statements that wait for a server, which DuckDB cannot interrupt."""

from __future__ import annotations

import time

from pondflight.engine.databases.attached import Databases
from pondflight.engine.guards.callers import Call

STUCK_SECONDS = 0.3
"""Seconds after its cancellation for which a statement may go on before its connections are cut."""


class Rescue:
    """Ends a cancelled call that waits for a database server.

    Later statements that wait for a server as well may be ended with it.
    """

    def __init__(self, call: Call, databases: Databases) -> None:
        self._call = call
        self._databases = databases
        self._first = 0.0

    def __call__(self) -> None:
        """Try to end it; called repeatedly while the cancelled call goes on."""
        now = time.monotonic()
        self._first = self._first or now
        if now - self._first > STUCK_SECONDS:
            self._databases.cut_waiting(self._call.started)
