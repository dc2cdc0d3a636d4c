"""The lifeline: a pipe from a process to its child, with which the child ends.

The pipe ends with the process that holds its other end, however that process ends. The first line
in it is what the child has to know at its start.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable


def first_line() -> bytes:
    """Return the parent's first line; exit if the parent is gone already.

    It is read byte by byte: a buffer would swallow the rest of the pipe, which is the lifeline.
    """
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(1)
        line += byte
    return bytes(line)


def on_end(callback: Callable[[], None]) -> None:
    """Call ``callback`` in a thread when the lifeline ends."""

    def hold() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        callback()

    threading.Thread(target=hold, name="lifeline", daemon=True).start()
