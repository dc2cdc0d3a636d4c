"""Names, keys and credentials, which are derived so that nothing has to be stored.

All of it follows from the deployment's secret. So a proxy that is restarted, or a second one beside
it, computes the same, and finds the existing workers.
"""

from __future__ import annotations

import hmac
import re
from functools import lru_cache

_SPARE = "spare"
_KEPT_KEYS = 4096
_NAME = re.compile(rf"pondflight-[0-9a-z]+-(?:([0-9a-f]{{32}})|{_SPARE}-[0-9a-f]+)")


class Naming:
    """Names of one deployment.

    ``instance`` tells it from others on the same engine; it is 12 hexadecimal digits.
    """

    def __init__(self, secret: str, instance: str) -> None:
        self.instance = instance
        self._secret = secret.encode()
        # Cached for users who call: each call needs it more than once.
        self._key = lru_cache(maxsize=_KEPT_KEYS)(lambda name: self._digest("user", name)[:32])

    def key(self, subject: str, access: str = "") -> str:
        """Return the key for a token's ``sub``, used everywhere else: 32 hexadecimal digits.

        It is a keyed hash: different subjects never share one, and nobody can tell the user from
        it. ``access`` distinguishes workers of one user that may see different databases.
        """
        name = f"{subject}\0{access}" if access else subject
        return self._key(name)

    def of_user(self, key: str) -> str:
        """Return the name of a user's worker.

        Only one worker can have it, so it works as a lock.
        """
        return f"pondflight-{self.instance}-{key}"

    def of_spare(self, generation: str) -> str:
        """Return the name of a warm worker that nobody has claimed."""
        return f"pondflight-{self.instance}-{_SPARE}-{generation}"

    def of(self, key: str, generation: str) -> str:
        """Return the name of a user's worker, or of a warm one if ``key`` is empty."""
        return self.of_user(key) if key else self.of_spare(generation)

    def credential(self, generation: str) -> str:
        """Return the only credential that opens a worker.

        It follows from the worker's generation alone: a warm worker has one before it has a user,
        and keeps it when it is claimed.
        """
        return self._digest("worker", self.instance, generation)

    def _digest(self, *parts: str) -> str:
        return hmac.new(self._secret, "\0".join(parts).encode(), "sha256").hexdigest()


def instance_of(secret: str, name: str = "") -> str:
    """Return the id of a deployment, from its secret and the operator's name for it, if any.

    Without the secret, nobody can pretend to be the same deployment.
    """
    message = f"instance\0{name}".encode()
    return hmac.new(secret.encode(), message, "sha256").hexdigest()[:12]


def is_worker(name: str, instance: str) -> bool:
    """Return whether ``name`` is one of the names of this deployment's workers."""
    return _NAME.fullmatch(name) is not None and name.startswith(f"pondflight-{instance}-")


def user_in(name: str) -> str:
    """Return the key of the user whose worker has ``name``; empty for a warm worker."""
    found = _NAME.fullmatch(name)
    return (found[1] or "") if found else ""
