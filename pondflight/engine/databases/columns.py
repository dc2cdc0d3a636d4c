"""Columns of a server's tables, and which of their values could be misread."""

from __future__ import annotations

from dataclasses import dataclass

from pondflight.engine.databases.conditions import Literal


@dataclass(frozen=True, slots=True)
class Doubt:
    """A kind of value that DuckDB's extension would change while reading.

    ``sql`` is a condition in the server's SQL that is true for such a value; ``reason`` follows
    "and has ". ``text_helps``: the extension reads it correctly if the server sends text.
    """

    sql: str
    reason: str
    text_helps: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a server's table.

    ``source`` is the table in the server's SQL, ``type`` the server's name of the type.
    ``written_as_double``: whatever is written there has become a DOUBLE before. ``plain``: its
    values are read correctly if the server sends text. ``literal`` writes a constant that the
    server compares with its values as DuckDB does; ``None``: impossible. ``state`` changes whenever
    the table may have other rows; ``None``: not known.
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
