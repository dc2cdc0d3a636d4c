"""The sentences that report mistakes in a configuration.

Each names the key, the value unless it is secret, where it came from, and what is accepted.
"""

from __future__ import annotations

import re

from pondflight.settings.declaration import MASK
from pondflight.settings.schema import Key

SECRET_FILE = "JWT_SECRET_FILE"  # noqa: S105 - the name of a variable
"""Variable that names a file with the JWT secret, since Docker's secrets are files."""

At = tuple[str | int, ...]
"""The place of a value: ``("duckdb", "attached_databases", 0, "type")``."""

_LONGEST_SHOWN = 80
_TYPES = {dict: "a mapping", list: "a list", str: "a string", bool: "true or false"}


def from_variable(name: str) -> str:
    """Return the phrase for a value that came from an environment variable."""
    return f"from the environment variable {name}"


def refused(key: Key, at: At, value: str, why: str, origin: str) -> str:
    """Return the sentence for a value that is not accepted, or for a whole section."""
    if key.children:
        return f"{dotted(at)}: {why} ({origin})"
    name, accepts = dotted(at), key.accepts
    if key.env is not None:
        if key.env.only:
            name = key.env.name
        if key.env.bare_unit and origin == from_variable(key.env.name):
            accepts += f"; a number without a unit counts {key.env.bare_unit} here"
    subject = f"{name}: {value}" if value else name
    return f"{subject} {why} ({origin}); accepted: {accepts}"


def misfit(key: Key, at: At, value: object, origin: str) -> str:
    """Return the sentence for another kind of value where a section or a list belongs."""
    is_item = bool(at) and isinstance(at[-1], int)
    accepts = key.accepts if is_item else key.accepts_in_all
    return f"{dotted(at) or 'the file'} must be {accepts}, not {_type(value)} ({origin})"


def unknown(at: At, section: Key, meant: list[Key], origin: str) -> str:
    """Return the sentence for an unknown key, with the one that was probably meant."""
    if meant:
        hint = f"did you mean {' or '.join(key.name for key in meant)}?"
    else:
        hint = f"known keys here: {', '.join(section.children)}"
    return f"{dotted(at)} is not a known key ({origin}); {hint}"


def environment_only(at: At, origin: str) -> str:
    """Return the sentence for a JWT secret in a file."""
    return (
        f"{dotted(at)} does not belong in a file ({origin}): set the environment variable"
        f" JWT_SECRET, or {SECRET_FILE} to the name of a file with it"
    )


def dotted(at: At) -> str:
    """Return a place as ``duckdb.attached_databases[0].type``."""
    text = ""
    for step in at:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if re.fullmatch(r"[\w-]{1,80}", step) else repr(step[:_LONGEST_SHOWN])
            text += f".{name}" if text else name
    return text


def shown(key: Key, value: object) -> str:
    """Return a value as errors show it: never a secret, nor a URL where none belongs."""
    if key.secret or (isinstance(value, str) and "://" in value):
        return MASK
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "…")
    return str(value) if isinstance(value, int | float) else _type(value)


def _type(value: object) -> str:
    if value is None:
        return "nothing"
    return _TYPES.get(type(value), "a number" if isinstance(value, int | float) else "a date")
