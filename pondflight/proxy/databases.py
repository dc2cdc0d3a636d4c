"""Whether the attached databases can be reached from here, for /health/detailed.

It opens and closes a connection, or looks at a file, without a login. So it tells only whether
there is something to talk to; a worker, which logs in, may be in another network.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final

from pondflight import dsn

CHECK_SECONDS: Final = 15.0
"""Seconds for which an answer is reused."""

_CONNECT_SECONDS: Final = 2.0
_PATIENCE: Final = 1.0
"""Seconds to wait for answers; whatever has not answered by then is unavailable."""

_THREADS: Final = 16


@dataclass(frozen=True, slots=True)
class Database:
    """An attached database: a server or a file, by its connection string."""

    alias: str
    type: str
    connection_string: str = field(repr=False)

    def reachable(self) -> bool:
        """Return whether the file is readable, or one of the servers accepts connections."""
        if self.type not in dsn.SCHEMES:
            return os.access(self.connection_string, os.R_OK)
        try:
            addresses = dsn.parse(self.type, self.connection_string).addresses
        except dsn.Misshapen:
            return False
        return any(_listens(address) for address in addresses)


def _listens(address: dsn.Address) -> bool:
    try:
        if address.is_socket:
            return os.path.exists(address.host)  # noqa: PTH110  may be an abstract socket
        with socket.create_connection((address.host, address.port), _CONNECT_SECONDS):
            return True
    except (OSError, ValueError):
        return False


class Databases:
    """All attached databases, checked on request, at most once in ``CHECK_SECONDS``."""

    def __init__(
        self, databases: Sequence[Database], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._databases = tuple(databases)
        self._clock = clock
        self._lock = threading.Lock()
        self._checked_at: float | None = None
        self._answers: dict[str, Future[bool]] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="databases")

    def close(self) -> None:
        """Shut down the threads without waiting for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def status(self) -> list[dict[str, object]]:
        """Return ``[{"alias": …, "type": …, "status": "available" or "unavailable"}]``."""
        if not self._databases:
            return []
        with self._lock:
            now = self._clock()
            if self._checked_at is None or now - self._checked_at >= CHECK_SECONDS:
                self._checked_at = now
                for answer in self._answers.values():
                    answer.cancel()  # checks that hang must not build up a queue
                self._answers = {
                    database.alias: self._threads.submit(database.reachable)
                    for database in self._databases
                }
            answers = self._answers
        there, _ = wait(answers.values(), _PATIENCE)
        return [
            {
                "alias": database.alias,
                "type": database.type,
                "status": "available" if _is_up(answers[database.alias], there) else "unavailable",
            }
            for database in self._databases
        ]


def _is_up(answer: Future[bool], there: set[Future[bool]]) -> bool:
    return answer in there and not answer.cancelled() and answer.result()


NO_DATABASES: Final = Databases(())
