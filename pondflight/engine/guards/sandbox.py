"""The jail of user SQL: what DuckDB locks by itself, and what has to be allowed before it.

DuckDB's own switches do much of it. ``enable_external_access = false`` keeps files, network and
extensions away except for the directories that are allowed, and ``lock_configuration`` fixes the
settings except for the harmless ones. What they leave open in DuckDB 1.5.5 is closed here, by lists
of what is allowed; what a list does not know is refused:

- kinds of statements, and kinds of things that CREATE, ALTER and DROP are about;
- built-in functions (``engine.guards.functions``), by the text, by what is stored in databases
  (``engine.guards.stored``), and by what DuckDB has bound (``engine.guards.bound``);
- ATTACH of ``:memory:`` and of database files in the scratch directory, by plain names that nothing
  but ATTACH may write to: a database that was made elsewhere has views and macros in it that nobody
  has checked;
- names of files in COPY and EXPORT, and their options.

What EXPLAIN and PREPARE have in them is checked as if it stood alone. The wall
behind all this is the operating system's (``engine.guards.confinement``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb

from pondflight.engine.databases.fixed import OWN
from pondflight.engine.duck import literal
from pondflight.engine.guards.bound import Bound
from pondflight.engine.guards.functions import calls, is_call
from pondflight.engine.guards.stored import Stored
from pondflight.engine.sql.lexer import Token, name_of, tokenize
from pondflight.engine.sql.statement import Statement
from pondflight.errors import PermissionDenied

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
"""Settings that users may change, beside ``USE``, ``SET search_path`` and ``SET VARIABLE``."""

NETWORK = ("http://", "https://", "s3://", "s3a://", "s3n://", "gcs://", "gs://", "r2://", "hf://")
"""What may be read, and on S3 written, if the network is allowed."""

_KINDS = frozenset(
    {
        "ALTER",
        "ATTACH",
        "CALL",
        "COPY",
        "COPY_DATABASE",
        "CREATE",
        "DELETE",
        "DETACH",
        "DROP",
        "EXECUTE",
        "EXPORT",
        "INSERT",
        "MERGE_INTO",
        "SELECT",
        "SET",
        "TRANSACTION",
        "UPDATE",
        "VACUUM",
        "VARIABLE_SET",
    }
)
"""Allowed kinds of statements, by the names of DuckDB's parser."""

_CREATED = frozenset({"function", "index", "macro", "schema", "sequence", "table", "type", "view"})
_OBJECTS = {
    "CREATE": _CREATED | {"secret"},
    "ALTER": _CREATED | {"column"},
    "DROP": _CREATED | {"secret"},
}
"""What may be created, altered and dropped: never a database."""

_BEFORE_OBJECT = frozenset(
    {"comment", "local", "on", "or", "persistent", "recursive", "replace", "temp", "temporary"}
    | {"unique"}
)

_FORMATS = frozenset({"csv", "json", "parquet"})
"""Allowed formats of ``COPY`` and ``EXPORT``: none of them can write a database."""

_COPY_OPTIONS = frozenset(
    """
    all_varchar allow_quoted_nulls append array auto_detect auto_type_candidates binary_as_string
    buffer_size chunk_size codec column_names column_types columns comment compression
    compression_level dateformat date_format decimal_separator delim delimiter
    dictionary_compression_ratio_threshold dictionary_size_limit dtypes encoding escape field_ids
    file_row_number file_size_bytes filename files_to_sniff force_not_null force_null force_quote
    format header hive_file_pattern hive_partitioning hive_types hive_types_autocast
    ignore_errors kv_metadata maximum_depth maximum_object_size maximum_sample_files max_line_size
    maximum_line_size names new_line normalize_names null null_padding nullstr null_str overwrite
    overwrite_or_ignore parallel parquet_version partition_by per_thread_output prefix quote
    records rejects_limit rejects_scan rejects_table return_files return_stats row_group_size
    row_group_size_bytes row_groups_per_file sample_size schema sep skip store_rejects
    strict_mode string_dictionary_page_size_limit suffix thousands timestampformat
    timestamp_format geoparquet_version types union_by_name use_tmp_file
    write_bloom_filter write_empty_file write_partition_columns
    """.split()  # noqa: SIM905 - a dozen lines, not seventy
)
"""Allowed options of ``COPY`` and ``EXPORT``.

None of them chooses the name of a file, unlike ``filename_pattern`` and ``file_extension``.
"""

_COPY_WORDS = frozenset({"as", "csv", "force", "not", "with", ",", "(", ")", "*", ";"})
"""Words of the older syntax for options, without parentheses."""

_ATTACH_OPTIONS = frozenset({"block_size", "compress", "read_only", "readonly", "read_write"}) | {
    "row_group_size",
    "storage_version",
}

