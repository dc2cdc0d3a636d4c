"""Columns of a server's tables, and what may be wrong with the values in them."""

from __future__ import annotations

from dataclasses import dataclass

from pondflight.engine.databases.conditions import Literal


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
    values are read right where the server sends text. ``literal`` writes a constant that the server
    compares with its values as DuckDB does; ``None``: there is none. ``state`` is another one as
    soon as the table may have other rows; ``None``: nobody knows.
    """

    schema: str
    table: str
    name: str
    type: str
    source: str
    doubts: tuple[Doubt, ...] = ()
    written_as_double: bool = False
    plain: bool = True
    literal: Literal | None = None
    state: str | None = None
