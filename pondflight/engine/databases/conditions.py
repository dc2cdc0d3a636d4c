"""DuckDB's conditions, translated for a server as far as it gives them the same meaning.

DuckDB's plan tells which rows of a table it needs. Comparisons of a number or a date with a
constant are written again for the server, from the constant's digits; everything else is left out.
So a condition may let through more rows than DuckDB's own, which is still applied, but never fewer;
and no text of a user gets into it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

Literal = Callable[[str], str | None]
"""Writes a constant, as DuckDB prints it, for a server; ``None``: it cannot be compared there."""

_TOKEN = re.compile(
    r"""
    \s*(?:
      (?P<constant>'(?:[^']|'')*'(?:::[A-Z]+)?(?:\([\d,]*\))?|-?\d[\d.]*(?:e[+-]?\d+)?(?![\w.]))
    | (?P<name>[A-Za-z_]\w*)
    | "(?P<quoted>(?:[^"]|"")*)"
    | (?P<mark>[<>=!]+|\S)
    )""",
    re.VERBOSE,
)
_PLAIN = re.compile(r"[A-Za-z_]\w*")
_OPERATORS = frozenset({"=", "!=", "<", "<=", ">", ">="})
_LOWER = frozenset({">", ">="})
_DATE = re.compile(r"'(\d{4}-\d\d-\d\d)'::DATE")
_TIMESTAMP = re.compile(r"'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?)'::TIMESTAMP")
_LONGEST_LIST = 1000


def _integer(text: str) -> str | None:
    return text if re.fullmatch(r"-?\d{1,20}", text) else None


def _decimal(text: str) -> str | None:
    return text if re.fullmatch(r"-?\d{1,38}(\.\d{1,38})?", text) else None


def _double(text: str) -> str | None:
    """Return the constant with an exponent, since MySQL reads it as a decimal without one."""
    if not re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", text):
        return None
    return text if "e" in text else f"{text}e0"


def _quoted(pattern: re.Pattern[str]) -> Literal:
    def write(text: str) -> str | None:
        found = pattern.fullmatch(text)
        return f"'{found[1]}'" if found else None

    return write


_LITERALS: Mapping[tuple[str, str], Literal] = {
    **{
        (system, kind): _integer
        for kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
        for system in ("tinyint", "smallint", "mediumint", "int", "bigint")
    },
    **{
        (system, f"U{kind}"): _integer
        for kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
        for system in ("tinyint", "smallint", "mediumint", "int", "bigint")
    },
    ("decimal", "DECIMAL"): _decimal,
    ("double", "DOUBLE"): _double,
    ("date", "DATE"): _quoted(_DATE),
    ("datetime", "TIMESTAMP"): _quoted(_TIMESTAMP),
}
"""How to write a literal, by MySQL's type and DuckDB's.

Left out are FLOAT, which MySQL compares as a double; YEAR, where 99 means 1999; tinyint(1), which
has other numbers than 0 and 1; and TIMESTAMP, in whose time zone an hour may occur twice.
"""


_UUID = re.compile(r"'([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})'(?:::UUID)?")

_POSTGRES_LITERALS: Mapping[str, Literal] = {
    **dict.fromkeys(("int2", "int4", "int8"), _integer),
    "date": _quoted(_DATE),
    "uuid": _quoted(_UUID),
}
"""How to write a literal, by PostgreSQL's type."""


def literal_for(system: str, kind: str) -> Literal | None:
    """Return how to write constants for a column of these types; ``None``: impossible."""
    return _LITERALS.get((system.lower(), kind.partition("(")[0]))


def is_number(write: Literal | None) -> bool:
    """Return whether ``write`` writes numbers."""
    return write in (_integer, _decimal, _double)


def literal_for_postgres(type_: str) -> Literal | None:
    """Return how to write constants for a column of this PostgreSQL type; None: impossible."""
    return _POSTGRES_LITERALS.get(type_)


def backticks(name: str) -> str:
    """Return a plain name, quoted for MySQL."""
    return f"`{name}`"


def double_quotes(name: str) -> str:
    """Return a plain name, quoted for PostgreSQL."""
    return f'"{name}"'


@dataclass(frozen=True, slots=True)
class Condition:
    """``sql`` for MySQL; ``exact``: it has a column that equals a constant, or one of several."""

    sql: str
    exact: bool

    def __and__(self, other: Condition) -> Condition:
        return Condition(f"{self.sql} AND {other.sql}", self.exact or other.exact)

    def __or__(self, other: Condition) -> Condition:
        return Condition(f"({self.sql} OR {other.sql})", self.exact and other.exact)


def condition(
    expression: str,
    columns: Mapping[str, Literal],
    *,
    lower_only: bool = False,
    quoted: Callable[[str], str] = backticks,
) -> Condition | None:
    """Return what to ask a server for, given an ``expression`` of a plan; ``None``: all rows.

    ``columns``: how constants are written for those that may be compared; the table has columns of
    plain names only (``plain``), and ``quoted`` writes them. ``lower_only``: take only what says
    that a column is larger.
    """
    return _Parser(expression, columns, quoted, lower_only=lower_only).parse()


def pushed_condition(
    filters: str, columns: Mapping[str, Literal], *, quoted: Callable[[str], str]
) -> Condition | None:
    """Return the condition for the consecutive ``filters`` of a scan; ``None``: all rows."""
    parser = _Parser(filters, columns, quoted, lower_only=False)
    return parser.parse_pushed()


def both(one: Condition | None, other: Condition | None) -> Condition | None:
    """Return the condition for rows that satisfy both; ``None``: all rows."""
    return _all([one, other])


def plain(name: str) -> bool:
    """Return whether a plan prints this name unchanged."""
    return _PLAIN.fullmatch(name) is not None


