"""A gate in front of a server that says back what it hears."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pondflight.dsn import Address
from pondflight.engine.databases.gate import Gate, Upstream
from tests.waiting import wait_until


class Echo:
    """Says back what it hears; after ``silence()`` it only listens."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._silent = False
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self) -> None:
        self._silent = True

    def hang_up(self) -> None:
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                if not self._silent:
                    connection.sendall(data)


@pytest.fixture(name="echo")
def fixture_echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture(name="broken")
def fixture_broken() -> threading.Event:
    return threading.Event()


@pytest.fixture(name="gate")
def fixture_gate(echo: Echo, broken: threading.Event) -> Iterator[Gate]:
    gate = Gate(Upstream(Address("127.0.0.1", echo.port)), broken.set)
    yield gate
    gate.shut()


@pytest.fixture(name="client")
def fixture_client(gate: Gate) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", gate.port), 10) as client:
        yield client


def test_who_comes_waits_until_the_gate_is_open(gate: Gate, client: socket.socket) -> None:
    client.sendall(b"hello")
    assert gate.waited_for(10)
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(5)
    gate.open()
    client.settimeout(10)
    assert client.recv(5) == b"hello"


def test_every_byte_passes_both_ways(gate: Gate, client: socket.socket) -> None:
    gate.open()
    sent = bytes(range(256)) * 40_000
    threading.Thread(target=client.sendall, args=(sent,), daemon=True).start()
    received = bytearray()
    while len(received) < len(sent):
        received += client.recv(1 << 20)
    assert received == sent


def test_a_server_that_hangs_up_is_known_before_its_client_sees_it(
    gate: Gate, client: socket.socket, echo: Echo, broken: threading.Event
) -> None:
    gate.open()
    client.sendall(b"hello")
    assert client.recv(5) == b"hello"
    echo.hang_up()
    assert client.recv(5) == b""
    assert broken.is_set()


def test_a_client_that_leaves_breaks_nothing(
    gate: Gate, client: socket.socket, broken: threading.Event
) -> None:
    gate.open()
    client.sendall(b"hello")
    assert client.recv(5) == b"hello"
    client.close()
    with socket.create_connection(("127.0.0.1", gate.port), 10) as another:
        another.sendall(b"again")
        assert another.recv(5) == b"again"
    assert not broken.is_set()


def test_a_server_that_is_not_there_ends_the_connection(
    gate: Gate, client: socket.socket, echo: Echo, broken: threading.Event
) -> None:
    echo.close()
    gate.open()
    assert client.recv(5) == b""
    wait_until(broken.is_set)


def test_only_who_waits_for_an_answer_is_cut(gate: Gate, client: socket.socket, echo: Echo) -> None:
    gate.open()
    client.sendall(b"hello")
    assert client.recv(5) == b"hello"
    assert gate.cut_waiting(since=0.0) == 0
    echo.silence()
    begin = time.monotonic()
    client.sendall(b"are you there?")
    wait_until(lambda: gate.cut_waiting(since=begin))
    assert client.recv(5) == b""


def test_a_gate_that_is_shut_ends_what_passes(gate: Gate, client: socket.socket) -> None:
    gate.open()
    client.sendall(b"hello")
    assert client.recv(5) == b"hello"
    gate.shut()
    assert client.recv(5) == b""
    with pytest.raises(OSError):  # noqa: PT011 - refused or reset
        socket.create_connection(("127.0.0.1", gate.port), 10)


def test_no_more_connections_pass_than_there_may_be(echo: Echo) -> None:
    gate = Gate(Upstream(Address("127.0.0.1", echo.port)), most=2)
    gate.open()
    connections = [socket.create_connection(("127.0.0.1", gate.port)) for _ in range(3)]
    try:
        for connection in connections[:2]:
            connection.sendall(b"ping")
            assert connection.recv(4) == b"ping"
        assert connections[2].recv(4) == b""  # after a wait for room
        assert gate.crowded > 0
        connections[0].close()
        with socket.create_connection(("127.0.0.1", gate.port)) as later:
            later.sendall(b"ping")
            assert later.recv(4) == b"ping"
    finally:
        gate.shut()
        for connection in connections:
            connection.close()
