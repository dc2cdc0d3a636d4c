"""Clauses of a statement, found by DuckDB's own tokenizer.

DuckDB's parser returns the parts of SELECT statements only; this is for the few places that need a
part of another statement.
"""

from __future__ import annotations

from pondflight.engine.sql.lexer import tokenize, top_level


def returning_clause(text: str) -> str | None:
    """Return the text after RETURNING; None if the statement has no such clause."""
    previous = ""
    for token in top_level(text):
        if token.keyword == "returning" and previous != "as":
            return text.encode()[token.end :].decode()
        previous = token.keyword
    return None


def target(text: str) -> str | None:
    """Return the table that a statement writes to, as written, with its alias if it has one."""
    data = text.encode()
    start = None
    for token in top_level(text):
        if start is None:
            if token.keyword in ("into", "from", "update"):
                start = token.end
        elif token.text == "(" or (token.keyword and token.keyword != "as"):
            return data[start : token.start].decode().strip() or None
    return None


def bulk_insert(text: str, width: int) -> tuple[str, str] | None:
    """Return the text before and after ``VALUES (?, ?, …)``; None if there are other values.

    Many rows of parameters can then be inserted by one statement. ``width`` is the number of
    parameters.
    """
    found = list(tokenize(text))
    row = ["values", "(", *", ".join("?" * width).split(" "), ")"]
    flat = [part for word in row for part in _parts(word)]
    starts = [i for i, token in enumerate(found) if token.keyword == "values"]
    if not width or len(starts) != 1 or found[0].keyword != "insert":
        return None
    (start,) = starts
    end = start
    parts: list[str] = []
    while end < len(found) and len(parts) < len(flat):
        parts.extend(_parts(found[end].text))
        end += 1
    if parts != flat or (end < len(found) and found[end].keyword != "on"):
        return None
    data = text.encode()
    return data[: found[start].start].decode(), data[found[end - 1].end :].decode()


def _parts(word: str) -> list[str]:
    """Return operators one by one that the tokenizer returns as one token, such as ``(?,?)``."""
    return [word] if word.isalnum() else [char for char in word if not char.isspace()]
