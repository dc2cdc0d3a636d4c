"""Tells systemd (``Type=notify``) that ``serve`` is ready, and that it is stopping."""

from __future__ import annotations

import contextlib
import os
import socket

READY = "READY=1"
STOPPING = "STOPPING=1"


class Notifier:
    """Writes to the socket that systemd names in ``NOTIFY_SOCKET``, if it names one.

    The variable is removed from the environment, so that no child reports as the service.
    """

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")

    def tell(self, state: str) -> None:
        """Send ``READY`` or ``STOPPING``; do nothing if the socket is gone."""
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):  # an abstract name of Linux, in no file system
            address = "\0" + address[1:]
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client,
        ):
            client.sendto(state.encode(), address)
