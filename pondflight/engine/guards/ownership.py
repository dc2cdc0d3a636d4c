"""Whose worker this is: nobody's, and then one user's for as long as it lives.

A proxy that claims a warm worker tells it its user. Where two proxies claim the same one, the
worker itself decides: the first user stays, and nobody else ever gets in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pondflight.errors import InvalidArgument, PermissionDenied


class Ownership:
    """The owner of this worker, and the configuration that came with the claim.

    ``owner`` is empty until a configuration has succeeded. The first who tries is the only one who
    may try again: half of a configuration may be that user's databases. ``fresh`` until anybody has
    tried.
    """

    def __init__(self) -> None:
        self.owner = ""
        self.fresh = True
        self._claimant = ""
        self._lock = threading.Lock()
        self._answer: dict[str, Any] = {}

    @property
    def is_promised(self) -> bool:
        """Whether a user was named whose configuration has not succeeded, or not yet."""
        return bool(self._claimant) and not self.owner

    def configure(
        self, wanted: dict[str, Any], configure: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """Run ``configure`` and let its owner in, unless that was done before.

        The worker is the owner's only once ``configure`` has succeeded.
        """
        owner = wanted.pop("owner", "")
        if not isinstance(owner, str):
            raise InvalidArgument("the owner is not text")
        self.fresh = False
        with self._lock:
            if self._claimant and owner != self._claimant:
                raise PermissionDenied("this worker serves another user")
            if not self.owner:
                self._claimant = owner
                self._answer = configure(wanted)
                self.owner = owner
            return self._answer
