"""Ends a response that another thread may be waiting on.

Closing a socket does not wake up whoever reads from it; shutting it down does.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any


def hang_up(response: Any) -> None:
    """Break off an httpx2 response that streams; from any thread."""
    stream = response.extensions.get("network_stream")
    sock = stream.get_extra_info("socket") if stream is not None else None
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError, ValueError):
            sock.shutdown(socket.SHUT_RDWR)