_WHY = {
    "EXPLAIN": "this cannot be put into EXPLAIN here",
    "LOAD": "extensions are loaded by the server's configuration (duckdb.extensions) only",
    "PRAGMA": "this PRAGMA is not available here",
    "PREPARE": "this cannot be put into PREPARE here",
}

_DATABASE_FILE = re.compile(r"[\w-][\w.-]*\.(?:db|ddb|duckdb)", re.ASCII)
"""Names of files that ATTACH may create and open, in lower case."""

_KEPT_FOR_DATABASES = re.compile(r"\.(?:db|ddb|duckdb|wal)(?:\W|$)")
"""In names of files, in lower case, that only ATTACH may write to."""

_VALUE = re.compile(r"[ebx]?'|\$|[-.\d]")

_PLAIN_PATH = re.compile(r"'([^'\\:~\0]+)'")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What is refused.

    ``folder``: where users have their files. ``databases``: names, in lower case, that stay
    attached. ``secrets``: names of the administrator's, which stay as well. ``functions``: names,
    in lower case, of the built-in functions that may not be called. ``stored``: what was found in
    databases and calls one of them, by its name in lower case. ``bound`` looks at plans.
    """

    folder: Path
    databases: frozenset[str]
    secrets: frozenset[str]
    functions: frozenset[str]
    stored: Mapping[str, Stored]
    bound: Bound
    allow_network: bool

    def check_text(self, text: str) -> None:
        """Refuse calls of functions that reach outside.

        Before parsing, since IMPORT reads files then.
        """
        for name in sorted(calls(text, self.functions)):
            raise _refusal(f"the function {name}() is not available here")
        lowered = text.lower()
        if "import" in lowered and _imports(text):
            raise _refusal("IMPORT DATABASE is not available here")
        if "query_table" in lowered:
            self.bound.by_value = True

    def check(self, statement: Statement) -> None:
        """Refuse statements that reach outside, or that would remove what is ours."""
        effect = statement.effect
        if effect not in _KINDS:
            raise _refusal(_WHY.get(effect, f"{effect} is not available here"))
        tokens = list(tokenize(statement.text))
        if self.stored and effect != "DROP":
            self._check_stored(tokens)
        match effect:
            case "ATTACH":
                self._check_attach(tokens)
            case "DETACH":
                self._check_names(tokens, "detached")
            case "COPY" | "EXPORT":
                self._check_copy(tokens)
            case "CREATE" | "ALTER" | "DROP":
                self._check_object(effect, list(tokenize(statement.planned)))
            case "SET" | "VARIABLE_SET":
                self._check_settings(tokens)

    def _check_stored(self, tokens: list[Token]) -> None:
        """Check names of stored objects, before binding: that opens what a table function names."""
        for index, token in enumerate(tokens):
            found = self.stored.get(name_of(token))
            if found is not None and (not found.is_called or is_call(tokens, index)):
                raise _refusal(
                    f"{found.database}.{found.schema}.{found.name} calls what users may not call "
                    "here, and can only be dropped"
                )

    def _check_attach(self, tokens: list[Token]) -> None:
        """Check a whole ATTACH: ATTACH [DATABASE] [IF NOT EXISTS] 'file' [AS name] [(…)]."""
        self._check_names(tokens, "attached by you")
        words = [token.text for token in tokens if token.text != ";"]
        if "replace" in words[:3]:
            raise _refusal("ATTACH OR REPLACE is not available here: DETACH your database first")
        rest = words[1:]
        rest = rest[1:] if rest[:1] == ["database"] else rest
        rest = rest[3:] if rest[:3] == ["if", "not", "exists"] else rest
        path, *rest = rest or [""]
        rest = rest[2:] if rest[:1] == ["as"] else rest
        options = tokens[len(words) - len(rest) : len(words)]
        named = all(name in _ATTACH_OPTIONS for name in _options(options))
        if not self._may_attach(path) or not named or (rest and rest[0] != "("):
            raise _refusal(
                "only ':memory:' and DuckDB files in the scratch directory can be attached here, "
                "by a plain name such as 'mine.db'; other databases are attached by the server's "
                "configuration"
            )

    def _may_attach(self, path: str) -> bool:
        if path in ("''", "':memory:'"):
            return True
        own = self._own(path)
        return own is not None and _DATABASE_FILE.fullmatch(own) is not None

    def _own(self, path: str) -> str | None:
        """Return the path below the user's folder that the literal ``path`` names; None: outside.

        By its characters alone, it must mean the same place to DuckDB, the operating system and us.
        ``path`` is in lower case.
        """
        found = _PLAIN_PATH.fullmatch(path)
        if found is None:
            return None
        own = found[1].removeprefix(f"{self.folder}/".lower())
        return None if own.startswith("/") or ".." in own.split("/") else own

    def _is_own(self, path: str) -> bool:
        """Return whether COPY and EXPORT may write to the path in a string literal."""
        own = self._own(path)
        return own is not None and _KEPT_FOR_DATABASES.search(own) is None

    def _is_network(self, path: str) -> bool:
        return self.allow_network and path[1:].startswith(NETWORK)

    def _check_copy(self, tokens: list[Token]) -> None:
        """Check that the file is a literal: DuckDB would even overwrite attached files."""
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
                "name as a plain string: COPY … TO 'name.csv'; .db, .duckdb and .wal are for "
                "databases"
            )
        options = tokens[place + 1 :]
        formats = _formats(options)
        if not formats <= _FORMATS or (not formats and ".blob" in tokens[place].text):
            raise _refusal(f"COPY and EXPORT know {', '.join(sorted(_FORMATS))} here")
        for name in _options(options):
            if name not in _COPY_OPTIONS:
                raise _refusal(f"the option {name} of COPY is not available here")

    def _check_object(self, effect: str, tokens: list[Token]) -> None:
        words = [name_of(token) for token in tokens]
        if words[:1] == ["deallocate"]:
            return
        kind = next((word for word in words[1:] if word not in _BEFORE_OBJECT), "")
        if kind not in _OBJECTS[effect]:
            raise _refusal(f"{effect} {kind.upper()} is not available here")
        if kind == "secret":
            self._check_secret(words[words.index("secret") :])

    def _check_names(self, tokens: list[Token], what: str) -> None:
        for token in tokens[1:]:
            if name_of(token) in self.databases:
                raise _refusal(f"the database {name_of(token)!r} cannot be {what}")

    def _check_settings(self, tokens: list[Token]) -> None:
        for token in tokens[1:]:
            if name_of(token) in OWN:
                raise _refusal(f"the setting {name_of(token)} is the server's own")

    def _check_secret(self, words: list[str]) -> None:
        if not self.allow_network:
            raise _refusal(
                "secrets have no use here: the network is not allowed (duckdb.allow_network)"
            )
        while words and words[0] in ("secret", "if", "not", "exists"):
            words = words[1:]
        name = next(iter(words), "")
        if name in self.secrets or not name.isidentifier():
            raise _refusal("the server's own secrets stay as they are: name one of yours")


def close(
    connection: duckdb.DuckDBPyConnection,
    *,
    folder: Path,
    databases: Sequence[str],
    functions: frozenset[str],
    stored: Mapping[str, Stored],
    bound: Bound,
    allow_network: bool,
) -> Sandbox:
    """Close the sandbox around ``connection``'s database, for good; return its rules.

    ``folder`` is the one directory where users read and write files. ``databases`` are the attached
    ones, which stay. ``functions``, ``stored`` and ``bound`` are as in ``Sandbox``.
    """
    allowed = [f"{folder}/", *(NETWORK if allow_network else ())]
    connection.execute(f"SET allowed_directories = [{', '.join(map(literal, allowed))}]")
    connection.execute("SET enable_external_access = false")
    open_settings = ", ".join(map(literal, (*FREE_SETTINGS, *OWN)))
    connection.execute(f"SET allowed_configs = [{open_settings}]")
    connection.execute("SET lock_configuration = true")
    ((own,),) = connection.execute("SELECT system.main.current_database()").fetchall()
    secrets = connection.execute("SELECT name FROM system.main.duckdb_secrets()").fetchall()
    return Sandbox(
        folder,
        databases=frozenset(name.lower() for name in (*databases, own)),
        secrets=frozenset(name.lower() for (name,) in secrets),
        functions=functions,
        stored=stored,
        bound=bound,
        allow_network=allow_network,
    )


def _formats(options: list[Token]) -> set[str]:
    """Return the formats in the options of COPY; if there are none, the file's name decides."""
    return {
        after.text.strip("'") for token, after in pairwise(options) if name_of(token) == "format"
    }


def _options(tokens: list[Token]) -> Iterator[str]:
    """Yield the names of options, with or without parentheses, and no values."""
    for before, token in pairwise([Token("", "", 0, 0, 0), *tokens]):
        if token.depth == 0 and not _VALUE.match(token.text):
            yield from {name_of(token)} - _COPY_WORDS
        if token.depth == 1 and before.depth <= 1 and before.text in ("(", ","):
            yield from {name_of(token)} - _COPY_WORDS


def _imports(text: str) -> bool:
    """Return whether a statement in ``text`` begins with IMPORT."""
    tokens = [Token(";", "", 0, 0, 0), *tokenize(text)]
    return any(
        before.text.endswith(";") and token.keyword == "import"
        for before, token in pairwise(tokens)
    )


def _refusal(reason: str) -> PermissionDenied:
    return PermissionDenied(f"Permission Error: {reason}")
