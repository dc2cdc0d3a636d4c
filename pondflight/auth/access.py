"""Which of the configured databases a token shows.

This is decided before a worker starts, so a worker never learns of a database that its user may not
see. Two tokens of one user may show different databases. So workers, and the tables stored with
them, belong to a user and the set of databases that the token shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from pondflight.settings.databases import AttachedDatabase

_DEMO = ":demo"  # no alias has a colon


def visible(
    databases: Sequence[AttachedDatabase], claims: Mapping[str, object], *, demo: bool
) -> list[AttachedDatabase]:
    """Return the databases that a token with ``claims`` may see. ``demo``: a demo token."""
    if demo:
        return [database for database in databases if database.demo]
    return [database for database in databases if _allows(database.allow, claims)]


def fingerprint(
    databases: Sequence[AttachedDatabase], claims: Mapping[str, object], *, demo: bool
) -> str:
    """Return a fingerprint of the databases that a token shows beyond those that everybody sees.

    It is empty if there are none, and does not depend on their order.
    """
    if demo:
        return _DEMO
    shown = visible(databases, claims, demo=False)
    restricted = sorted(database.alias.lower() for database in shown if database.allow is not None)
    return " ".join(restricted)


def storage_name(subject: str, access: str) -> str:
    """Return the name of a user's persistent storage: 64 hexadecimal digits.

    Different users get different names. No secret goes into it, so tables survive a change of
    JWT_SECRET. ``access`` is the fingerprint.
    """
    return hashlib.sha256(f"storage\0{subject}\0{access}".encode()).hexdigest()


def _allows(allow: Mapping[str, tuple[object, ...]] | None, claims: Mapping[str, object]) -> bool:
    if allow is None:
        return True
    return any(_has(claims.get(name), value) for name, values in allow.items() for value in values)


def _has(claim: object, wanted: object) -> bool:
    """Return whether a claim equals ``wanted`` or is a list that contains it; ``true`` is not 1."""
    values = claim if isinstance(claim, list | tuple) else [claim]
    return any(type(value) is type(wanted) and value == wanted for value in values)
