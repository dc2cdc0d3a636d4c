"""A gate: a port of this machine behind which a database server is reached.

DuckDB's extensions are told the gate's port in place of the server's. That is worth a copy of each
byte, because they cannot do by themselves what a gate does:

- It makes who connects wait until it is opened. DuckDB's sandbox closes ATTACH for good, so
  the ATTACH of a server that is down must have begun before, and must wait.
- It gives up on a server that does not answer, in a time that somebody has chosen. MySQL's client
  has no such time, and waits for two minutes.
- It sees at once when a server goes away, and can end what waits for one in vain.
- It lets no more connections through than one worker may have: DuckDB keeps one for each open
  transaction, and one for each thread that reads.

Bytes pass as they are: what is encrypted stays so, from DuckDB to the server.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pondflight.dsn import Address

log = logging.getLogger(__name__)

_BUFFER_BYTES = 256 << 10
_BACKLOG = 128
_PAUSE_SECONDS = 0.1
_ROOM_SECONDS = 2.0
MOST_CONNECTIONS = 16
"""Default limit of simultaneous connections through one gate."""


_reserved: list[socket.socket] = []


def reserve(count: int) -> list[int]:
    """Bind ports for future gates. The walls have to know them, so this comes first."""
    _reserved.extend(_bound() for _ in range(count))
    return [listener.getsockname()[1] for listener in _reserved]


def _bound() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server, and how patient to be with it; times in seconds.

    ``connect_timeout`` covers the connection and the first byte that arrives over it. The other
    times are TCP's keepalive, and how long sent bytes may stay unacknowledged.
    """

    address: Address
    connect_timeout: float = 5.0
    keepalive_idle: int = 30
    keepalive_interval: int = 10
    keepalive_count: int = 3
    user_timeout: int = 60

    def connect(self) -> socket.socket:
        """Return a connection whose time-out is ``connect_timeout``. Raises ``OSError``."""
        if self.address.is_socket:
            return self._connect_unix()
        connection = socket.create_connection(
            (self.address.host, self.address.port), self.connect_timeout
        )
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", self.keepalive_idle),
            ("TCP_KEEPINTVL", self.keepalive_interval),
            ("TCP_KEEPCNT", self.keepalive_count),
            ("TCP_USER_TIMEOUT", self.user_timeout * 1000),
        ):
            option = getattr(socket, name, None)  # only Linux has all of them
            if option is not None and value:
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
        return connection

    def _connect_unix(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(self.connect_timeout)
            connection.connect(self.address.host)
        except BaseException:
            connection.close()
            raise
        return connection


class Gate:
    """A gate, closed at first.

    ``on_break`` is called from any thread when the server ends a connection, or when a connection
    to it cannot be made.
    """

    def __init__(
        self,
        upstream: Upstream,
        on_break: Callable[[], None] = lambda: None,
        most: int = MOST_CONNECTIONS,
    ) -> None:
        self.crowded = 0.0
        """When it last refused a connection because there were ``most`` already; monotonic."""
        self._upstream = upstream
        self._room = threading.Semaphore(most)
        self._on_break = on_break
        self._listener = _reserved.pop() if _reserved else _bound()
        self._listener.listen(_BACKLOG)
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._shut = False

    @property
    def port(self) -> int:
        """Return the port on which it listens, on 127.0.0.1."""
        port: int = self._listener.getsockname()[1]
        return port

    def waited_for(self, seconds: float) -> bool:
        """Return whether a client waits at the closed gate, or comes within that time."""
        return bool(select.select([self._listener], [], [], seconds)[0])

    def open(self) -> None:
        """Let in the clients that wait, and all that come later."""
        threading.Thread(target=self._accept, name=f"gate-{self.port}", daemon=True).start()

    def shut(self) -> None:
        """End all connections, and refuse new ones."""
        with self._lock:
            self._shut = True
            links = list(self._links)
        with contextlib.suppress(OSError):  # wakes the accept
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for link in links:
            link.cut()

    def cut_waiting(self, since: float) -> int:
        """End the connections that wait for an answer to a question asked after ``since``.

        ``since`` is monotonic. Returns the number of connections.
        """
        with self._lock:
            waiting = [link for link in self._links if (link.asked or 0.0) > since]
        for link in waiting:
            link.cut()
        return len(waiting)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                if self._shut:
                    return
                log.exception("a gate cannot accept a connection")
                time.sleep(_PAUSE_SECONDS)
                continue
            try:
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()
            except RuntimeError:
                log.exception("no thread for a connection through a gate")
                client.close()

    def _serve(self, client: socket.socket) -> None:
        if not self._room.acquire(timeout=_ROOM_SECONDS):
            self.crowded = time.monotonic()
            client.close()
            return
        try:
            self._pass_on(client)
        finally:
            self._room.release()

    def _pass_on(self, client: socket.socket) -> None:
        try:
            server = self._upstream.connect()
        except OSError:
            client.close()
            self._on_break()
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(client, server)
        with self._lock:
            refused = self._shut
            self._links.add(link)
        if refused:
            link.cut()
        link.run(self._on_break)
        with self._lock:
            self._links.discard(link)


class _Link:
    """A connection through a gate: two sockets, and a thread for each direction."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._client = client
        self._server = server
        self._client_left = False
        self.asked: float | None = None
        """Since when the server owes an answer; monotonic."""

    def run(self, on_break: Callable[[], None]) -> None:
        """Pass bytes until one side ends; ``on_break`` is called before the client sees the end."""
        upward = threading.Thread(target=self._up, daemon=True)
        upward.start()
        try:
            self._down()
            if not self._client_left:
                on_break()
        finally:
            self.cut()
            upward.join()
            self._client.close()
            self._server.close()

    def cut(self) -> None:
        """End both connections."""
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _up(self) -> None:
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        try:
            while count := self._received(buffer):
                self.asked = time.monotonic()
                self._server.sendall(buffer[:count])
        except OSError:
            pass
        finally:
            with contextlib.suppress(OSError):  # wakes the other direction, which does the rest
                self._server.shutdown(socket.SHUT_RDWR)

    def _received(self, buffer: memoryview) -> int:
        """Return how many bytes came from the client; 0 when it has left."""
        try:
            count = self._client.recv_into(buffer)
        except OSError:
            count = 0
        self._client_left = not count
        return count

    def _down(self) -> None:
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        try:
            while count := self._server.recv_into(buffer):
                self.asked = None
                self._server.settimeout(None)  # after its first answer it may take its time
                self._client.sendall(buffer[:count])
        except OSError:
            pass
