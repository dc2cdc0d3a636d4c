"""Limits how much all users together do at the same time, and shares it fairly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from pondflight.errors import LimitExceeded, Unavailable


class Shares:
    """``most`` places, of which one user may hold ``most_of_one``, and no more than are still free.

    So neither one user nor a few together can take all places: the last ones go to users who hold
    none. ``what`` names the places in errors. Not thread-safe.
    """

    def __init__(self, most: int, most_of_one: int, what: str) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._what = what
        self._taken: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._taken.total()

    def enter(self, user: str) -> Callable[[], None]:
        """Take a place for ``user``; return the function that gives it back, to be called once.

        Raises ``LimitExceeded`` if the user holds their share, ``Unavailable`` if none is free.
        """
        free = self._most - len(self)
        if not free:
            raise Unavailable(f"too many {self._what} at once: try again", retry_after=1.0)
        if self._taken[user] >= min(self._most_of_one, free):
            raise LimitExceeded(
                f"too many {self._what} of yours at once: finish one of them, or try again",
                retry_after=1.0,
            )
        self._taken[user] += 1
        return partial(self._leave, user)

    def _leave(self, user: str) -> None:
        self._taken[user] -= 1
        if not self._taken[user]:
            del self._taken[user]
