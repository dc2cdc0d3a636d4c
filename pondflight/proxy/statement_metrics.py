"""Counts each call and each statement once, with its outcome.

A statement ends with the call that sends its last row, or with the call that fails, even if that
only prepares it. A statement whose rows nobody fetches is not counted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Final

import pyarrow as pa

from pondflight.errors import Cancelled, PondflightError
from pondflight.flightsql import commands as c
from pondflight.proxy.callers import Call
from pondflight.telemetry import metrics

_KINDS: Final[dict[type, str]] = {
    c.CreatePreparedStatement: "query",
    c.StatementQuery: "query",
    c.PreparedStatementQuery: "query",
    c.StatementTicket: "query",
    c.StatementUpdate: "update",
    c.PreparedStatementUpdate: "update",
    c.StatementIngest: "ingest",
}

# Cached per set of labels: prometheus_client's look-up takes longer than counting.
_statements = cache(metrics.STATEMENTS.labels)
_statement_seconds = cache(metrics.STATEMENT_SECONDS.labels)
_relay_seconds = cache(metrics.RELAY_SECONDS.labels)


class Statement:
    """Counted when ``call`` ends; unless all went well and it ``goes_on`` in another call.

    ``command``: the type of what it was sent as.
    """

    def __init__(self, call: Call, command: type, *, goes_on: bool = False) -> None:
        self._goes_on = goes_on
        self._started = call.started
        self._kind = _KINDS.get(command, "catalog")
        call.on_done(self._ended)

    def has_run(self, *, rows_to_come: bool) -> None:
        """Record that a statement sent as a query has run: without rows, it is an update."""
        self._goes_on = rows_to_come
        if not rows_to_come:
            self._kind = "update"

    def _ended(self, error: PondflightError | None) -> None:
        if error is None and self._goes_on:
            return
        _statements(self._kind, _outcome(error)).inc()
        _statement_seconds(self._kind).observe(time.monotonic() - self._started)


def _outcome(error: PondflightError | None) -> str:
    if error is None:
        return "ok"
    return "cancelled" if isinstance(error, Cancelled) else "error"


def answered(call: Call) -> None:
    """Note that the worker has given its first answer to a call."""
    _relay_seconds(call.method).observe(time.monotonic() - call.started)


def sent(batch: pa.RecordBatch | pa.Table) -> None:
    """Count a batch that is sent to a client."""
    metrics.RESULT_ROWS.inc(batch.num_rows)
    metrics.RESULT_BYTES.inc(batch.nbytes)


def received(batch: pa.RecordBatch | None) -> None:
    """Count a batch that a client has sent."""
    if batch is not None:
        metrics.INGEST_ROWS.inc(batch.num_rows)
        metrics.INGEST_BYTES.inc(batch.nbytes)


def by_rpc(calls: Iterable[Call]) -> dict[str, int]:
    """Return the number of running calls for each RPC."""
    return dict(Counter(call.method for call in calls))
