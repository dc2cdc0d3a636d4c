"""The lifeline: a pipe from a process to its child. The child ends when the pipe does.

It ends with the process that holds the other end, however that goes. What the child has to be told
at its start comes first, as one line.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable


def first_line() -> bytes:
    """Read what the parent says first; exit if it is gone already.

    Byte by byte: a buffer would swallow the rest of the pipe, which is the lifeline.
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
