"""What may be written to MySQL.

DuckDB's extension turns an UPDATE or DELETE into one for MySQL by printing its expressions. MySQL
would compare text by its collations, read a backslash as an escape, and a quoted name as a string.
So only statements that cannot be misread are allowed: constants, and conditions that compare
numeric columns with numbers. The whole text is checked; it is so simple that no plan could differ
from it.

In the rows of an INSERT, the extension escapes with backslashes. A server with NO_BACKSLASH_ESCAPES
would store those, so it cannot be written to.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import duckdb

from pondflight.engine.databases.mysql_columns import MysqlColumns, Table
from pondflight.engine.duck import literal
from pondflight.engine.sql.lexer import tokenize
from pondflight.engine.sql.statement import Statement
from pondflight.engine.types.parameters import Values
from pondflight.errors import NotSupported

_CHANGES = frozenset({"UPDATE", "DELETE", "MERGE_INTO"})
_INSERTS = frozenset({"INSERT", "CREATE", "COPY", "COPY_DATABASE", "EXECUTE", "MERGE_INTO"})
_DEFINES = frozenset({"CREATE", "ALTER"})
_QUERY_WORDS = frozenset({"select", "with", "from", "values"})
_NO_ESCAPES = "NO_BACKSLASH_ESCAPES"

_REFUSAL = (
    "an UPDATE or DELETE in a MySQL database can only set columns to constants without a "
    "backslash, and only choose rows by comparing columns of numbers with numbers, as in WHERE id "
    "IN (1, 2): MySQL might take anything else for something else; find the keys with a SELECT"
)

_MISREAD_DEFINITION = (
    "a CREATE or ALTER in a MySQL database cannot have a backslash or ` in a name or a default: "
    "MySQL might take what follows for something else"
)

_TOKEN = re.compile(
    r"""
    \s+
    | (?P<string>'(?:[^'\\]|'')*')
    | (?P<number>\d+(?:\.\d+)?(?![\w.]))
    | (?P<parameter>\?|\$\w+)
    | "(?P<quoted>[A-Za-z_]\w*)"
    | (?P<word>[A-Za-z_]\w*)
    | (?P<mark><>|!=|<=|>=|[=<>(),.;-])
    """,
    re.VERBOSE,
)
_COMPARISONS = frozenset({"=", "<>", "!=", "<", "<=", ">", ">="})


class Changes:
    """Refuses changes that MySQL would read differently."""

    def __init__(self, columns: MysqlColumns) -> None:
        self._columns = columns

    def check(
        self, cursor: duckdb.DuckDBPyConnection, statement: Statement, values: Values
    ) -> None:
        """Raise ``NotSupported`` if the statement must not be written."""
        effect = statement.effect
        if effect not in _CHANGES | _INSERTS | _DEFINES:
            return
        databases = _writable(cursor)
        if not databases:
            return
        text = statement.planned
        path = _path(cursor)
        words = {_bare(token.text) for token in tokenize(text)}
        meant = [name for name in databases if name in words or name in path]
        if effect == "EXECUTE":
            meant = list(databases)
        if effect in _CHANGES and meant:
            self._check_change(cursor, statement, values, meant, path)
        if effect in _DEFINES and meant:
            _check_definition(text)
            _check_names(name for name, _ in made_of(cursor, text, values))
        if effect in _INSERTS:
            for name in meant:
                _check_escapes(cursor, databases[name])

    def check_insert(
        self, cursor: duckdb.DuckDBPyConnection, catalog: str | None, columns: Sequence[str]
    ) -> None:
        """Raise ``NotSupported`` if rows cannot be written to ``catalog``, or to the current one.

        ``columns`` are the rows' column names; a table may have to be created for them.
        """
        among = _path(cursor) if catalog is None else [catalog.lower()]
        for name, alias in _writable(cursor).items():
            if name in among:
                _check_names(columns)
                _check_escapes(cursor, alias)

    def _check_change(
        self,
        cursor: duckdb.DuckDBPyConnection,
        statement: Statement,
        values: Values,
        databases: Sequence[str],
        path: Sequence[str],
    ) -> None:
        target = _target(statement.planned)
        if target[:1] and target[0].lower() not in databases:
            known = cursor.execute(
                "SELECT 1 FROM system.main.duckdb_databases()"
                " WHERE lower(database_name) = lower(?)",
                [target[0]],
            ).fetchone()
            of_path = [name for name in path if name in databases]
            if not of_path or (len(target) > 1 and known):
                return  # not a table of MySQL's
            target = [of_path[0], *target]
        # The values of a prepared statement are not known yet.
        given = None if statement.kind == "PREPARE" else _given(values)
        try:
            compared = _Parser(statement.planned, given).parse()
        except _Misread:
            raise NotSupported(_REFUSAL) from None
        alias, *schema, name = target
        columns = self._columns.of(cursor, Table(alias, ".".join(schema), name))
        if columns is None or not columns.literals.keys() >= compared:
            raise NotSupported(_REFUSAL)


def _writable(cursor: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return the MySQL databases that may be written to, by their names in lower case."""
    found = cursor.execute(
        "SELECT database_name FROM system.main.duckdb_databases()"
        " WHERE type = 'mysql' AND NOT readonly"
    ).fetchall()
    return {alias.lower(): alias for (alias,) in found}


