"""Ports for servers of the tests' own."""

from __future__ import annotations

import random
import socket

# Below those that the system gives to connections, or one of these takes it in the meantime.
_RANGE = range(10_000, 32_000)


def free_ports(number: int, host: str = "127.0.0.1") -> list[int]:
    """Different ports that nothing listens on just now."""
    found: list[int] = []
    while len(found) < number:
        port = random.choice(_RANGE)
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found
