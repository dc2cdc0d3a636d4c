"""The proxy's count of statements: never less than DuckDB finds, and exact for honest texts."""

from __future__ import annotations

import random
import time

import duckdb
import pytest

from pondflight.engine.execution.handles import Handle
from pondflight.engine.sql.lexer import plain
from pondflight.engine.sql.statement import split
from pondflight.limits.statements import count, count_handle

EXACT = [
    ("SELECT 1", 1),
    ("SELECT 1;", 1),
    ("SELECT 1 ; ; \n;", 1),
    ("A; B; C", 3),
    ("A;B;;C;-- the end", 3),
    ("SELECT ';'; SELECT 2", 2),
    ("SELECT 'a;''b;' , E'\\';', \"x;\"\"y\"; SELECT 2", 2),
    ("SELECT $$;$$, $tag$;$other$;$tag$; SELECT $1; SELECT 3", 3),
    ("SELECT 1 -- ; no\n; SELECT 2 /* ; */", 2),
    ("SELECT fooe'\\'; SELECT 2 -- '", 2),
    ("SELECT $Tag$;$Tag$; SELECT 2", 2),
    ("SELECT 1 - 2 / 3; SELECT e, 'e;', a$b;", 2),
    ("", 1),
]
WHOLE = [
    "SELECT 1",
    "SELECT ';'",
    "SELECT E'\\';'",
    'SELECT 1 AS ";"',
    "SELECT $$;$$",
    "SELECT 1-2",
]
WHOLE += [
    "SELECT $a$;$$;$a$",
    "SELECT 'a''b;'",
    "SELECT 1 /* ; */",
    "SELECT 1 -- ;\n",
    "SELECT x'3b'",
]
BETWEEN = [";", ";;", "; /* ; */", "; -- ;\n", ";\u00a0", " ;\n"]


@pytest.mark.parametrize(("text", "statements"), EXACT)
def test_statements_are_counted(text: str, statements: int) -> None:
    assert count(text) == statements


def test_a_long_text_takes_no_long_time() -> None:
    for part in ("SELECT 'a;';", "/*;", "$a$;", "$a", "'", "e'", "--", "-", "''", "$b$;$a$ "):
        started = time.process_time()
        assert count(";" + part * 100_000) >= 1
        assert time.process_time() - started < 3


def test_statements_that_duckdb_can_parse_are_never_fewer_than_it_finds() -> None:
    chosen = random.Random(20261128)
    found = 0
    with duckdb.connect() as database:
        for _ in range(3_000):
            pieces = [chosen.choice(WHOLE) + chosen.choice(BETWEEN) for _ in range(3)]
            text = "".join(pieces)
            for _ in range(chosen.randint(0, 2)):  # something is left out, or said twice
                place = chosen.randrange(len(text))
                text = text[:place] + chosen.choice(["", text[place] * 2]) + text[place + 1 :]
            try:
                statements = database.extract_statements(text)
            except (duckdb.Error, UnicodeDecodeError):  # of a message that cuts a character
                continue
            found += len(statements) > 1
            assert count(text) >= len(split(plain(text))), text
    assert found > 1000


def test_a_handle_counts_as_its_text() -> None:
    assert count_handle(Handle(query="A; B").encode()) == 2
    assert count_handle(Handle(query="A").encode()) == 1
    for forged in (b"", b";", b'{"q": 7}\n;', b"[" * 100_000 + b";", b'{"q":";;";'):
        assert count_handle(forged) == 1
