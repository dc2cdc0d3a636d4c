"""The jail of user SQL: what DuckDB locks by itself, and what has to be refused before it.

DuckDB's own switches do most of it. ``enable_external_access = false`` keeps files, network and
extensions away except for the directories that are allowed, and ``lock_configuration`` fixes the
settings except for the harmless ones. What is left open, as seen with DuckDB 1.5.5, is refused
here by the parsed kind of a statement and by the functions that it calls:

- ``ATTACH`` of the SQLite type, and the scan functions of the database extensions, open any file
  or connection; ``DETACH`` and ``ATTACH OR REPLACE`` take away databases of ours.
- ``COPY`` may write over the DuckDB files that are attached. In the format ``blob`` it writes any
  bytes: a DuckDB file that was made elsewhere, say, whose views call what is refused here.
- ``CALL enable_logging`` and ``enable_profiling`` ignore the lock, and can abort the process.
- ``IMPORT DATABASE`` runs the text of files; ``query()`` and ``json_execute_serialized_sql()`` run
  text that is put together when the statement runs, which nobody has checked.
- What ``PRAGMA`` does beside settings and queries: ``enable_verification`` leaves the connection
  unusable.

A view or macro is checked when it is made, a prepared statement when it is prepared, and what
EXPLAIN runs as if it stood alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb

from pondflight.engine.databases import lossless, pushdown
from pondflight.engine.duck import literal
from pondflight.engine.sql.lexer import Token, tokenize
from pondflight.engine.sql.statement import Statement
from pondflight.errors import PermissionDenied

SETTINGS = (*pushdown.SETTINGS, *lossless.SETTINGS)
"""Settings that only we may change, for each statement."""

FREE_SETTINGS = (
    "Calendar",
    "TimeZone",
    "default_collation",
    "default_null_order",
    "default_order",
    "enable_progress_bar",
    "ieee_floating_point_ops",
    "integer_division",
    "old_implicit_casting",
    "order_by_non_integer_literal",
    "pivot_filter_threshold",
    "pivot_limit",
    "preserve_insertion_order",
    "scalar_subquery_error_on_multiple_rows",
)
"""Settings that users may change; and ``USE``, ``SET search_path`` and ``SET VARIABLE``."""

REFUSED_FUNCTIONS = frozenset(
    {
        # they open a connection or a file of the caller's choice, or send SQL as it is
        "mysql_debug_execution_plan",
        "mysql_execute",
        "mysql_explain_federated",
        "mysql_query",
        "postgres_attach",
        "postgres_configure_pool",
        "postgres_execute",
        "postgres_query",
        "postgres_scan",
        "postgres_scan_pushdown",
        "read_postgres_binary",
        "sqlite_attach",
        "sqlite_query",
        "sqlite_scan",
        # they follow addresses in this process's memory
        "arrow_scan",
        "arrow_scan_dumb",
        "pandas_scan",
        "python_map_function",
        # they run text that has not been checked
        "import_database",
        "json_execute_serialized_sql",
        "query",
        # they write where they are told, whatever is locked, and break what they meet there
        "disable_logging",
        "disable_profiling",
        "enable_logging",
        "enable_profiling",
        "truncate_duckdb_logs",
    }
)
NETWORK = ("http://", "https://", "s3://", "s3a://", "s3n://", "gcs://", "gs://", "r2://", "hf://")
"""What may be read, and on S3 written, when the network is allowed."""

_DECLARES = frozenset({"as", "exists", "into", "on", "references", "table", "view", "with"})
"""Words behind which a name and a parenthesis are a table with columns, and not a call."""

_FORMATS = frozenset({"csv", "json", "parquet"})
"""Of ``COPY`` and ``EXPORT``: none of them can be made to write a database."""

_BEFORE_PATH = frozenset({"attach", "or", "replace", "database", "if", "not", "exists"})

_PLAIN_PATH = re.compile(r"'((?!\w*:)[^'\\]+)'")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What is refused.

    ``folder``: where users have their files. ``databases``: names, in lower case, that stay
    attached. ``secrets``: names of the administrator's, which stay as well.
    """

    folder: Path
    databases: frozenset[str]
    secrets: frozenset[str]
    allow_network: bool

    def check_text(self, text: str) -> None:
        """Refuse calls of functions that lead out. Before parsing: IMPORT reads files then."""
        lowered = text.lower()
        suspects = {name for name in REFUSED_FUNCTIONS if name in lowered}
        if not suspects and "import" not in lowered:
            return
        tokens = list(tokenize(text))
        for index, token in enumerate(tokens):
            name = _name(token)
            if name in suspects and _is_call(tokens, index):
                raise _refusal(f"the function {name}() is not available here")
            if token.keyword == "import" and _is_first(tokens, index):
                raise _refusal("IMPORT DATABASE is not available here")

    def check(self, statement: Statement) -> None:
        """Refuse kinds of statements that lead out, or take from us."""
        match statement.effect:
            case "LOAD":
                raise _refusal(
                    "extensions are loaded by the server's configuration (duckdb.extensions) only"
                )
            case "PRAGMA":
                raise _refusal("this PRAGMA is not available here")
            case "ATTACH":
                self._check_attach(list(tokenize(statement.text)))
            case "DETACH":
                self._check_names(list(tokenize(statement.text)), "detached")
            case "COPY" | "EXPORT":
                self._check_copy(list(tokenize(statement.text)))
            case "CREATE" | "DROP":
                self._check_secret(list(tokenize(statement.text)))
            case "SET" | "VARIABLE_SET":
                self._check_settings(list(tokenize(statement.text)))
            case "EXPLAIN" | "PREPARE":
                raise _refusal(f"this cannot be put into {statement.effect} here")

    def _check_attach(self, tokens: list[Token]) -> None:
        words = [_name(token) for token in tokens]
        self._check_names(tokens, "attached by you")
        path = next((token.text for token in tokens if token.text not in _BEFORE_PATH), "")
        if "type" in words or not self._is_own(path):
            raise _refusal(
                "only ':memory:' and DuckDB files in the scratch directory can be attached here; "
                "other databases are attached by the server's configuration"
            )
        if "replace" in words:
            raise _refusal("ATTACH OR REPLACE is not available here: DETACH your database first")

    def _is_own(self, path: str) -> bool:
        """Whether a string literal names memory, or a file of the user's.

        DuckDB sees by itself what kind of file it is, and does not ask for SQLite's whether it
        may be opened.
        """
        if path in ("''", "':memory:'"):
            return True
        plain = _PLAIN_PATH.fullmatch(path)
        return plain is not None and (self.folder / plain[1]).resolve().is_relative_to(
            self.folder.resolve()
        )

    def _is_network(self, path: str) -> bool:
        return self.allow_network and path[1:].startswith(NETWORK)

    def _check_copy(self, tokens: list[Token]) -> None:
        """The file must be named, not computed: DuckDB would also write over attached files."""
        places = (
            place
            for place, (token, after) in enumerate(pairwise(tokens), 1)
            if token.depth == 0
            and token.keyword in ("to", "from", "database")
            and (self._is_own(after.text) or self._is_network(after.text))
        )
        place = next(places, None)
        if place is None:
            raise _refusal(
                "COPY and EXPORT read and write files in the scratch directory only, with the "
                "name as a plain string: COPY … TO 'name.csv'"
            )
        formats = _formats(tokens[place + 1 :])
        if not formats <= _FORMATS or (not formats and ".blob" in tokens[place].text):
            raise _refusal(f"COPY and EXPORT know {', '.join(sorted(_FORMATS))} here")

    def _check_names(self, tokens: list[Token], what: str) -> None:
        for token in tokens[1:]:
            if _name(token) in self.databases:
                raise _refusal(f"the database {_name(token)!r} cannot be {what}")

    def _check_settings(self, tokens: list[Token]) -> None:
        for token in tokens[1:]:
            if _name(token) in SETTINGS:
                raise _refusal(f"the setting {_name(token)} is the server's own")

    def _check_secret(self, tokens: list[Token]) -> None:
        words = [_name(token) for token in tokens[1:]]
        while words and words[0] in ("or", "replace", "temp", "temporary", "persistent"):
            words.pop(0)
        if words[:1] != ["secret"]:
            return
        if not self.allow_network:
            raise _refusal(
                "secrets have no use here: the network is not allowed (duckdb.allow_network)"
            )
        while words and words[0] in ("secret", "if", "not", "exists"):
            words.pop(0)
        name = next(iter(words), "")
        if name in self.secrets or not name.isidentifier():
            raise _refusal("the server's own secrets stay as they are: name one of yours")


