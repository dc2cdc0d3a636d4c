"""Every type of PostgreSQL, MariaDB and SQLite, with ordinary, extreme and odd values.

They are in ``types/*.txt``, one per line: the declaration, the Arrow type in which it arrives, and
values as the database writes them. A value after ``!`` cannot arrive: reading it is an error, or
NULL.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).with_name("types")


@dataclass(frozen=True)
class Kind:
    """A type of a database; ``values`` are its own SQL, ``unreadable`` those of no type."""

    declared: str
    arrow: str
    values: tuple[str, ...]
    unreadable: tuple[str, ...]


def _kinds(system: str) -> tuple[Kind, ...]:
    found = []
    for line in (_FOLDER / f"{system}.txt").read_text("utf-8").splitlines():
        declared, arrow, *values = (word.strip() for word in line.removesuffix("|").split(" | "))
        unreadable = tuple(value[1:].strip() for value in values if value.startswith("!"))
        readable = tuple(value for value in values if not value.startswith("!"))
        found.append(Kind(declared, arrow, readable, unreadable))
    return tuple(found)


KINDS = {system: _kinds(system) for system in ("postgres", "mariadb", "sqlite")}

BEFORE: dict[str, tuple[str, ...]] = {
    "postgres": (
        "CREATE EXTENSION IF NOT EXISTS citext",
        "CREATE EXTENSION IF NOT EXISTS hstore",
        "CREATE TYPE mood AS ENUM ('sad', 'Ok', 'it''s')",
        "CREATE DOMAIN positive AS integer CHECK (VALUE > 0)",
        "CREATE DOMAIN price AS numeric(8,2)",
        "CREATE DOMAIN label AS text",
        "CREATE TYPE pair AS (a integer, b text)",
        "CREATE TYPE nested AS (p pair, n numeric(5,1))",
        "CREATE TYPE span AS RANGE (subtype = float8)",
    ),
    "mariadb": (),
    "sqlite": (),
}
"""What has to be there before the tables."""

POSTGRES_LEFT_OUT = {
    "pg_node_tree": "cannot be written",
    "pg_ndistinct": "cannot be written",
    "pg_dependencies": "cannot be written",
    "pg_mcv_list": "cannot be written",
    "pg_brin_bloom_summary": "cannot be written",
    "pg_brin_minmax_multi_summary": "cannot be written",
    "gtsvector": "cannot be written",
    "aclitem": "its text depends on roles of the server",
}
"""Types of PostgreSQL's catalog that no column of users has, and why."""
