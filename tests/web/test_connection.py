"""Limits on connections, with limits so short that a test can wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from uvicorn import Config, Server

from pondflight.web import connection
from pondflight.web.connection import ABORT, Connection

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PIECE = b"x" * (64 << 10)


async def answer(scope: Any, _: Any, send: Any) -> None:
    """``/endless`` streams, ``/cut`` is aborted in the middle, all else is short."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while scope["path"] == "/endless":
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        await asyncio.sleep(0)
    if scope["path"] == "/cut":
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        scope["state"][ABORT]()
        return
    await send({"type": "http.response.body", "body": b"all", "more_body": False})


@asynccontextmanager
async def serving(app: Any = answer) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = Config(
        app, http=Connection, lifespan="off", log_config=None, timeout_graceful_shutdown=0
    )
    server = Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield listener.getsockname()[1]
    server.should_exit = True
    await asyncio.wait([task], timeout=10)


WRITERS: list[asyncio.StreamWriter] = []


def run(test: Callable[[int], Awaitable[None]], app: Any = answer) -> None:
    async def serve_and_test() -> None:
        async with serving(app) as port, asyncio.timeout(30):
            await test(port)
            while WRITERS:
                WRITERS.pop().close()

    asyncio.run(serve_and_test())


async def connect(port: int, sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    WRITERS.append(writer)
    writer.write(sent)
    return reader, writer


def test_head_that_does_not_come_is_408_and_a_connection_that_idles_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(connection, "_IDLE_SECONDS", 0.4)

    async def test(port: int) -> None:
        slow, _ = await connect(port, HEAD[:20])
        assert (await slow.read()).startswith(b"HTTP/1.1 408 ")
        silent, _ = await connect(port, b"")
        assert await silent.read() == b""
        used, writer = await connect(port, HEAD)
        assert (await used.readuntil(b"0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.write(HEAD[:20])  # of the next request
        assert (await used.read()).startswith(b"HTTP/1.1 408 ")

    run(test)


def test_client_that_reads_nothing_is_cut_off_and_one_that_reads_slowly_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "SEND_SECONDS", 0.5)

    async def test(port: int) -> None:
        deaf, slow = (socket.create_connection(("127.0.0.1", port)) for _ in range(2))
        for sock in (deaf, slow):
            sock.sendall(HEAD.replace(b"/ ", b"/endless "))
        for _ in range(30):
            await asyncio.sleep(0.1)
            assert slow.recv(1 << 20)
        with pytest.raises(ConnectionResetError):
            while deaf.recv(1 << 20):
                pass
        assert slow.recv(100)
        for sock in (deaf, slow):
            sock.close()

    run(test)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_response_that_is_aborted_is_a_reset(version: bytes) -> None:
    async def test(port: int) -> None:
        reader, _ = await connect(port, HEAD.replace(b"/ ", b"/cut ").replace(b"1.1", version))
        with pytest.raises(ConnectionResetError):
            await reader.read()

    run(test)


def test_the_connection_that_idles_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 3)

    async def test(port: int) -> None:
        busy, _ = await connect(port, HEAD.replace(b"/ ", b"/endless "))
        await busy.read(100)
        begun, _ = await connect(port, HEAD[:20])
        await asyncio.sleep(0.1)
        idle, _ = await connect(port, b"")
        await asyncio.sleep(0.1)
        another, _ = await connect(port, HEAD)
        assert b"all" in await another.readuntil(b"0\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert await idle.read() == b""
        assert await busy.read(100)
        assert not begun.at_eof()

    run(test)


def test_requests_that_come_together_are_answered_in_turn() -> None:
    async def test(port: int) -> None:
        last = HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        reader, writer = await connect(port, HEAD * 2 + HEAD[:10])
        await asyncio.sleep(0.1)
        writer.write(HEAD[10:] + last)
        assert (await reader.read()).count(b"HTTP/1.1 200 OK") == 4

    run(test)


def test_client_that_resets_is_gone() -> None:
    gone = asyncio.Event()

    async def wait(_scope: Any, receive: Any, _send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async def test(port: int) -> None:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(HEAD + HEAD)  # the second must not hide that the client goes
        await asyncio.sleep(0.1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        await gone.wait()

    run(test, wait)
