"""Batches that are checked while the ones before are in use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from pondflight.errors import InvalidArgument
from pondflight.flightsql import Upload, validity

SECONDS = 10


class Reader:
    """Gives its batches one by one, as pyarrow's does."""

    def __init__(self, *batches: pa.RecordBatch) -> None:
        self.schema = batches[0].schema
        self._chunks = (SimpleNamespace(data=data, app_metadata=None) for data in batches)

    def read_chunk(self) -> SimpleNamespace:
        return next(self._chunks)


def batch(first: int, *, rows: int = 20_000) -> pa.RecordBatch:
    return pa.record_batch([pa.array([f"é{n}" for n in range(first, first + rows)])], ["s"])


def damaged() -> pa.RecordBatch:
    _, offsets, text = batch(0)["s"].buffers()
    broken = text.to_pybytes().replace("é9".encode(), b"\xff\xff9", 1)
    array = pa.Array.from_buffers(pa.string(), 20_000, [None, offsets, pa.py_buffer(broken)])
    return pa.record_batch([array], ["s"])


def firsts(chunks: Iterator[Any]) -> Iterator[str]:
    return (chunk.data["s"][0].as_py() for chunk in chunks)


@pytest.mark.parametrize("rows", [1, 20_000])
def test_all_come_in_order(rows: int) -> None:
    found = firsts(iter(Upload(Reader(*(batch(n, rows=rows) for n in range(9))))))
    assert list(found) == [f"é{n}" for n in range(9)]


def test_what_is_damaged_does_not_come_and_what_was_before_does() -> None:
    found = firsts(iter(Upload(Reader(batch(1), batch(2), damaged(), batch(3)))))
    assert [next(found), next(found)] == ["é1", "é2"]
    with pytest.raises(InvalidArgument, match="UTF"):
        next(found)


def test_the_next_one_is_checked_while_one_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[pa.RecordBatch] = []
    second = threading.Event()

    def check(data: pa.RecordBatch, **_: object) -> None:
        checked.append(data)
        if len(checked) == 2:
            second.set()

    monkeypatch.setattr(validity, "check", check)
    chunks = iter(Upload(Reader(batch(1), batch(2), batch(3))))
    next(chunks)
    assert second.wait(SECONDS)
    assert len(list(chunks)) == 2
    assert len(checked) == 3


def test_where_no_thread_is_left_they_are_checked_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def submit(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)
    assert len(list(Upload(Reader(batch(1), batch(2))))) == 2
    with pytest.raises(InvalidArgument, match="UTF"):
        list(Upload(Reader(batch(1), damaged())))
