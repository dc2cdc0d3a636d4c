"""Columns of a server's tables, and what may be wrong with the values in them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Doubt:
    """A kind of value that DuckDB's extension would read as another one.

    ``sql`` is the server's, and true for such a value; ``reason`` follows "and has ".
    ``text_helps``: the extension reads it right if the server sends text.
    """

    sql: str
    reason: str
    text_helps: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. ``source`` is the table in the server's SQL, ``type`` in its words.

    ``written_as_double``: whatever is written there has become a DOUBLE before. ``plain``: its
    values are read right where the server sends text.
    """

    schema: str
    table: str
    name: str
    type: str
    source: str
    doubts: tuple[Doubt, ...] = ()
    written_as_double: bool = False
    plain: bool = True
