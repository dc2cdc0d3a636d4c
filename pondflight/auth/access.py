"""Which of the configured databases a token shows.

Decided before a worker is told anything: it never hears of a database that its user may not see.
A worker belongs to a user, and two tokens of one user may show different databases; so it belongs
to what the token shows as well, and so do the tables that are kept in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pondflight.settings.databases import AttachedDatabase

_DEMO = ":demo"  # no alias has a colon


def visible(
    databases: Sequence[AttachedDatabase], claims: Mapping[str, Any], *, demo: bool
) -> list[AttachedDatabase]:
    """Return the databases that a token with ``claims`` may see. ``demo``: a demo token."""
    if demo:
        return [database for database in databases if database.demo]
    return [database for database in databases if _allows(database.allow, claims)]


def fingerprint(
    databases: Sequence[AttachedDatabase], claims: Mapping[str, Any], *, demo: bool
) -> str:
    """What a token shows beyond the databases that everybody sees; empty: nothing.

    It does not depend on the databases that everybody sees, nor on the order of the others.
    """
    if demo:
        return _DEMO
    shown = visible(databases, claims, demo=False)
    restricted = sorted(database.alias.lower() for database in shown if database.allow is not None)
    return " ".join(restricted)


def storage_name(subject: str, access: str) -> str:
    """The name of a user's persistent storage: 64 hexadecimal digits.

    No two users share one, whatever characters they are made of. It depends on no secret, so that
    tables outlive a change of JWT_SECRET. ``access`` is the fingerprint.
    """
    return hashlib.sha256(f"storage\0{subject}\0{access}".encode()).hexdigest()


def _allows(allow: Mapping[str, tuple[object, ...]] | None, claims: Mapping[str, object]) -> bool:
    if allow is None:
        return True
    return any(_has(claims.get(name), value) for name, values in allow.items() for value in values)


def _has(claim: object, wanted: object) -> bool:
    """Whether a claim is ``wanted``, or has it among its values. ``true`` is not 1."""
    values = claim if isinstance(claim, list | tuple) else [claim]
    return any(type(value) is type(wanted) and value == wanted for value in values)
