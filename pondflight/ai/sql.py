"""From a question in words to one query.

The model gets the tables and is asked for SQL. Its answer is only text: the caller's ``check``
decides whether it is a query, and the caller's worker makes sure that it runs as nothing else. If
the check fails, the model is told why and may try once more.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from pondflight.ai.conversation import Answer, End, Message, Text, Usage
from pondflight.errors import InvalidArgument, PermissionDenied

LONGEST_ANSWER = 32_000
"""Characters. A longer text is no query that a person would want, and is not read to its end."""

LONGEST_SCHEMA = 80_000
"""Characters of the prompt that describe tables."""

_INSTRUCTIONS = """\
You write SQL for DuckDB. Answer with exactly one query and nothing else: no explanation, no \
Markdown, no semicolon. It must be a single SELECT (WITH is fine) over the tables below alone. \
Write names exactly as they stand there. If the question cannot be answered by such a query, or \
asks for anything but reading, answer with one line that begins with "NO QUERY:" and says why.

Tables, each with its columns and their types:

"""
_REFUSAL = re.compile(r"^\W*NO QUERY:?\s*(.*)", re.IGNORECASE | re.DOTALL)
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(
    r"""^[ \t]*(?P<fence>`{3,}|~{3,})[^\n`]*\n  # opened, perhaps with the name of a language
        (?P<sql>.*?)
        (?:^[ \t]*(?P=fence)|\Z)              # closed, or cut off""",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
_TICKS = re.compile(r"(?P<ticks>`{1,3})(?:sql\b)?(?P<sql>[^`]+)(?P=ticks)", re.IGNORECASE)
_WORD = re.compile(r"\w{3,}")
_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Table:
    """A table for the prompt; ``name`` is quoted as SQL needs it, ``columns`` are ``name TYPE``."""

    name: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.columns)})"


@dataclass(frozen=True, slots=True)
class Written:
    """A query that has passed the check."""

    sql: str
    repaired: bool
    usage: Usage


class NoQuery(InvalidArgument):
    """The model wrote no query that can run; ``sql`` is what it wrote."""

    http = 422

    def __init__(self, message: str, sql: str = "") -> None:
        super().__init__(message)
        self.sql = sql


async def write(
    question: str,
    tables: Iterable[Table],
    ask: Callable[[tuple[Message, ...]], Awaitable[Answer]],
    check: Callable[[str], Awaitable[None]],
) -> Written:
    """Return a query that answers ``question``.

    ``check`` raises ``InvalidArgument`` or ``PermissionDenied`` for SQL that must not run. Raises
    ``NoQuery`` if the model gives up, or fails twice.
    """
    system = Message("system", _INSTRUCTIONS + describe(question, tables))
    messages = (system, Message("user", question))
    text, usage = await _read(await ask(messages))
    sql = _sql(text)
    try:
        await check(sql)
    except (InvalidArgument, PermissionDenied) as error:
        why = Message("user", f"DuckDB refuses that: {error}\nAnswer with the mended query alone.")
        again, more = await _read(await ask((*messages, Message("assistant", sql), why)))
        usage = Usage(
            usage.input_tokens + more.input_tokens, usage.output_tokens + more.output_tokens
        )
        sql = _sql(again)
        await _check_last(sql, check)
        return Written(sql, repaired=True, usage=usage)
    return Written(sql, repaired=False, usage=usage)


def describe(question: str, tables: Iterable[Table]) -> str:
    """Return the tables as text for a prompt: all, or those that the question seems to need."""
    known = list(tables)
    lines = [str(table) for table in known]
    if sum(len(line) + 1 for line in lines) > LONGEST_SCHEMA:
        words = {word.lower().rstrip("s") for word in _WORD.findall(question)}

        def distance(line: str) -> int:
            return -sum(word in line.lower() for word in words)

        lines.sort(key=distance)
    chosen: list[str] = []
    room = LONGEST_SCHEMA
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        chosen.append(line)
    return "\n".join(chosen) if chosen else "(none)"


async def _read(answer: Answer) -> tuple[str, Usage]:
    pieces: list[str] = []
    length = 0
    try:
        async for part in answer:
            if isinstance(part, End):
                return "".join(pieces), part.usage
            if isinstance(part, Text):
                pieces.append(part.text)
                length += len(part.text)
            if length > LONGEST_ANSWER:
                raise NoQuery("the model's answer is too long to be a query: ask it differently")
    finally:
        await answer.close()
    raise AssertionError("an answer ends with its End, or raises")


def _sql(text: str) -> str:
    """Return the query in a model's answer, without the Markdown around it."""
    text = _THOUGHTS.sub("", text.replace("\r\n", "\n")).strip()
    wrapped = _FENCE.search(text) or _TICKS.fullmatch(text)
    sql = (wrapped["sql"] if wrapped is not None else text).strip().rstrip(";").strip()
    refusal = _REFUSAL.match(sql) or _REFUSAL.match(text)
    if refusal is not None:
        reason = " ".join(refusal[1].split())[:_LONGEST_REASON] or "it gives no reason"
        raise NoQuery(f"the model found no query for this: {reason}")
    if not sql:
        raise NoQuery("the model answered nothing: ask it differently")
    return sql


async def _check_last(sql: str, check: Callable[[str], Awaitable[None]]) -> None:
    try:
        await check(sql)
    except (InvalidArgument, PermissionDenied) as error:
        raise NoQuery(f"the model wrote no query that can be run: {error}", sql) from error
