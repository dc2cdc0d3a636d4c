"""What a SQL string is before it runs: its statements, and what each will do.

DuckDB's own tokenizer and parser decide; nothing here guesses at the grammar.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import duckdb

from pondflight.engine.duck import sql_errors
from pondflight.engine.execution.timeouts import Assignment, assignment
from pondflight.engine.sql.clauses import returning_clause
from pondflight.engine.sql.lexer import tokenize
from pondflight.errors import InvalidArgument

_OPERATOR = duckdb.token_type.operator
_Type = duckdb.StatementType

_LAZY = {_Type.SELECT}
_RETURNING = {_Type.INSERT, _Type.UPDATE, _Type.DELETE, _Type.MERGE_INTO}
_COUNTED = _RETURNING | {_Type.COPY, _Type.CREATE}
_ROWS = {_Type.SELECT, _Type.EXPLAIN, _Type.CALL, _Type.EXECUTE, _Type.RELATION, _Type.PRAGMA}
_WRAPPERS = {"EXPLAIN", "PREPARE"}
_EXPLAIN_WORDS = {"analyze", "analyse", "verbose"}
_SESSION_STATE = {_Type.SET, _Type.VARIABLE_SET, _Type.TRANSACTION, _Type.PREPARE, _Type.EXECUTE}
_SETTING = {_Type.SET, _Type.VARIABLE_SET}
_ADDING = {"INSERT", "CREATE", "UPDATE", "COPY", "COPY_DATABASE", "MERGE_INTO", "EXECUTE"} | {
    "EXPORT"
}
_MAKING = {"CREATE", "COPY_DATABASE"}
_GROWING = {"add", "type"}  # in ALTER
TransactionVerb = Literal["begin", "commit", "rollback"]
_VERBS: dict[str, TransactionVerb] = {
    "begin": "begin",
    "start": "begin",
    "commit": "commit",
    "end": "commit",
    "rollback": "rollback",
    "abort": "rollback",
}
_BEFORE_TEMPORARY = {"create", "or", "replace", "local", "global"}
_TEMPORARY = {"temp", "temporary"}


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a SQL string.

    ``text``         the statement, to be run as it is; blank lines in front keep DuckDB's
                     line numbers those of the whole string
    ``describable``  the text to put into ``DESCRIBE (…)`` for its result schema
    ``parameters``   names of its parameters: ``"1", "2", …`` for positional ones
    ``lazy``         reads only, so it can be run when its rows are fetched, and again
    ``returns_rows`` its result is rows, not a count
    ``counted``      its result is the number of rows affected
    ``session_state`` it changes, or needs, the state of the session's own connection
    ``kind``         DuckDB's name for it: ``SELECT``, ``INSERT`` …
    ``effect``       the kind of what it explains or prepares; else its own
    ``planned``      the text of that, to be put behind EXPLAIN
    ``adds``         it may make the database that it writes to larger
    ``transaction``  what it does to the session's transaction
    ``timeout``      what it sets the session's statement timeout to, if that is what it does
    """

    text: str
    describable: str
    parameters: tuple[str, ...]
    lazy: bool
    returns_rows: bool
    counted: bool
    session_state: bool
    kind: str
    effect: str
    planned: str
    adds: bool
    transaction: TransactionVerb | None
    timeout: Assignment | None

    @property
    def makes_tables(self) -> bool:
        """Return whether it creates something that other sessions may use, and would miss."""
        temporary = self.kind == _Type.CREATE.name and self.session_state
        return self.effect in _MAKING and not temporary

    @property
    def is_update(self) -> bool:
        """Return whether clients should treat it as an update."""
        return not self.returns_rows


def parse(parser: duckdb.DuckDBPyConnection, text: str) -> list[Statement]:
    """Return the statements of ``text``, in order.

    Raises ``SqlError`` for what DuckDB cannot parse, and ``InvalidArgument`` if there is no
    statement at all. ``parser`` is a connection that is not in use; ``text`` is ``lexer.plain``.
    """
    with sql_errors():
        whole = parser.extract_statements(text)
    if not whole:
        raise InvalidArgument("the SQL text has no statement")
    pieces = split(text)
    if pieces == [text]:
        return [_statement(parser, text, whole)]
    return [_statement(parser, piece, _parts(parser, piece)) for piece in pieces]


