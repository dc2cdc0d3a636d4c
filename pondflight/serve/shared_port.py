"""A port on which several processes listen together, although pyarrow forbids it.

Linux distributes connections over all sockets that listen on a port if each had SO_REUSEPORT before
it was bound. gRPC would set that, but pyarrow tells it not to, and no option of pyarrow changes it.
So the one system call after which it is too late, ``bind``, is made to wait (seccomp's user
notification, Linux 5.5) until the option is set. The filter applies only to the thread that makes
the server, and to its children.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

T = TypeVar("T")

_SECCOMP, _BIND = {"x86_64": (317, 49), "aarch64": (277, 200)}.get(os.uname().machine, (0, 0))
_NO_NEW_PRIVS: Final = 38
_SET_FILTER, _NEW_LISTENER = 1, 8
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CALL: Final = struct.Struct("QIIiIQQ")
"""id, thread, flags, number, architecture, instruction, first argument: a descriptor."""
_NOTIFICATION_BYTES: Final = 80
_ANSWER: Final = struct.Struct("QqiI")
_GO_ON: Final = 1


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def listening(make: Callable[[], T]) -> T:
    """Return what ``make`` returns; sockets that it binds meanwhile share their ports.

    Raises what ``make`` raises, or ``OSError`` if the system does not support it.
    """
    made: Future[T] = Future()

    def run() -> None:
        try:
            calls = _filter_bind()
            threading.Thread(target=_answer, args=(calls,), name="shared-port", daemon=True).start()
            made.set_result(make())
        except BaseException as error:  # noqa: BLE001  it is raised where somebody waits for it
            made.set_exception(error)

    threading.Thread(target=run, name="shared-port-maker").start()
    return made.result()


def check() -> None:
    """Raise ``OSError`` if ports cannot be shared here."""

    def bound() -> bool:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return bool(probe.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))

    if not listening(bound):
        raise OSError("a socket was bound without SO_REUSEPORT")


def _filter_bind() -> int:
    """Make ``bind`` in this thread wait for an answer; return the descriptor for the answers."""
    if not _SECCOMP:
        raise OSError(f"not known for {os.uname().machine}")
    code = b"".join(
        struct.pack("HBBI", *line)
        for line in (
            (_LOAD, 0, 0, 0),
            (_EQUAL, 0, 1, _BIND),
            (_RETURN, 0, 0, _NOTIFY),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)  # otherwise only root may set a filter
    program = _Program(len(code) // 8, code)
    calls: int = libc.syscall(_SECCOMP, _SET_FILTER, _NEW_LISTENER, ctypes.byref(program))
    if calls < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return calls


def _answer(calls: int) -> None:
    """Set the option on each socket that is to be bound, until no thread has the filter."""
    poll = select.poll()
    poll.register(calls, select.POLLIN)
    own = os.getpid()
    while poll.poll()[0][1] & select.POLLIN:
        asked = bytearray(_NOTIFICATION_BYTES)
        try:
            fcntl.ioctl(calls, _RECEIVE, asked)
            number, thread, *_, descriptor = _CALL.unpack_from(asked)
            if os.path.exists(f"/proc/{own}/task/{thread}"):  # noqa: PTH110  not of a child
                _share(descriptor)
            fcntl.ioctl(calls, _SEND, _ANSWER.pack(number, 0, 0, _GO_ON))
        except OSError:  # the thread has ended meanwhile
            continue
    os.close(calls)


def _share(descriptor: int) -> None:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:  # a kind of socket without ports, which may be bound as it is
        return
