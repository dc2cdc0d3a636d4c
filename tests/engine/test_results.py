"""Cursors and results: rows that are set aside, and the tables of their states."""

from __future__ import annotations

import errno
import io
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight.engine.execution.room import Room, Shelf
from pondflight.engine.execution.states import (
    CURSOR_STEPS,
    RESULT_STEPS,
    CursorState,
    IllegalTransition,
    ResultState,
    step,
)
from pondflight.engine.server import EngineServer
from pondflight.errors import LimitExceeded
from tests.engine.conftest import Connect, MakeClient

DOCS = Path(__file__).parents[2] / "docs" / "architecture.md"
ROWS = 6_000_000
MANY = f"SELECT hash(range) AS n, getvariable('x') AS x FROM range({ROWS})"

Damage = Callable[[pytest.MonkeyPatch], None]


class Full:
    """A file on a disk that has room for its first megabyte."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self._file = io.BytesIO()

    def seek(self, position: int) -> int:
        return self._file.seek(position)

    def write(self, data: bytes) -> int:
        if self._file.tell() > 1 << 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data[: 1 << 16])

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", Full)


def unwritable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/secret/path")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)


def out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Shelf, "put", refuse)


def broken_by_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("a mistake")

    monkeypatch.setattr(Shelf, "put", fail)


@pytest.mark.parametrize("damage", [full, unwritable, out_of_memory, broken_by_a_mistake])
def test_rows_for_which_there_is_no_room_are_an_error_and_not_an_end(
    connect: Connect, engine: EngineServer, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    damage(monkeypatch)
    engine.room.memory = 0
    with connect("a-session", autocommit=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET VARIABLE x = 1")
        with connection.cursor() as one, connection.cursor() as two:
            one.execute(MANY)
            reader = one.fetch_record_batch()
            reader.read_next_batch()
            two.execute("SELECT 42")
            assert two.fetchall() == [(42,)]
            with pytest.raises(Exception, match="another statement ran on the same") as caught:
                for _ in reader:
                    pass
            assert "secret" not in str(caught.value)
        assert engine.room.used == 0
        with connection.cursor() as cursor:
            cursor.execute("SELECT 43")
            assert cursor.fetchall() == [(43,)]


def truncated(data: bytes) -> bytes:
    return data[:10]


def spoilt(data: bytes) -> bytes:
    return b"\xff" * len(data)


@pytest.mark.parametrize("spoil", [truncated, spoilt])
def test_rows_that_cannot_be_read_again_are_an_error_and_not_an_end(
    connect: Connect,
    engine: EngineServer,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[bytes], bytes],
) -> None:
    class Lossy(Full):
        def write(self, data: bytes) -> int:
            return self._file.write(data)

        def read(self, size: int) -> bytes:
            return spoil(super().read(size))

    monkeypatch.setattr("tempfile.TemporaryFile", Lossy)
    engine.room.memory = 0
    with connect("a-session", autocommit=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET VARIABLE x = 1")
        with connection.cursor() as one, connection.cursor() as two:
            one.execute(MANY)
            reader = one.fetch_record_batch()
            two.execute("SELECT 42")
            rows = 0
            try:
                for batch in reader:
                    rows += batch.num_rows
            except Exception as error:
                assert "the rest of this result is lost" in str(error)  # noqa: PT017
            else:
                assert rows == ROWS  # the second statement came too late to need the room


@pytest.mark.parametrize("memory", [0, 1 << 20, 1 << 30])
def test_rows_come_back_in_order_from_memory_and_from_the_disk(tmp_path: Path, memory: int) -> None:
    room = Room(tmp_path, memory=memory)
    shelf = Shelf(room)
    batches = [
        pa.record_batch(
            {"n": range(i * 1000, (i + 1) * 1000), "s": pa.array(["x"] * 1000).dictionary_encode()}
        )
        for i in range(300)
    ]
    for batch in batches[:200]:
        shelf.put(batch)
    assert [shelf.take() for _ in range(100)] == batches[:100]
    for batch in batches[200:]:
        shelf.put(batch)
    assert [shelf.take() for _ in range(200)] == batches[100:]
    assert shelf.take() is None
    assert room.used == 0
    shelf.put(batches[0])
    shelf.clear()
    assert (len(shelf), room.used) == (0, 0)


def test_one_result_takes_no_more_of_the_disk_than_it_may(tmp_path: Path) -> None:
    shelf = Shelf(Room(tmp_path, memory=0, disk=10_000))
    with pytest.raises(LimitExceeded, match="more than"):
        for _ in range(100):
            shelf.put(pa.record_batch({"n": range(100)}))
    shelf.clear()


def test_a_cancelled_statement_leaves_the_rows_that_it_would_have_set_aside(
    make_client: MakeClient,
) -> None:
    """The second statement's end must not be the end of the first one's rows."""
    client = make_client("a-session")
    client.info("SET VARIABLE x = 1")
    reader = client.reader(MANY)
    total = reader.read_chunk().data.num_rows
    endless = client.info("SELECT count(*) FROM range(10000000000) WHERE hash(range) = 1")
    with pytest.raises(flight.FlightTimedOutError):
        client.flight.do_get(endless.endpoints[0].ticket, client.options(0.05)).read_all()
    total += sum(chunk.data.num_rows for chunk in reader)
    assert total == ROWS


@pytest.mark.parametrize(
    ("steps", "states"), [(CURSOR_STEPS, CursorState), (RESULT_STEPS, ResultState)]
)
def test_only_the_steps_of_the_tables_are_taken(steps: Any, states: Any) -> None:
    for current, to in itertools.product(states, states):
        if to in steps[current]:
            assert step(steps, current, to) is to
        else:
            with pytest.raises(IllegalTransition):
                step(steps, current, to)
    assert not steps[states.CLOSED]
    assert all(states.CLOSED in steps[state] for state in states if state is not states.CLOSED)


@pytest.mark.parametrize(
    ("heading", "steps", "states"),
    [
        ("The states of a cursor", CURSOR_STEPS, CursorState),
        ("The states of a result", RESULT_STEPS, ResultState),
    ],
)
def test_documentation_has_every_state_and_its_steps(heading: str, steps: Any, states: Any) -> None:
    section = DOCS.read_text().split(f"### {heading}\n")[1].split("\n#")[0]
    lines = re.findall(r"^\| `([\w ]+)` \| (.*?) \|(.*)\|$", section, re.MULTILINE)
    assert [(name, text) for name, text, _ in lines] == [(s.value, s.description) for s in states]
    for name, _, following in lines:
        assert set(re.findall(r"`([\w ]+)`", following)) == set(steps[states(name)])
