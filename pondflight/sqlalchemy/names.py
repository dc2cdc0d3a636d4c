"""Names of schemas: ``main`` in the current catalog, ``sales.public`` in another one."""

from __future__ import annotations

import re

_PARTS = re.compile(r'"(?:[^"]|"")*"|[^".]+')
_PLAIN = re.compile(r'[^".]+')


def join(catalog: str, schema: str) -> str:
    """One name for both, for ``split``; a part with a dot or a quote in it is quoted."""
    return f"{_part(catalog)}.{_part(schema)}"


def split(name: str) -> tuple[str | None, str]:
    """The catalog (``None``: the current one) and the schema of a name.

    A name that ``join`` or ``alone`` cannot have made is the schema as it stands.
    """
    parts = _PARTS.findall(name)
    if ".".join(parts) != name or len(parts) not in (1, 2):
        return None, name
    *catalog, schema = (
        part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts
    )
    return (catalog[0] if catalog else None), schema


def alone(schema: str) -> str:
    """The name of a schema in the current catalog."""
    return _part(schema)


def quote(name: str) -> str:
    """An identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def _part(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else quote(name)
