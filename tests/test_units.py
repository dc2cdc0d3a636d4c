from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pondflight.units import (
    LARGEST,
    LONGEST,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300),
        ("30s", 30),
        ("1h", 3600),
        ("250ms", 0.25),
        ("1h30m", 5400),
        ("1m1ms", 60.001),
        (" 2h ", 7200),
        ("0", 0),
        ("0s", 0),
        ("8760h", 365 * 86400),
    ],
)
def test_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("300", "has no unit"),
        ("1.5", "has no unit"),
        ("", "is not a duration"),
        ("m", "is not a duration"),
        ("5 m", "is not a duration"),
        ("5M", "is not a duration"),
        ("-5m", "is not a duration"),
        ("30m1h", "is not a duration"),
        ("5m\n", None),
        ("\N{ARABIC-INDIC DIGIT FIVE}m", "is not a duration"),
        ("1d", "is not a duration"),
        ("8761h", "is longer than 8760h"),
        ("999999999999h", "is longer than 8760h"),
        ("9" * 5000 + "h", "is not a duration"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_reason(text: str, why: str | None) -> None:
    if why is None:
        assert parse_duration(text) == timedelta(minutes=5)
        return
    with pytest.raises(ValueError, match=why):
        parse_duration(text)


@given(st.integers(0, LONGEST // timedelta(milliseconds=1)))
def test_duration_survives_writing_and_reading(milliseconds: int) -> None:
    value = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(value)) == value


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        why = None
        assert timedelta() <= parse_duration(text) <= LONGEST
    except ValueError as error:
        why = str(error)
    assert why is None or why.startswith(("is ", "has "))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512m", 512 << 20),
        ("1g", 1 << 30),
        ("256k", 256 << 10),
        ("1t", 1 << 40),
        ("1000", 1000),
        ("1.5g", 3 << 29),
        ("512MB", 512 << 20),
        ("2GiB", 2 << 30),
        ("512 m", 512 << 20),
        ("7b", 7),
        ("0", 0),
    ],
)
def test_size_is_read_in_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "m", "-1m", "1x", "1 0m", "1e9", "1.m", "0x10", "\N{ARABIC-INDIC DIGIT ONE}m"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_size_beyond_all_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="is larger than"):
        parse_size("99999999t")


@given(st.integers(0, LARGEST))
def test_size_survives_writing_and_reading(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1 << 30, "1g"), (1536 << 20, "1536m"), (1000, "1000")]
)
def test_size_is_written_in_the_largest_unit_that_leaves_it_whole(size: int, text: str) -> None:
    assert format_size(size) == text
