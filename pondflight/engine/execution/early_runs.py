"""Queries that run before their rows are asked for (``control.PROMISE_HEADER``)."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from pondflight.engine.execution.cursors import Cursor
from pondflight.engine.execution.early_rows import MOST_BYTES, QUICK_SECONDS, EarlyRows
from pondflight.engine.execution.executor import Executor
from pondflight.engine.execution.sessions import Session
from pondflight.engine.guards.callers import Call
from pondflight.engine.guards.journal import Entry
from pondflight.engine.sql.statement import Statement
from pondflight.errors import PondflightError


@dataclass(frozen=True, slots=True)
class EarlyRun:
    """The schema and all rows of a query, and the journal entry to write once they are fetched."""

    schema: pa.Schema
    batches: Sequence[pa.RecordBatch]
    entry: Entry

    def stream(self) -> bytes:
        """Return the rows as an Arrow stream."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.schema) as writer:
            for batch in self.batches:
                writer.write_batch(batch)
        data: bytes = sink.getvalue().to_pybytes()
        return data


class EarlyRuns:
    """Runs queries early, if ``early_rows`` knows them and ``may_promise`` allows the call."""

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        executor: Executor,
        may_promise: Callable[[Call], bool],
    ) -> None:
        self._known = EarlyRows(database)
        self._executor = executor
        self._may_promise = may_promise
        self.forget = self._known.forget

    def ran(self, session: Session, text: str, seconds: float, rows: int) -> None:
        """Record a whole run of ``text`` in a session."""
        self._known.ran(_owner(session), text, seconds, rows)

    def run(self, call: Call, session: Session, statement: Statement) -> EarlyRun | None:
        """Run ``statement`` before its rows are asked for; return ``None`` if it must wait.

        Inside ``use`` of the session's cursor. What fails or takes long is left for then; in a
        transaction, which either would abort, nothing is run early.
        """
        cursor, owner = session.cursor, _owner(session)
        wanted = call.identity.wants_promise and statement.lazy and not cursor.in_transaction
        if not (wanted and self._known.may_run(cursor.connection, owner, statement)):
            return None
        if not self._may_promise(call):
            return None
        entry = Entry(statement.text, statement.kind, call)
        interrupt = _Interrupt(cursor)
        call.alarm(QUICK_SECONDS, interrupt)
        try:
            with closing(self._executor.rows(cursor, call, statement, None)) as result:
                batches = result.all(MOST_BYTES)
        except (PondflightError, duckdb.Error, OSError):
            call.raise_if_cancelled()
            batches = None
        finally:
            interrupt.over()
            call.alarm(math.inf, interrupt)
        if batches is None or entry.running > QUICK_SECONDS:
            self._known.drop(owner, statement.text)
        if batches is None:
            return None
        rows = result.count
        entry.rows = lambda: rows
        return EarlyRun(result.schema, batches, entry)


class _Interrupt:
    """Interrupts a cursor when it is called, but not once what runs is ``over``."""

    def __init__(self, cursor: Cursor) -> None:
        self._connection = cursor.connection
        self._lock = threading.Lock()
        self._over = False

    def __call__(self) -> None:
        with self._lock:
            if not self._over:
                self._connection.interrupt()

    def over(self) -> None:
        """Whatever runs from now on is something else."""
        with self._lock:
            self._over = True


def _owner(session: Session) -> str | None:
    return None if session.passing else session.id
