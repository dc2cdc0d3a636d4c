"""The tokens of SQL text, as DuckDB's tokenizer sees them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import duckdb

_OPERATOR = duckdb.token_type.operator
_KEYWORD = duckdb.token_type.keyword


_QUOTED = re.compile(
    r"""
    "(?:[^"]|"")*"                       # an identifier
    | (?:
        e'(?:[^'\\]|''|\\.)*'          # a string with escapes
        | [bx]?'(?:[^']|'')*'            # a string
      )
      (?:(?:[ \t\f]|--[^\r\n]*+)*+[\r\n]  # which may go on in another line
         (?:\s|--[^\r\n]*+[\r\n])*+'(?:[^']|'')*')*
    | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$    # a string between dollars
    """,
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
_BARE = re.compile(r"\s|--|/\*")
_SPACE = re.compile("[\u00a0\u2000-\u200d\u202f\u205f\u2060\u3000\ufeff]")


@dataclass(frozen=True, slots=True)
class Token:
    """A token: its text in lower case, whether it is a keyword, and its start and end in bytes.

    ``depth`` is the number of parentheses around it; an opening one counts itself.
    """

    text: str
    keyword: str
    start: int
    end: int
    depth: int


def plain(text: str) -> str:
    """Return ``text`` with a blank for each Unicode space outside of quotes.

    DuckDB's parser reads such spaces as blanks, its tokenizer as letters. So code that relies on
    tokens must not see them.
    """
    if _SPACE.search(text) is None:
        return text
    data = text.encode()
    starts = [0, *(start for start, _ in duckdb.tokenize(text)), len(data)]
    return "".join(_plain(data[start:end].decode()) for start, end in pairwise(starts))


def _plain(word: str) -> str:
    quoted = _QUOTED.match(word)
    end = quoted.end() if quoted is not None else 0
    return word[:end] + _SPACE.sub(" ", word[end:])


def tokenize(text: str) -> Iterator[Token]:
    """Return all tokens of ``text``."""
    data = text.encode()
    raw = duckdb.tokenize(text)
    depth = 0
    for index, (start, kind) in enumerate(raw):
        limit = raw[index + 1][0] if index + 1 < len(raw) else len(data)
        word = data[start:limit].rstrip().decode("utf-8", "replace")
        word = _without_comment(word)
        if kind == _OPERATOR:
            depth += word.count("(") - word.count(")")
        lowered = word.lower()
        end = start + len(word.encode())
        yield Token(lowered, lowered if kind == _KEYWORD else "", start, end, depth)


def name_of(token: Token) -> str:
    """Return the name in ``token``, in lower case; its text if it is not a name."""
    text = token.text
    return text[1:-1].replace('""', '"') if text.startswith('"') and text.endswith('"') else text


def _without_comment(word: str) -> str:
    """Return ``word`` without the comment that the tokenizer leaves after a token."""
    quoted = _QUOTED.match(word)
    if quoted is not None:
        return quoted.group()
    return _BARE.split(word, maxsplit=1)[0] or word


def top_level(text: str) -> Iterator[Token]:
    """Yield the tokens outside of parentheses, and the parentheses that open there."""
    for token in tokenize(text):
        if token.depth == 0 or (token.depth == 1 and token.text == "("):
            yield token


def names(text: str) -> set[str]:
    """Return the names that ``text`` may contain: words and quoted identifiers, in lower case.

    Comments and strings are left out.
    """
    return {name_of(token) for token in tokenize(text)}