def split(text: str) -> list[str]:
    """Return the statements of ``text``, unparsed. Leading blank lines keep line numbers right."""
    data = text.encode()
    ends = [
        position
        for position, kind in duckdb.tokenize(text)
        if kind == _OPERATOR and data[position : position + 1] == b";"
    ]
    pieces: list[str] = []
    start = 0
    for end in [*ends, len(data)]:
        piece = data[start:end].decode()
        if duckdb.tokenize(piece):
            lines_before = data[:start].count(b"\n")
            pieces.append("\n" * lines_before + piece)
        start = end + 1
    return pieces


def _parts(parser: duckdb.DuckDBPyConnection, text: str) -> list[duckdb.Statement]:
    with sql_errors():
        return parser.extract_statements(text)


def _statement(
    parser: duckdb.DuckDBPyConnection, text: str, parts: list[duckdb.Statement]
) -> Statement:
    # PIVOT becomes two statements, the last of which returns the rows; COPY FROM DATABASE becomes a
    # transaction of several.
    inner = [part for part in parts if part.type != _Type.TRANSACTION]
    last = inner[-1] if inner else parts[-1]
    kind = last.type
    names = sorted(last.named_parameters, key=lambda name: (len(name), name))
    returns_rows = kind in _ROWS or (kind in _RETURNING and returning_clause(text) is not None)
    effect, planned = _effect(parser, text, kind.name)
    rewritten = len(parts) == 1 and last.query.strip() != text.strip()  # PRAGMA becomes SELECT
    return Statement(
        text=text,
        describable=last.query.rstrip("; \n") if rewritten and last.query else text,
        parameters=tuple(names),
        lazy=kind in _LAZY,
        returns_rows=returns_rows,
        counted=kind in _COUNTED and not returns_rows,
        session_state=kind in _SESSION_STATE or (kind == _Type.CREATE and _is_temporary(text)),
        kind=kind.name,
        effect=effect,
        planned=planned,
        adds=kind != _Type.PREPARE and _adds(effect, text),
        transaction=_VERBS[_first_word(text)] if kind == _Type.TRANSACTION else None,
        timeout=assignment(text) if kind in _SETTING else None,
    )


def _effect(parser: duckdb.DuckDBPyConnection, text: str, kind: str) -> tuple[str, str]:
    """Return kind and text of the statement inside EXPLAIN and PREPARE, however deep."""
    if kind not in _WRAPPERS:
        return kind, text
    tokens = list(tokenize(text))
    if kind == "PREPARE":
        first = next(i for i, token in enumerate(tokens) if token.keyword == "as") + 1
        starts = [first]
    else:
        first = 1
        while tokens[first].text in _EXPLAIN_WORDS:
            first += 1
        starts = [first]
        if tokens[first].text.startswith("("):  # options, or a query in parentheses
            end = next(i for i, token in enumerate(tokens) if i > first and not token.depth)
            starts.insert(0, end + 1)
    data = text.encode()
    for start in starts:
        inner = data[tokens[start].start :].decode() if start < len(tokens) else ""
        with suppress(duckdb.Error):
            parts = parser.extract_statements(inner)
            if parts:
                return _effect(parser, inner, parts[-1].type.name)
    return kind, text


def _is_temporary(text: str) -> bool:
    """Return whether a CREATE makes something temporary: the word comes before its kind."""
    words = (token.text for token in tokenize(text))
    return next((word for word in words if word not in _BEFORE_TEMPORARY), "") in _TEMPORARY


def _adds(effect: str, text: str) -> bool:
    if effect != "ALTER":
        return effect in _ADDING
    return not _GROWING.isdisjoint(token.text for token in tokenize(text))


def _first_word(text: str) -> str:
    tokens = duckdb.tokenize(text)
    data = text.encode()[tokens[0][0] :]
    return re.split(rb"\W", data, maxsplit=1)[0].decode().lower()
