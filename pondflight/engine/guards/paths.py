"""Hides from users where the administrator keeps files.

DuckDB shows paths in columns of some functions, and in settings. A call of such a function is
rewritten without them. A statement that still reads them, under whatever name, shows that in its
plan, and is refused. ``current_setting()`` leaves no trace in a plan, so it must have a plain
string here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import duckdb

from pondflight.engine.duck import literal
from pondflight.engine.guards.functions import is_call
from pondflight.engine.sql.lexer import Token, name_of, tokenize
from pondflight.errors import PermissionDenied

SHOWN = (
    *("TimeZone", "Calendar", "schema", "search_path", "access_mode", "custom_user_agent"),
    *("default_collation", "default_null_order", "null_order", "default_order", "duckdb_api"),
    *("memory_limit", "max_memory", "max_temp_directory_size", "streaming_buffer_size"),
    *("explain_output", "enable_profiling", "lambda_syntax", "arrow_output_version"),
    *("disabled_optimizers", "storage_compatibility_version", "checkpoint_threshold"),
    *("wal_autocheckpoint", "user", "username"),
)
"""Text settings that users may see. They may also see all settings that are not text."""

_MAY_BE_SEEN = f"input_type NOT LIKE 'VARCHAR%' OR name IN ({', '.join(map(literal, SHOWN))})"
_SETTINGS = "duckdb_settings"
_COLUMNS = {
    "duckdb_databases": "path",
    "duckdb_extensions": "install_path",
    "duckdb_temporary_files": "path",
    _SETTINGS: "value",
}
"""The columns that may not be read, by the DuckDB function that has them."""

_INSTEAD = {
    "database_list": "duckdb_databases",
    "pragma_database_list": "duckdb_databases",
    "pg_settings": _SETTINGS,
}
"""What to use in place of the pragmas and views that call these functions."""

SHOWING = frozenset({*_COLUMNS, *_INSTEAD})
_CURRENT = "current_setting"
_PLAIN_STRING = re.compile(r"'(\w+)'")
_PLACES: tuple[list[str], ...] = (["system", ".", "main", "."], ["main", "."], [])
_SERIALIZE = "SELECT system.main.json_serialize_plan(?, optimize := false)"
_OF_ONE_TEXT = frozenset({"query_location", "table_index"})


class Paths:
    """What the users of one worker see in place of paths.

    ``sqlite``: names of attached SQLite databases, whose catalogs of views are DuckDB's to DuckDB.
    """

    def __init__(self, database: duckdb.DuckDBPyConnection, sqlite: Iterable[str]) -> None:
        made = {
            name: f"(SELECT * REPLACE (NULL::VARCHAR AS {column}) FROM system.main.{name}())"
            for name, column in _COLUMNS.items()
        }
        made[_SETTINGS] = f"(SELECT * FROM system.main.{_SETTINGS}() WHERE {_MAY_BE_SEEN})"
        if names := ", ".join(map(literal, sqlite)):
            kind = f"CASE WHEN database_name IN ({names}) THEN 'sqlite' ELSE type END AS type"
            made["duckdb_databases"] = made["duckdb_databases"].replace(
                " AS path", f" AS path, {kind}"
            )
        self._made = made
        query = f"SELECT name FROM system.main.{_SETTINGS}() WHERE {_MAY_BE_SEEN}"
        self._settings = {name.lower() for (name,) in database.execute(query).fetchall()}
        self._filter = _bare(next(_filters(_plan(database, f"FROM {made[_SETTINGS]}"))))

    def without(self, text: str) -> str:
        """Return the SQL ``text`` with every call of such a function rewritten.

        Raises ``PermissionDenied`` if it passes ``current_setting()`` a name that is hidden from
        users, or one that cannot be seen in the text.
        """
        lowered = text.lower()
        if not any(name in lowered for name in (*_COLUMNS, _CURRENT)):
            return text
        data = text.encode()
        tokens = list(tokenize(text))
        pieces: list[bytes] = []
        done = 0
        for index, token in enumerate(tokens):
            name = name_of(token)
            if name == _CURRENT and is_call(tokens, index):
                self._check_setting(tokens[index + 1 : index + 4])
            if name not in _COLUMNS or not _is_empty_call(tokens[index + 1 :]):
                continue
            before = [name_of(one) for one in tokens[max(index - 4, 0) : index]]
            place = next(words for words in _PLACES if not words or before[-len(words) :] == words)
            start = tokens[index - len(place)].start
            pieces += [data[done:start], self._made[name].encode()]
            done = next(one.end for one in tokens[index:] if ")" in one.text)
        return b"".join([*pieces, data[done:]]).decode()

    def check(self, connection: duckdb.DuckDBPyConnection, text: str) -> None:
        """Raise ``PermissionDenied`` if a query reads a path, or if that cannot be known."""
        plan = _plan(connection, text)
        if plan["error"]:
            self.check_text(text)
            return
        pending: list[object] = [plan]
        while pending:
            item = pending.pop()
            if isinstance(item, list):
                pending.extend(item)
            elif isinstance(item, dict):
                name = item.get("name")
                if name in _COLUMNS and "column_indexes" in item:
                    read = {item["names"][column["index"]] for column in item["column_indexes"]}
                    if _COLUMNS[name] in read:
                        raise _refusal(name)
                if not _is_filter(item) or _bare(item) != self._filter:
                    pending.extend(item.values())

    def check_text(self, text: str) -> None:
        """Raise ``PermissionDenied`` if ``text`` names anything that shows a path.

        ``text`` is a result of ``without``.
        """
        for made in self._made.values():
            text = text.replace(made, " ")
        tokens = list(tokenize(text))
        for index, token in enumerate(tokens):
            name = name_of(token)
            if name in SHOWING and not _is_elsewhere(tokens, index):
                raise _refusal(name)

    def _check_setting(self, tokens: list[Token]) -> None:
        opening, argument, closing = [*(token.text for token in tokens), "", ""][:3]
        found = _PLAIN_STRING.fullmatch(argument)
        if opening != "(" or found is None or not closing.startswith(")"):
            raise PermissionDenied(
                f"Permission Error: {_CURRENT}() takes the name of a setting as a plain string here"
            )
        if found[1] not in self._settings:
            raise PermissionDenied(
                f"Permission Error: the setting {found[1]} is not shown here: "
                f"see FROM {_SETTINGS}()"
            )


def _plan(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, object]:
    row = connection.execute(_SERIALIZE, [text]).fetchone()
    return json.loads(row[0]) if row else {"error": True}


def _is_filter(item: dict[str, object]) -> bool:
    return item.get("type") == "LOGICAL_FILTER"


def _filters(item: Any) -> Iterator[dict[str, object]]:
    """Yield the filters in a plan."""
    if isinstance(item, dict):
        if _is_filter(item):
            yield item
        item = list(item.values())
    if isinstance(item, list):
        for one in item:
            yield from _filters(one)


def _bare(item: Any) -> Any:
    """Return a part of a plan without its positions in the text."""
    if isinstance(item, dict):
        return {key: _bare(value) for key, value in item.items() if key not in _OF_ONE_TEXT}
    return [_bare(one) for one in item] if isinstance(item, list) else item


def _is_elsewhere(tokens: list[Token], index: int) -> bool:
    """Return whether a name is qualified by a catalog other than DuckDB's own."""
    words = [name_of(token) for token in tokens[max(index - 4, 0) : index]]
    return words[1::2] == [".", "."] and words[0] != "system"


def _is_empty_call(tokens: list[Token]) -> bool:
    words = "".join(token.text for token in tokens[:2])
    return words.startswith("()")


def _refusal(name: str) -> PermissionDenied:
    return PermissionDenied(
        f"Permission Error: {name} would show where files are, which is not available here: "
        f"select FROM {_INSTEAD.get(name, name)}(), by that name"
    )
