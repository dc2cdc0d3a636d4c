"""Turns statements into a SELECT that has the same parameters in the same places.

DuckDB's binder gives the types of parameters only for SELECT. What is made here is only shown to
the binder, and never run.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from pondflight.engine.sql.clauses import target
from pondflight.engine.sql.lexer import Token, tokenize
from pondflight.engine.sql.statement import Statement


def as_select(cursor: duckdb.DuckDBPyConnection, statement: Statement) -> str | None:
    """Return a SELECT with the parameters of ``statement``; ``None`` if none can be made."""
    text = statement.text
    match statement.kind:
        case "SELECT":
            return statement.describable
        case "INSERT":
            return _of_insert(cursor, text)
        case "UPDATE":
            return _of_update(text)
        case "DELETE":
            return _of_delete(text)
    return None


def _of_update(text: str) -> str | None:
    """Rewrite an UPDATE: ``UPDATE t SET a = ? WHERE b = ?`` compares where it assigns."""
    parts = _Parts(text)
    assignments = parts.between("set", "from", "where", "returning")
    table = target(text)
    if assignments is None or table is None:
        return None
    sources = [table, *filter(None, [parts.between("from", "where", "returning")])]
    return _select(assignments, sources, parts.between("where", "returning"))


def _of_delete(text: str) -> str | None:
    parts = _Parts(text)
    table = target(text)
    if table is None:
        return None
    sources = [table, *filter(None, [parts.between("using", "where", "returning")])]
    return _select("1", sources, parts.between("where", "returning"))


def _of_insert(cursor: duckdb.DuckDBPyConnection, text: str) -> str | None:
    """Rewrite an INSERT: values that go straight into a column are cast to its type.

    For example ``INSERT INTO t (a, b) VALUES (?, upper(?))``.
    """
    parts = _Parts(text)
    table = target(text)
    start = parts.find("values", "select", "with", "from", "by")
    if table is None or start is None or parts.tokens[start].keyword == "by":  # INSERT … BY NAME
        return None
    first = start if parts.tokens[start].keyword != "with" else parts.find("select", after=start)
    if first is None:
        return None
    types = _column_types(cursor, table, parts.columns(start))
    source = parts.tokens[first : parts.tail_of_insert(first)]
    pieces: list[tuple[int, int, str]] = []
    for position, item in _items(source):
        begin, end = item[0].start, item[-1].end
        if item[0].text == "default":
            pieces.append((begin, end, "NULL"))
        elif position < len(types) and _is_parameter(item):
            pieces.append((begin, end, f"CAST({parts.text(begin, end)} AS {types[position]})"))
    return parts.replaced(parts.tokens[start].start, source[-1].end, pieces)


def _column_types(cursor: duckdb.DuckDBPyConnection, table: str, columns: str | None) -> list[str]:
    relation = cursor.sql(f"SELECT {columns or '*'} FROM {table}")
    return [str(kind) for kind in relation.types]


def _select(items: str, sources: list[str], where: str | None) -> str:
    condition = f" WHERE {where}" if where else ""
    return f"SELECT {items} FROM {', '.join(sources)}{condition}"


def _is_parameter(item: list[Token]) -> bool:
    """Return whether the item is ``?``, ``$1``, or ``$`` and a name."""
    first, *rest = item
    return (first.text == "$" and len(rest) == 1) or (first.text[0] in "?$" and not rest)


def _items(source: list[Token]) -> Iterator[tuple[int, list[Token]]]:
    """Yield the items of each row of VALUES, or those of a SELECT list, with their positions."""
    in_rows = source[0].keyword == "values"
    depth = int(in_rows)
    position = 0
    item: list[Token] = []
    for token in source[1:]:
        if not in_rows and token.keyword == "from" and token.depth == 0:
            break
        ends_row = in_rows and token.text == ")" and token.depth == 0
        if ends_row or (token.text == "," and token.depth == depth):
            if item:
                yield position, item
            position, item = (0 if ends_row else position + 1), []
        elif token.depth > depth or (token.depth == depth and token.text != "("):
            item.append(token)
    if item:
        yield position, item


class _Parts:
    """A statement's text, cut at keywords outside of parentheses."""

    def __init__(self, text: str) -> None:
        self.tokens = list(tokenize(text))
        self._data = text.encode()

    def text(self, start: int, end: int) -> str:
        """Return the text from byte ``start`` to ``end``."""
        return self._data[start:end].decode()

    def find(self, *keywords: str, after: int = -1) -> int | None:
        """Return the index of the first of the keywords after the token at ``after``."""
        for i, token in enumerate(self.tokens):
            if i > after and token.depth == 0 and token.keyword in keywords:
                return i
        return None

    def tail_of_insert(self, after: int) -> int | None:
        """Return the index of ON CONFLICT or RETURNING, whichever comes first."""
        following = [*self.tokens[1:], None]
        for i, (token, after_it) in enumerate(zip(self.tokens, following, strict=True)):
            conflict = token.keyword == "on" and after_it and after_it.keyword == "conflict"
            if i > after and token.depth == 0 and (conflict or token.keyword == "returning"):
                return i
        return None

    def between(self, start: str, *ends: str) -> str | None:
        """Return the text after the keyword ``start``, up to the first of ``ends``."""
        first = self.find(start)
        if first is None:
            return None
        last = self.find(*ends, after=first)
        end = len(self._data) if last is None else self.tokens[last].start
        return self.text(self.tokens[first].end, end).strip()

    def columns(self, before: int) -> str | None:
        """Return the column list of an INSERT, which ends before the token at ``before``."""
        opened = [t for t in self.tokens[:before] if t.text == "(" and t.depth == 1]
        if not opened or self.tokens[before - 1].text != ")":
            return None
        return self.text(opened[0].end, self.tokens[before - 1].start)

    def replaced(self, start: int, end: int, pieces: list[tuple[int, int, str]]) -> str:
        """Return the text from byte ``start`` to ``end``, with pieces of it replaced."""
        out, at = [], start
        for begin, stop, new in pieces:
            out += [self.text(at, begin), new]
            at = stop
        return "".join([*out, self.text(at, end)])
