"""Names, keys and credentials: what is derived, so that nothing has to be stored.

All of it follows from the deployment's secret. A proxy that is started again, or a second one
beside it, computes the same, and finds the workers that are there.
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
        # For users who call: each call asks more than once.
        self._key = lru_cache(maxsize=_KEPT_KEYS)(lambda name: self._digest("user", name)[:32])

    def key(self, subject: str, access: str = "") -> str:
        """The name that a token's ``sub`` has everywhere else: 32 hexadecimal digits.

        A keyed hash: different subjects never share one, whatever characters they are made of,
        and nobody can tell from it who the user is. ``access`` tells workers of one user apart
        that may see different databases.
        """
        name = f"{subject}\0{access}" if access else subject
        return self._key(name)

    def of_user(self, key: str) -> str:
        """The name of a user's worker. Only one can have it, which makes it a lock."""
        return f"pondflight-{self.instance}-{key}"

    def of_spare(self, generation: str) -> str:
        """The name of a warm worker that nobody has claimed."""
        return f"pondflight-{self.instance}-{_SPARE}-{generation}"

    def of(self, key: str, generation: str) -> str:
        """The name of a worker that is its user's, or nobody's if there is no key."""
        return self.of_user(key) if key else self.of_spare(generation)

    def credential(self, generation: str) -> str:
        """The one credential that opens a worker.

        It follows from the worker's generation alone: a warm worker has one before it has a
        user, and keeps it when it is claimed.
        """
        return self._digest("worker", self.instance, generation)

    def _digest(self, *parts: str) -> str:
        return hmac.new(self._secret, "\0".join(parts).encode(), "sha256").hexdigest()


def instance_of(secret: str, name: str = "") -> str:
    """The id of a deployment, from its secret and the name that the operator may have given it.

    Who does not have the secret cannot be the same deployment, whatever it calls itself.
    """
    message = f"instance\0{name}".encode()
    return hmac.new(secret.encode(), message, "sha256").hexdigest()[:12]


def is_worker(name: str, instance: str) -> bool:
    """Whether ``name`` is one that ``Naming`` of this deployment gives."""
    return _NAME.fullmatch(name) is not None and name.startswith(f"pondflight-{instance}-")


def user_in(name: str) -> str:
    """The key of the user whose worker has ``name``; empty if it is nobody's."""
    found = _NAME.fullmatch(name)
    return (found[1] or "") if found else ""