class _Parser:
    """Parses the text of a bound expression, in which everything is parenthesised."""

    def __init__(
        self,
        text: str,
        columns: Mapping[str, Literal],
        quoted: Callable[[str], str],
        *,
        lower_only: bool,
    ) -> None:
        self._tokens = list(_tokens(text))
        self._columns = columns
        self._quoted = quoted
        self._lower_only = lower_only

    def parse(self) -> Condition | None:
        return self._condition(0, len(self._tokens))

    def parse_pushed(self) -> Condition | None:
        """Return the condition of filters without parentheses; ``None`` if one is unclear."""
        found: list[Condition | None] = []
        start = 0
        for end in [*self._ends_of_filters(), len(self._tokens)]:
            is_optional = self._tokens[start:end][:2] == [("name", "optional"), ("mark", ":")]
            parts = list(self._split(start + 2 * is_optional, end))
            if not all(self._is_simple(*part) for part in parts):
                return None
            words = {self._word(last) for _, last in parts[:-1]}
            if words <= {"AND"} and not is_optional:
                found += [self._comparison(*part) for part in parts]
            start = end
        return _all(found)

    def _ends_of_filters(self) -> Iterator[int]:
        """Yield where a filter begins: at a name after a token that can only end a filter."""
        for position in range(1, len(self._tokens)):
            before, here = self._tokens[position - 1], self._tokens[position]
            is_end = before[0] == "constant" or before[1] in (")", "NULL")
            is_name = here[0] in ("name", "quoted") and here[1] not in ("AND", "OR")
            if is_end and is_name:
                yield position

    def _is_simple(self, start: int, end: int) -> bool:
        """Return whether the tokens compare a column with constants or NULL."""
        if start >= end or self._name(start) is None:
            return False
        match self._tokens[start + 1 : end]:
            case [("mark", operator), ("constant", _)]:
                return operator in _OPERATORS
            case [("name", "IS"), ("name", "NULL")]:
                return True
            case [("name", "IS"), ("name", "NOT"), ("name", "NULL")]:
                return True
        return False

    def _condition(self, start: int, end: int) -> Condition | None:
        """Return the condition for ``tokens[start:end]``; ``None``: all rows."""
        if start >= end or self._mark(start) != "(" or self._close(start) != end - 1:
            return None
        start, end = start + 1, end - 1
        parts = list(self._split(start, end))
        words = {self._word(last) for _, last in parts[:-1]}
        if not words:
            return self._comparison(start, end)
        found = [self._condition(first, last) for first, last in parts]
        return {"AND": _all, "OR": _any}[words.pop()](found) if len(words) == 1 else None

    def _comparison(self, start: int, end: int) -> Condition | None:
        name = self._name(start) if start < end else None
        write = self._columns.get(name) if name is not None else None
        if name is None or write is None:
            return None
        column = self._quoted(name)
        match self._tokens[start + 1 : end]:
            case [("mark", operator), ("constant", value)] if operator in _OPERATORS:
                return self._compared(column, operator, write(value))
            case [("name", "BETWEEN"), ("constant", low), ("name", "AND"), ("constant", high)]:
                # It cannot be seen whether the bounds are included.
                least = self._compared(column, ">=", write(low))
                return _all([least, self._compared(column, "<=", write(high))])
            case [("name", "IN"), ("mark", "("), *items, ("mark", ")")]:
                return self._listed(column, [text for _, text in items], write)
        return None

    def _compared(self, column: str, operator: str, constant: str | None) -> Condition | None:
        if constant is None or (self._lower_only and operator not in _LOWER):
            return None
        return Condition(f"{column} {operator} {constant}", operator == "=")

    def _listed(self, column: str, items: list[str], write: Literal) -> Condition | None:
        written = [write(item) for item in items[::2]]
        commas = set(items[1::2]) <= {","}
        if self._lower_only or not commas or None in written or len(written) > _LONGEST_LIST:
            return None
        return Condition(f"{column} IN ({', '.join(map(str, written))})", exact=True)

    def _split(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield start and end of the parts between top-level ANDs or ORs."""
        first = start
        position = start
        between = False
        while position < end:
            word = self._word(position)
            if self._mark(position) == "(":
                position = self._close(position)
            elif word == "BETWEEN":
                between = True
            elif word == "AND" and between:
                between = False
            elif word in ("AND", "OR"):
                yield first, position
                first = position + 1
            position += 1
        yield first, end

    def _close(self, start: int) -> int:
        """Return the index of the matching closing parenthesis; past the end if there is none."""
        depth = 0
        for position in range(start, len(self._tokens)):
            depth += {"(": 1, ")": -1}.get(self._mark(position), 0)
            if not depth:
                return position
        return len(self._tokens)

    def _mark(self, position: int) -> str:
        kind, text = self._tokens[position]
        return text if kind == "mark" else ""

    def _word(self, position: int) -> str:
        kind, text = self._tokens[position]
        return text if kind == "name" else ""

    def _name(self, position: int) -> str | None:
        kind, text = self._tokens[position]
        return text if kind in ("name", "quoted") else None


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup
        assert kind is not None
        yield kind, found[kind]


def _all(found: list[Condition | None]) -> Condition | None:
    whole: Condition | None = None
    for one in found:
        if one is not None:
            whole = one if whole is None else whole & one
    return whole


def _any(found: list[Condition | None]) -> Condition | None:
    whole: Condition | None = None
    for one in found:
        if one is None:
            return None
        whole = one if whole is None else whole | one
    return whole


def any_of(found: list[Condition | None]) -> Condition | None:
    """Return the condition for rows that satisfy any of them; ``None``: all rows."""
    return _any(found)
