from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pondflight.telemetry import logfmt

PAIR = re.compile(r'([A-Za-z0-9_.]+)=("(?:[^"\\]|\\.)*"|[^\s"=]+)(?: |$)')
ESCAPE = re.compile(r'\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|["\\nrt])')
SHORT = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t"}


def parse(line: str) -> list[tuple[str, str]]:
    """Read a line back as a log collector does."""
    pairs, at = [], 0
    while at < len(line):
        match = PAIR.match(line, at)
        assert match is not None, line[at:]
        key, value = match.groups()
        if value.startswith('"'):
            value = ESCAPE.sub(
                lambda escape: SHORT.get(escape[1]) or chr(int(escape[1][1:], 16)), value[1:-1]
            )
        pairs.append((key, value))
        at = match.end()
    return pairs


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("abc123", "abc123"),
        ("idle_timeout", "idle_timeout"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("/a/b", "/a/b"),
        (42, "42"),
        (0.5, "0.5"),
        (True, "true"),
        (None, "null"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("C:\\x", '"C:\\\\x"'),
        ("a\nlevel=error msg=forged", '"a\\nlevel=error msg=forged"'),
        ("a\r\tb", '"a\\r\\tb"'),
        ("\x1b[31mred", '"\\x1b[31mred"'),
        ("\x00\x7f\x85", '"\\x00\\x7f\\x85"'),
        ("a\u2028b", '"a\\u2028b"'),
        ("a\u202egnp.exe", '"a\\u202egnp.exe"'),
        ("\u2066x\u2069", '"\\u2066x\\u2069"'),
        ("\ufeff", '"\\ufeff"'),
        ("\ud800", '"\\ud800"'),
        ("\U000e0041", '"\\U000e0041"'),
        ("\xa0", '"\\xa0"'),
        ("Zoë 🦆", '"Zoë 🦆"'),
        ("x'; DROP", '"x\'; DROP"'),
        ("...", '"..."'),
    ],
)
def test_value_is_bare_where_it_can_be_and_escaped_where_it_must(
    value: object, written: str
) -> None:
    assert logfmt.line([("k", value)]) == f"k={written}"


@pytest.mark.parametrize("key", ["msg", "error"])
def test_prose_is_quoted_always(key: str) -> None:
    assert logfmt.line([(key, "boom")]) == f'{key}="boom"'


@pytest.mark.parametrize(
    ("key", "written"), [("a b", "a_b"), ("a=b", "a_b"), ("", "_"), ("é", "_")]
)
def test_key_cannot_break_the_line(key: str, written: str) -> None:
    assert logfmt.line([(key, 1)]) == f"{written}=1"


def test_long_value_is_cut() -> None:
    line = logfmt.line([("sql", "x" * 100_000), ("user_id", "a")])
    assert line == 'sql="' + "x" * logfmt.LONGEST_VALUE + '…" user_id=a'


def test_long_traceback_keeps_its_end() -> None:
    line = logfmt.line([("exception", "x" * 100_000 + "ValueError: the point")])
    assert len(line) < logfmt.LONGEST_TRACE + 100
    assert line.startswith('exception="…xxx')
    assert line.endswith('ValueError: the point"')


def test_value_that_cannot_be_shown_does_not_cost_the_line() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    assert logfmt.line([("a", Broken()), ("b", 1)]) == 'a="<Broken>" b=1'


# Characters of all kinds, those that forge lines more often than others.
HOSTILE = st.text(
    st.characters(codec=None) | st.sampled_from('"\\\n\r\t =\x1b\u202e\u2028\x85\x00nrtxu'),
    max_size=60,
)


@given(st.lists(HOSTILE, min_size=1, max_size=4))
def test_no_value_forges_a_line_or_a_field(values: list[str]) -> None:
    fields = [(f"k{number}", value) for number, value in enumerate(values)]
    line = logfmt.line(fields)
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert parse(line) == fields
