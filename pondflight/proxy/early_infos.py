"""FlightInfos and rows that came before they were asked for, kept for the client's next call.

Nearly every client prepares a query, asks for its FlightInfo at once, and runs it once. The worker
knows that FlightInfo when it prepares the statement; for a query that is quick and steady, it knows
the rows as well (``control.PROMISE_HEADER``). So the client's next calls are answered here. Answers
that are not fresh are requested from the worker again, and so is everything learnt before or while
something ran there that may have changed its tables.
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
from pondflight.flightsql import commands as c
from pondflight.flightsql import validity
from pondflight.flightsql.decoding import decode_command

SECONDS: Final = 0.25
"""Seconds for which a FlightInfo is valid."""

ROWS_SECONDS: Final = control.PROMISE_SECONDS

_MOST: Final = 1024
_LONGEST: Final = 96 << 10
_MOST_BYTES: Final = 16 << 20


@dataclass(eq=False, slots=True)
class _Changes:
    """Changes to the tables of one worker: how many calls began or ended, and how many run now."""

    number: int = 0
    running: int = 0


@dataclass(frozen=True, slots=True)
class Since:
    """When a worker was asked, and how many changes there had been by then."""

    asked: float
    changes: _Changes
    number: int

    @property
    def holds(self) -> bool:
        """Return whether nothing has changed since, nor is about to."""
        return self.number == self.changes.number and not self.changes.running


@dataclass(frozen=True, slots=True)
class _Promise:
    info: flight.FlightInfo
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
    """What came early, by worker and handle or ticket; each is given out once.

    ``worker`` is the key of the worker's user, ``session`` that of the call.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, bytes], _Promise] = OrderedDict()
        self._bytes = 0
        self._changes: dict[str, _Changes] = {}

    def since(self, worker: str, *, changes: bool = False) -> Since:
        """Note the time and the changes before a worker is asked.

        ``changes``: the call may change tables, until ``end``.
        """
        with self._lock:
            found = self._changes.get(worker)
            if found is None:
                if len(self._changes) >= _MOST:
                    self._changes = {k: one for k, one in self._changes.items() if one.running}
                found = self._changes[worker] = _Changes()
            found.number += changes
            found.running += changes
            return Since(time.monotonic(), found, found.number)

    def changing(self, worker: str, session: str) -> Change:
        """Wrap a call that may change tables: what came before or meanwhile is not used."""
        return Change(self, worker, session, self.since(worker, changes=True))

    def changed(self, changes: _Changes, *, ends: bool = False) -> None:
        """Note that tables may have changed, and that a client is about to know.

        ``ends``: the change is over.
        """
        with self._lock:
            changes.number += 1
            changes.running -= ends

    def unchanged(self, changes: _Changes) -> None:
        """Note that a call that might have changed tables has ended, and has not."""
        with self._lock:
            changes.running -= 1

    def keep(self, worker: str, session: str, answer: Sequence[bytes], since: Since) -> list[bytes]:
        """Return the client's part of a worker's answer to CreatePreparedStatement.

        The rest is kept here.
        """
        prepared, *more = answer
        for data in more:
            try:
                info = flight.FlightInfo.deserialize(data)
                command = decode_command(info.descriptor.command)
            except (PondflightError, ValueError, TypeError):  # TypeError: a path has no command
                continue
            if isinstance(command, c.PreparedStatementQuery):
                handle = command.prepared_statement_handle
                info = self.keep_rows(worker, session, info, since)
                self._put(worker, handle, _Promise(info, b"", session, since, len(data)))
        return [prepared]

    def keep_rows(
        self, worker: str, session: str, info: flight.FlightInfo, since: Since
    ) -> flight.FlightInfo:
        """Return ``info`` without the rows that came with it, if any did; keep those."""
        rows: bytes = info.app_metadata
        if not rows or len(info.endpoints) != 1:
            return info
        (endpoint,) = info.endpoints
        bare = flight.FlightInfo(
            info.schema, info.descriptor, [endpoint], info.total_records, info.total_bytes
        )
        promise = _Promise(bare, rows, session, since, len(rows))
        self._put(worker, endpoint.ticket.ticket, promise)
        return bare

    def take(self, worker: str, session: str, handle: bytes) -> flight.FlightInfo | None:
        """Return the FlightInfo of a handle, if it is here, still valid, and this session's."""
        promise = self._pop(worker, session, handle, SECONDS)
        return None if promise is None else promise.info

    def rows(self, worker: str, session: str, ticket: bytes) -> EarlyRows | None:
        """Return the rows of a ticket, if they are here, still valid, and this session's."""
        promise = self._pop(worker, session, ticket, ROWS_SECONDS)
        if promise is None:
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
            if self._changes.get(worker) is not promise.since.changes:
                return
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
            if promise is None or not promise.since.holds:
                return None
        if promise.since.asked < time.monotonic() - seconds:
            return None
        return promise if promise.session in ("", session) else None

    def _drop(self, key: tuple[str, bytes]) -> _Promise | None:
        promise = self._kept.pop(key, None)
        if promise is not None:
            self._bytes -= promise.size
        return promise


class Change:
    """A call that may change tables, while inside."""

    def __init__(self, promises: Promises, worker: str, session: str, since: Since) -> None:
        self._promises = promises
        self._worker = worker
        self._session = session
        self._since = since
        self._only_reads = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._only_reads:
            self._promises.unchanged(self._since.changes)
        else:
            self._promises.changed(self._since.changes, ends=True)

    def told(self) -> None:
        """Note that the client is about to see the changes before the call ends."""
        self._promises.changed(self._since.changes)

    def answered(self, info: flight.FlightInfo) -> flight.FlightInfo:
        """Return the client's part of a worker's FlightInfo. One with rows has changed nothing."""
        self._only_reads = bool(info.app_metadata)
        return self._promises.keep_rows(self._worker, self._session, info, self._since)