def _path(cursor: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the databases in which an unqualified name is looked up, in lower case."""
    row = cursor.execute(
        "SELECT system.main.current_database(), system.main.current_setting('search_path')"
    ).fetchone()
    assert row is not None
    current, path = row
    return [current.lower(), *re.findall(r"\w+", path.lower())]


def _bare(text: str) -> str:
    return text.strip('"').replace('""', '"')


def _target(text: str) -> list[str]:
    """Return the parts of the name of the changed table; none if that cannot be seen."""
    tokens = [token for token in tokenize(text) if not token.depth]
    words = [token.text for token in tokens]
    start = {("update",): 1, ("delete", "from"): 2, ("merge", "into"): 2}
    for head, length in start.items():
        if tuple(words[: len(head)]) == head:
            parts = [_bare(words[length])] if length < len(words) else []
            position = length + 1
            while words[position : position + 1] == ["."] and position + 1 < len(words):
                parts.append(_bare(words[position + 1]))
                position += 2
            return parts
    return []


def _check_definition(text: str) -> None:
    """Check a CREATE or ALTER, whose names and constants reach MySQL as they are."""
    has_query = False
    for token in tokenize(text):
        has_query = has_query or token.keyword in _QUERY_WORDS
        if token.text[:1] == '"':
            _check_names([token.text])
        elif "\\" in token.text and not has_query:
            raise NotSupported(_MISREAD_DEFINITION)


def _check_names(names: Iterable[str]) -> None:
    if any("`" in name or "\\" in name for name in names):
        raise NotSupported(_MISREAD_DEFINITION)


def made_of(
    cursor: duckdb.DuckDBPyConnection, text: str, values: Values
) -> list[tuple[str, object]]:
    """Return names and DuckDB types of the columns that a CREATE TABLE … AS creates."""
    tokens = [token for token in tokenize(text) if not token.depth]
    start = next((token.start for token in tokens if token.keyword in _QUERY_WORDS), None)
    if start is None:
        return []
    query = text.encode()[start:].decode()
    with suppress(duckdb.Error):  # it fails by itself when it runs
        found = cursor.execute(f"SELECT * FROM (\n{query}\n) LIMIT 0", values).description or []
        return [(column[0], column[1]) for column in found]
    return []


def _check_escapes(cursor: duckdb.DuckDBPyConnection, alias: str) -> None:
    asked = literal("SELECT @@SESSION.sql_mode")
    with cursor.cursor() as another:
        row = another.execute(f"FROM system.main.mysql_query({literal(alias)}, {asked})").fetchone()
    if row is None or _NO_ESCAPES in str(row[0]):
        raise NotSupported(
            f"nothing can be written to the database {alias!r}: its server has the SQL mode "
            f"{_NO_ESCAPES}, with which it would misread text"
        )


def _given(values: Values) -> dict[str, object]:
    """Return the parameters' values by name; the first parameter without a name is ``"1"``."""
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        values = {str(number): value for number, value in enumerate(values, 1)}
    return {
        name: value.object if isinstance(value, duckdb.Value) else value
        for name, value in values.items()
    }


class _Misread(Exception):
    """The statement contains something that MySQL might read differently."""


class _Parser:
    """Parses a change that consists of constants and comparisons with numbers.

    ``values`` are those of its parameters; ``None``: not known.
    """

    def __init__(self, text: str, values: Mapping[str, object] | None) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._compared: set[str] = set()
        self._values = values
        self._parameters = 0

    def parse(self) -> set[str]:
        """Return the columns that are compared. Raises ``_Misread`` for anything else."""
        if self._takes_word("UPDATE"):
            self._name()
            self._needs(self._takes_word("SET"))
            while True:
                self._name()
                self._needs(self._takes_mark("="))
                self._needs(self._takes_constant())
                if not self._takes_mark(","):
                    break
        else:
            self._needs(self._takes_word("DELETE") and self._takes_word("FROM"))
            self._name()
        if self._takes_word("WHERE"):
            self._condition()
        while self._takes_mark(";"):
            pass
        self._needs(self._at == len(self._tokens))
        return self._compared

    def _condition(self) -> None:
        while True:
            while self._takes_word("NOT"):
                pass
            if self._takes_mark("("):
                self._condition()
                self._needs(self._takes_mark(")"))
            else:
                self._comparison()
            if not (self._takes_word("AND") or self._takes_word("OR")):
                return

    def _comparison(self) -> None:
        self._compared.add(self._name()[-1])
        if self._takes_word("IS"):
            self._takes_word("NOT")
            self._needs(self._takes_word("NULL"))
            return
        self._takes_word("NOT")
        if self._takes_word("IN"):
            self._needs(self._takes_mark("(") and self._takes_number())
            while self._takes_mark(","):
                self._needs(self._takes_number())
            self._needs(self._takes_mark(")"))
        elif self._takes_word("BETWEEN"):
            self._needs(self._takes_number() and self._takes_word("AND") and self._takes_number())
        else:
            self._needs(any(map(self._takes_mark, _COMPARISONS)) and self._takes_number())

    def _name(self) -> list[str]:
        parts = [self._part()]
        while self._takes_mark("."):
            parts.append(self._part())
        return parts

    def _part(self) -> str:
        kind, text = self._next()
        self._needs(kind in ("word", "quoted"))
        self._at += 1
        return text

    def _takes_number(self) -> bool:
        self._takes_mark("-")
        return self._takes("number") or self._takes_parameter((int, decimal.Decimal))

    def _takes_constant(self) -> bool:
        words = ("NULL", "TRUE", "FALSE", "DEFAULT")
        return (
            self._takes("string")
            or self._takes_parameter(_CONSTANTS)
            or self._takes_number()
            or any(map(self._takes_word, words))
        )

    def _takes_parameter(self, kinds: tuple[type, ...]) -> bool:
        kind, text = self._next()
        if kind != "parameter" or self._values is None:
            return False
        self._parameters += text == "?"
        value = self._values.get(str(self._parameters) if text == "?" else text[1:])
        self._needs((value is None or isinstance(value, kinds)) and _is_plain(value))
        return self._takes("parameter")

    def _takes_word(self, word: str) -> bool:
        kind, text = self._next()
        found = kind == "word" and text.upper() == word
        self._at += found
        return found

    def _takes_mark(self, mark: str) -> bool:
        return self._takes("mark") if self._next() == ("mark", mark) else False

    def _takes(self, kind: str) -> bool:
        found = self._next()[0] == kind
        self._at += found
        return found

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "")

    @staticmethod
    def _needs(found: object) -> None:
        if not found:
            raise _Misread


_CONSTANTS = (int, float, str, decimal.Decimal, dt.date, dt.time)


def _is_plain(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, str) or not ("\\" in value or "\0" in value)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            yield "unknown", text[position]
            return
        if found.lastgroup is not None:
            yield found.lastgroup, found[found.lastgroup]
        position = found.end()
