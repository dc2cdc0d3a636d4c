"""What a worker keeps for clients between two calls, within bounds; the oldest goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Values by session and key. At most ``limit`` of them.

    ``discard`` is called with a value that nobody came for.
    """

    def __init__(self, limit: int = 256, *, discard: Callable[[T], None] | None = None) -> None:
        self._limit = limit
        self._discard = discard or (lambda _: None)
        self._lock = threading.Lock()
        self._values: OrderedDict[tuple[str, str], T] = OrderedDict()

    def put(self, session: str, key: str, value: T) -> None:
        """Keep a value; forget the oldest if there are too many."""
        oldest: list[T] = []
        with self._lock:
            self._values[session, key] = value
            while len(self._values) > self._limit:
                oldest.append(self._values.popitem(last=False)[1])
        self._discard_all(oldest)

    def get(self, session: str, key: str) -> T | None:
        """The value, if it is still there."""
        with self._lock:
            return self._values.get((session, key))

    def refresh(self, session: str, key: str) -> bool:
        """Make the value the youngest, if it is still there; whether it is."""
        with self._lock:
            if (session, key) not in self._values:
                return False
            self._values.move_to_end((session, key))
            return True

    def pop(self, session: str, key: str) -> T | None:
        """The value, if it is still there; forgotten from now on."""
        with self._lock:
            return self._values.pop((session, key), None)

    def drop_session(self, session: str) -> None:
        """Forget all that a session has."""
        with self._lock:
            keys = [key for key in self._values if key[0] == session]
            values = [self._values.pop(key) for key in keys]
        self._discard_all(values)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            values = list(self._values.values())
            self._values.clear()
        self._discard_all(values)

    def _discard_all(self, values: list[T]) -> None:
        for value in values:
            self._discard(value)
