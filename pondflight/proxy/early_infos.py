"""FlightInfos and rows that came before they were asked for, kept for the client's next call.

Nearly every client prepares a query, asks for its FlightInfo at once, and runs it once. The worker
knows that FlightInfo when it prepares the statement, and of a query that is quick and steady it
knows the rows as well (``control.PROMISE_HEADER``). So what comes next is answered here, if it
comes as clients send it: by the command and the ticket that the worker has named, byte for byte.
What is older than a moment is asked of the worker again, and so is all that was known before, or
learnt while, something ran there that may have changed what its tables are.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import pyarrow as pa
from pyarrow import flight

from pondflight import control
from pondflight.errors import Internal, PondflightError
from pondflight.flightsql import validity
from pondflight.proxy.changes import Changes, Seen

SECONDS: Final = 0.25
"""Seconds for which a FlightInfo is valid."""

ROWS_SECONDS: Final = control.PROMISE_SECONDS

_MOST: Final = 1024
_LONGEST: Final = 96 << 10
_MOST_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Since:
    """When a worker was asked, and how many changes there had been by then."""

    asked: float
    seen: Seen


@dataclass(frozen=True, slots=True)
class _Promise:
    """A FlightInfo, or rows."""

    info: flight.FlightInfo | None
    rows: bytes
    session: str
    since: Since
    size: int


@dataclass(frozen=True, slots=True)
class EarlyRows:
    """The rows of a query that ran early; ``key`` is their name at the worker."""

    key: str
    table: pa.Table


class Promises:
    """What came early, by worker and command or ticket; each is given out once.

    ``worker`` is the key of the worker's user, ``session`` that of the call.
    """

    def __init__(self, changes: Changes | None = None) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, bytes], _Promise] = OrderedDict()
        self._bytes = 0
        self._changes = changes or Changes()

    def since(self, worker: str) -> Since:
        """Note the time and the changes before a worker is asked."""
        return Since(time.monotonic(), self._changes.seen(worker))

    def changing(self, worker: str, session: str) -> Change:
        """Wrap a call that may change tables: what came before or meanwhile is not used."""
        return Change(self, self._changes, worker, session)

    def keep(self, worker: str, session: str, answer: Sequence[bytes], since: Since) -> list[bytes]:
        """Return the client's part of a worker's answer to CreatePreparedStatement.

        The rest is kept here.
        """
        prepared, *more = answer
        if more:
            try:
                info = flight.FlightInfo.deserialize(more[0])
                command = info.descriptor.command
                if not info.app_metadata:  # an older worker's rows
                    self._put(worker, command, _Promise(info, b"", session, since, len(more[0])))
                    if len(more) > 1:
                        self.keep_rows(worker, session, info, more[1], since)
            except (ValueError, TypeError):  # TypeError: a path has no command
                pass
        return [prepared]

    def keep_rows(
        self, worker: str, session: str, info: flight.FlightInfo, rows: bytes, since: Since
    ) -> None:
        """Keep the rows of the one ticket in ``info``."""
        if len(info.endpoints) == 1:
            ticket = info.endpoints[0].ticket.ticket
            self._put(worker, ticket, _Promise(None, rows, session, since, len(rows)))

    def take(self, worker: str, session: str, command: bytes) -> flight.FlightInfo | None:
        """Return the FlightInfo of a command, if it is here, still good, and this session's."""
        promise = self._pop(worker, session, command, SECONDS)
        return None if promise is None else promise.info

    def rows(self, worker: str, session: str, ticket: bytes) -> EarlyRows | None:
        """Return the rows of a ticket, if they are here, still valid, and this session's."""
        promise = self._pop(worker, session, ticket, ROWS_SECONDS)
        if promise is None or promise.info is not None:
            return None
        key, data = promise.rows[: control.PROMISE_ID], promise.rows[control.PROMISE_ID :]
        try:
            table = pa.ipc.open_stream(data).read_all()
            for batch in table.to_batches():
                validity.check(batch, text=False)
            return EarlyRows(key.decode("ascii"), table)
        except (pa.ArrowException, OSError, ValueError, PondflightError) as error:
            raise Internal("the worker sent damaged data") from error

    def _put(self, worker: str, key: bytes, promise: _Promise) -> None:
        if promise.size > _LONGEST:
            return
        oldest = time.monotonic() - SECONDS
        with self._lock:
            self._drop((worker, key))
            self._kept[worker, key] = promise
            self._bytes += promise.size
            while self._kept:
                first = next(iter(self._kept))
                fits = len(self._kept) <= _MOST and self._bytes <= _MOST_BYTES
                if fits and self._kept[first].since.asked >= oldest:
                    return
                self._drop(first)

    def _pop(self, worker: str, session: str, key: bytes, seconds: float) -> _Promise | None:
        with self._lock:
            promise = self._drop((worker, key))
        if promise is None or promise.since.asked < time.monotonic() - seconds:
            return None
        if not self._changes.none_since(promise.since.seen):
            return None
        return promise if promise.session in ("", session) else None

    def _drop(self, key: tuple[str, bytes]) -> _Promise | None:
        promise = self._kept.pop(key, None)
        if promise is not None:
            self._bytes -= promise.size
        return promise


class Change:
    """A call that may change tables, while inside."""

    def __init__(self, promises: Promises, changes: Changes, worker: str, session: str) -> None:
        self._promises = promises
        self._changes = changes
        self._worker = worker
        self._session = session
        self._since = Since(time.monotonic(), changes.begin(worker))
        self._only_reads = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._changes.end(self._since.seen.place, changed=not self._only_reads)

    def told(self) -> None:
        """Note that the client is about to see the changes before the call ends."""
        self._changes.note(self._since.seen.place)

    def answered(self, info: flight.FlightInfo) -> flight.FlightInfo:
        """Return the client's part of a worker's FlightInfo. One with rows has changed nothing."""
        rows: bytes = info.app_metadata
        self._only_reads = bool(rows)
        if not rows:
            return info
        bare = flight.FlightInfo(
            info.schema, info.descriptor, info.endpoints, info.total_records, info.total_bytes
        )
        self._promises.keep_rows(self._worker, self._session, bare, rows, self._since)
        return bare
