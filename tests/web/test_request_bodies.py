from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pondflight.web import request_bodies
from pondflight.web.problems import ProblemError
from pondflight.web.request_bodies import MAX_BODY, Receive, RequestBodies


def sent(pieces: list[bytes]) -> Receive:
    """What a server hands over of a body that comes in these pieces."""
    messages: Iterator[dict[str, Any]] = iter(
        [
            {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
            for number, piece in enumerate(pieces, start=1)
        ]
    )

    async def receive() -> dict[str, Any]:
        return next(messages)

    return receive


def held(first: bytes) -> Receive:
    """A body of which nothing comes behind the first piece."""
    pieces = [first]

    async def receive() -> dict[str, Any]:
        if not pieces:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": pieces.pop(), "more_body": True}

    return receive


def refusal(reading: Any) -> int:
    with pytest.raises(ProblemError) as caught:
        asyncio.run(reading)
    status = caught.value.document["status"]
    assert isinstance(status, int)
    return status


@given(st.lists(st.binary(max_size=50), min_size=1))
def test_body_is_the_same_however_it_comes(pieces: list[bytes]) -> None:
    async def read() -> bytes:
        return await RequestBodies().read(sent(pieces))

    assert asyncio.run(read()) == b"".join(pieces)


def test_body_at_the_limit_is_taken_and_a_byte_more_is_not() -> None:
    async def read(size: int) -> bytes:
        return await RequestBodies().read(sent([b"x" * (size - 1), b"y"]))

    assert len(asyncio.run(read(MAX_BODY))) == MAX_BODY
    assert refusal(read(MAX_BODY + 1)) == 413


def test_body_that_does_not_come_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_bodies, "BODY_SECONDS", 0.05)

    async def read() -> bytes:
        return await RequestBodies().read(held(b"x"))

    assert refusal(read()) == 408


def test_body_has_more_time_the_more_of_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_bodies, "BODY_SECONDS", 0.05)
    monkeypatch.setattr(request_bodies, "BODY_BYTES_PER_SECOND", 1000)

    async def read(size: int) -> bytes:
        pieces = [b"x" * size, b"y"]

        async def receive() -> dict[str, Any]:
            piece = pieces.pop(0)
            if not pieces:
                await asyncio.sleep(0.2)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        return await RequestBodies().read(receive)

    assert len(asyncio.run(read(1000))) == 1001
    assert refusal(read(10)) == 408


def test_client_that_goes_away_ends_it() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def read() -> bytes:
        return await RequestBodies().read(receive)

    assert refusal(read()) == 400


def test_the_largest_gives_way_where_there_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_bodies, "BUFFERED", 1000)

    async def read() -> tuple[Any, ...]:
        reader = RequestBodies()
        large, small = (asyncio.create_task(reader.read(held(b"x" * n))) for n in (900, 90))
        await asyncio.sleep(0.01)
        arriving = await reader.read(sent([b"x" * 50, b"y"]))
        await asyncio.wait([large], timeout=5)
        small.cancel()
        return arriving, large.exception(), small.done()

    arriving, error, ended = asyncio.run(read())
    assert arriving == b"x" * 50 + b"y"
    assert isinstance(error, ProblemError)
    assert error.document["status"] == 503
    assert not ended


def test_body_that_nobody_wants_is_dropped_up_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_bodies, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(request_bodies, "DROPPED", 1000)
    assert asyncio.run(request_bodies.drop(sent([b"x" * 400, b"x" * 400])))
    assert not asyncio.run(request_bodies.drop(held(b"x")))
    assert not asyncio.run(request_bodies.drop(sent([b"x" * 400] * 5)))