def close(
    connection: duckdb.DuckDBPyConnection,
    *,
    folder: Path,
    databases: Sequence[str],
    allow_network: bool,
) -> Sandbox:
    """Close the jail around ``connection``'s database, for good; what is refused from now on.

    ``folder`` is the one directory where users read and write files. ``databases``: the attached
    ones, which stay.
    """
    allowed = [f"{folder}/", *(NETWORK if allow_network else ())]
    connection.execute(f"SET allowed_directories = [{', '.join(map(literal, allowed))}]")
    connection.execute("SET enable_external_access = false")
    open_settings = ", ".join(map(literal, (*FREE_SETTINGS, *SETTINGS)))
    connection.execute(f"SET allowed_configs = [{open_settings}]")
    connection.execute("SET lock_configuration = true")
    ((own,),) = connection.execute("SELECT system.main.current_database()").fetchall()
    secrets = connection.execute("SELECT name FROM system.main.duckdb_secrets()").fetchall()
    return Sandbox(
        folder,
        databases=frozenset(name.lower() for name in (*databases, own)),
        secrets=frozenset(name.lower() for (name,) in secrets),
        allow_network=allow_network,
    )


def _is_call(tokens: list[Token], index: int) -> bool:
    if index + 1 == len(tokens) or not tokens[index + 1].text.startswith("("):
        return False
    while index > 1 and tokens[index - 1].text == ".":  # a qualified name
        index -= 2
    return index == 0 or tokens[index - 1].keyword not in _DECLARES


def _formats(options: list[Token]) -> set[str]:
    """The formats among the options of COPY; without any, the file's name decides."""
    return {after.text.strip("'") for token, after in pairwise(options) if _name(token) == "format"}


def _is_first(tokens: list[Token], index: int) -> bool:
    return index == 0 or tokens[index - 1].text.endswith(";")


def _name(token: Token) -> str:
    text = token.text
    if text.startswith('"') and text.endswith('"'):
        return text[1:-1].replace('""', '"')
    return text


def _refusal(reason: str) -> PermissionDenied:
    return PermissionDenied(f"Permission Error: {reason}")
