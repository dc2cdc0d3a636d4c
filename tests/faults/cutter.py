"""A TCP proxy that breaks connections: closed, reset or silent after so many bytes."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Literal

Kind = Literal["close", "reset", "stall"]
_RESET = struct.pack("ii", 1, 0)


class Cutter:
    """Forwards to ``port`` of this machine, until it is told to cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._lock = threading.Lock()
        self._left: int | None = None
        self._kind: Kind = "close"
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, after: int, kind: Kind) -> None:
        """Break every connection when so many bytes more have been forwarded, either way."""
        with self._lock:
            self._left, self._kind = after, kind

    def disarm(self) -> None:
        """Break what is silent, and forward what comes from now on."""
        with self._lock:
            stalled = self._left is not None and self._left < 0
            self._left = None
        if stalled:
            self._break_all(reset=True)

    def close(self) -> None:
        """Break everything and listen no more."""
        self._listener.close()
        self._break_all(reset=True)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                with self._lock:
                    self._open |= {client, server}
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(16384):
                passed, broken = self._count(data)
                target.sendall(passed)
                if broken == "stall":
                    continue  # read, and never passed on
                if broken is not None:
                    self._break_all(reset=broken == "reset")
                    return
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._open.discard(end)
            end.close()

    def _count(self, data: bytes) -> tuple[bytes, Kind | None]:
        """What of ``data`` still gets through, and how the connection breaks, if it does."""
        with self._lock:
            if self._left is None:
                return data, None
            passed = data[: max(0, self._left)]
            self._left -= len(data)
            return passed, self._kind if self._left < 0 else None

    def _break_all(self, *, reset: bool) -> None:
        with self._lock:
            if self._kind != "stall":
                self._left = None
            victims, self._open = self._open, set()
        for victim in victims:
            with suppress(OSError):
                if reset:
                    victim.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                victim.shutdown(socket.SHUT_RDWR)
            victim.close()
