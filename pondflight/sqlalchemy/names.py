"""Names of schemas: ``main`` in the current catalog, ``sales.public`` in another one."""

from __future__ import annotations

import re

_PARTS = re.compile(r'"(?:[^"]|"")*"|[^".]+')
_PLAIN = re.compile(r'[^".]+')


def join(catalog: str, schema: str) -> str:
    """Return one name for catalog and schema, for ``split``; dots and quotes are quoted."""
    return f"{_part(catalog)}.{_part(schema)}"


def split(name: str) -> tuple[str | None, str]:
    """Return the catalog (``None``: the current one) and the schema in a name.

    A name that ``join`` or ``alone`` cannot have made is a schema as it stands.
    """
    parts = _PARTS.findall(name)
    if ".".join(parts) != name or len(parts) not in (1, 2):
        return None, name
    *catalog, schema = (
        part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts
    )
    return (catalog[0] if catalog else None), schema


def alone(schema: str) -> str:
    """Return the name of a schema in the current catalog."""
    return _part(schema)


def quote(name: str) -> str:
    """Return a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def _part(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else quote(name)
