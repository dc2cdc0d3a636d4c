"""Calls between processes of one deployment: functions over a Unix socket.

The caller shows a key first, and nothing that a stranger sends is unpickled. The sockets are in a
folder that nobody else can read; ``/proc`` gives it a name short enough for a socket's address.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_MOST_KEY = 64


class Desk:
    """Answers calls at ``folder``/``name`` with functions; one thread per caller."""

    def __init__(
        self, folder: Path, name: str, key: bytes, services: Mapping[str, Callable[..., object]]
    ) -> None:
        (folder / name).unlink(missing_ok=True)  # left by one that has crashed
        self._key = key
        self._services = services
        with _short(folder) as short:
            self._listener = Listener(f"{short}/{name}", "AF_UNIX", backlog=64)
        threading.Thread(target=self._accept, name="desk", daemon=True).start()

    def close(self) -> None:
        """Take no more calls."""
        with contextlib.suppress(OSError):
            self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with connection, contextlib.suppress(EOFError, OSError):
            if not hmac.compare_digest(connection.recv_bytes(_MOST_KEY), self._key):
                return
            while True:
                name, arguments, named = pickle.loads(connection.recv_bytes())  # noqa: S301  the key came first
                try:
                    answer = True, self._services[name](*arguments, **named)
                except Exception as error:  # noqa: BLE001  it is raised where it was asked
                    answer = False, error
                connection.send_bytes(pickle.dumps(answer))


class Asker:
    """Calls a desk's functions. Safe to use from many threads.

    ``timeout``: seconds for an answer.
    """

    def __init__(
        self, folder: Path, name: str, key: bytes, *, timeout: float | None = None
    ) -> None:
        self._folder = folder
        self._name = name
        self._key = key
        self._timeout = timeout
        self._idle: deque[Connection] = deque()

    def ask(
        self, method: Callable[Concatenate[Any, P], T], *arguments: P.args, **named: P.kwargs
    ) -> T:
        """Return the result, or raise the exception, of the desk's function named like ``method``.

        Raises ``OSError`` or ``EOFError`` if nobody answers.
        """
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            connection.send_bytes(pickle.dumps((method.__name__, arguments, named)))
            if self._timeout is not None and not connection.poll(self._timeout):
                raise TimeoutError  # noqa: TRY301
            done, answer = pickle.loads(connection.recv_bytes())  # noqa: S301  our own desk
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        if not done:
            raise answer
        found: T = answer
        return found

    def close(self) -> None:
        """Close the connections that are not in use."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _connect(self) -> Connection:
        with _short(self._folder) as short:
            connection = Client(f"{short}/{self._name}", "AF_UNIX")
        connection.send_bytes(self._key)
        return connection


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
