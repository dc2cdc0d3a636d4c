"""Whose worker this is: nobody's at first, and then one user's for the rest of its life.

A proxy that claims a warm worker names its user. If two proxies claim the same worker, the worker
decides: the first user stays, and nobody else ever gets in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from pondflight.control import Json
from pondflight.errors import InvalidArgument, PermissionDenied


class Ownership:
    """The owner of this worker, and the configuration that came with the claim.

    ``owner`` is empty until a configuration has succeeded. Only the first to try may try again:
    half of a configuration may already be that user's databases. ``fresh`` until anybody has tried.
    """

    def __init__(self) -> None:
        self.owner = ""
        self.fresh = True
        self._claimant = ""
        self._lock = threading.Lock()
        self._answer: Json = {}

    @property
    def is_promised(self) -> bool:
        """Return whether a user was named whose configuration has not succeeded so far."""
        return bool(self._claimant) and not self.owner

    def configure(self, wanted: Json, configure: Callable[[Json], Json]) -> Json:
        """Run ``configure`` and let its owner in, unless that was done before.

        The worker belongs to the owner only once ``configure`` has succeeded.
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
