"""FlightInfos that came with a prepared statement, kept for the client that asks for them next.

Nearly every client prepares a query, asks for its FlightInfo at once, and runs it once. The worker
knows that FlightInfo when it prepares the statement, so it sends it along, and the second of the
three calls is answered here. What is older than a moment is asked of the worker again, since the
tables may be others by then.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pyarrow import flight

from pondflight.errors import PondflightError
from pondflight.flightsql import commands as c
from pondflight.flightsql.decoding import decode_command

SECONDS: Final = 0.25
"""How long a FlightInfo is good for."""

_MOST: Final = 1024
_LONGEST: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class _Promise:
    info: bytes
    session: str
    until: float


class Promises:
    """FlightInfos that came with a prepare, by worker and handle; each is given out once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, bytes], _Promise] = OrderedDict()

    def keep(self, worker: str, session: str, answer: Sequence[bytes]) -> list[bytes]:
        """What the client gets of a worker's answer to CreatePreparedStatement.

        ``worker`` is the key of whose worker it is, ``session`` the one that prepared.
        """
        prepared, *more = answer
        for data in more:
            handle = _handle(data)
            if handle is None or len(data) > _LONGEST:
                continue
            promise = _Promise(data, session, time.monotonic() + SECONDS)
            with self._lock:
                self._kept[worker, handle] = promise
                self._kept.move_to_end((worker, handle))
                if len(self._kept) > _MOST:
                    self._kept.popitem(last=False)
        return [prepared]

    def forget(self, worker: str) -> None:
        """Something has run in the worker that may have changed what its tables are."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == worker]:
                del self._kept[key]

    def take(self, worker: str, session: str, handle: bytes) -> flight.FlightInfo | None:
        """The FlightInfo of a handle, if it is here, still good, and this session's."""
        with self._lock:
            promise = self._kept.pop((worker, handle), None)
        if promise is None or promise.until < time.monotonic():
            return None
        if promise.session not in ("", session):
            return None
        return flight.FlightInfo.deserialize(promise.info)


def _handle(data: bytes) -> bytes | None:
    """Return the prepared statement's handle in a FlightInfo; None if there is none."""
    try:
        command = decode_command(flight.FlightInfo.deserialize(data).descriptor.command)
    except (PondflightError, ValueError, TypeError):  # TypeError: a path has no command
        return None
    return (
        command.prepared_statement_handle if isinstance(command, c.PreparedStatementQuery) else None
    )
