"""Where the administrator keeps files is nothing that users may see.

DuckDB tells it in a column of ``duckdb_databases()``. A call of that function is written anew, so
that the column is NULL; and a statement that reads the column all the same, by whatever name, shows
that in its plan, and is refused.
"""

from __future__ import annotations

import json
from typing import Any

import duckdb

from pondflight.engine.sql.lexer import Token, name_of, names, tokenize
from pondflight.errors import PermissionDenied

_FUNCTION = "duckdb_databases"
_COLUMN = "path"
_MADE = f"(SELECT * REPLACE (NULL::VARCHAR AS {_COLUMN}) FROM system.main.{_FUNCTION}())"

SHOWING = frozenset({_FUNCTION, "database_list", "pragma_database_list"})
"""Names of DuckDB's own behind which the column is."""

_PLACES: tuple[list[str], ...] = (["system", ".", "main", "."], ["main", "."], [])
_SERIALIZE = "SELECT system.main.json_serialize_plan(?, optimize := false)"


def without(text: str) -> str:
    """The SQL ``text`` with NULL for the column where it calls the function by its name."""
    if _FUNCTION not in text.lower():
        return text
    data = text.encode()
    tokens = list(tokenize(text))
    pieces: list[bytes] = []
    done = 0
    for index, token in enumerate(tokens):
        if name_of(token) != _FUNCTION or not _is_empty_call(tokens[index + 1 :]):
            continue
        before = [name_of(one) for one in tokens[max(index - 4, 0) : index]]
        place = next(words for words in _PLACES if not words or before[-len(words) :] == words)
        start = tokens[index - len(place)].start
        pieces += [data[done:start], _MADE.encode()]
        done = next(one.end for one in tokens[index:] if ")" in one.text)
    return b"".join([*pieces, data[done:]]).decode()


def check(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Raise ``PermissionDenied`` if a query reads the column, or if that cannot be seen."""
    row = connection.execute(_SERIALIZE, [text]).fetchone()
    plan = json.loads(row[0]) if row else {"error": True}
    if plan["error"]:
        check_text(text)
        return
    pending: list[Any] = [plan]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            if item.get("name") == _FUNCTION and "column_indexes" in item:
                read = {item["names"][column["index"]] for column in item["column_indexes"]}
                if _COLUMN in read:
                    raise _refusal(_FUNCTION)
            pending.extend(item.values())


def check_text(text: str) -> None:
    """Raise ``PermissionDenied`` if ``text``, which is ``without``, names what shows it."""
    for name in sorted(SHOWING & names(text.replace(_MADE, " "))):
        raise _refusal(name)


def _is_empty_call(tokens: list[Token]) -> bool:
    words = "".join(token.text for token in tokens[:2])
    return words.startswith("()")


def _refusal(name: str) -> PermissionDenied:
    return PermissionDenied(
        f"Permission Error: {name} would show where files are, which is not available here: "
        f"select FROM {_FUNCTION}()"
    )
