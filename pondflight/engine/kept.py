"""What a worker keeps for clients between two calls, within bounds; the oldest goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Values by session and key. At most ``limit`` of them."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._values: OrderedDict[tuple[str, str], T] = OrderedDict()

    def put(self, session: str, key: str, value: T) -> None:
        """Keep a value; forget the oldest if there are too many."""
        with self._lock:
            self._values[session, key] = value
            while len(self._values) > self._limit:
                self._values.popitem(last=False)

    def get(self, session: str, key: str) -> T | None:
        """The value, if it is still there."""
        with self._lock:
            return self._values.get((session, key))

    def pop(self, session: str, key: str) -> T | None:
        """The value, if it is still there; forgotten from now on."""
        with self._lock:
            return self._values.pop((session, key), None)

    def drop_session(self, session: str) -> None:
        """Forget all that a session has."""
        with self._lock:
            for key in [key for key in self._values if key[0] == session]:
                del self._values[key]
