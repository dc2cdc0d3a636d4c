"""Statements: described, run once, and their rows fetched.

What only reads is run when its rows are fetched: its ticket carries the SQL, so a FlightInfo
that nobody follows costs nothing. What has an effect is run at once and exactly once, when the
FlightInfo is asked for or the update is put; rows that it returns are kept until fetched.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa

from pondflight.engine import parameters, sql
from pondflight.engine.describe import Describer
from pondflight.engine.duck import quote
from pondflight.engine.handles import INLINE_PARAMETERS, Handle
from pondflight.engine.journal import Journal
from pondflight.engine.kept import Kept
from pondflight.engine.lanes import Lane, Rows, reader_of
from pondflight.engine.parameters import Values
from pondflight.engine.sessions import Sessions
from pondflight.engine.sql import Statement
from pondflight.errors import InvalidArgument, NotFound, SqlError
from pondflight.flightsql import Call, PreparedStatement, ResultStream
from pondflight.flightsql.status import leaf_of
from pondflight.flightsql.streams import Result

COUNT_SCHEMA = pa.schema([pa.field("Count", pa.int64())])
EMPTY_SCHEMA = pa.schema([])


@dataclass(frozen=True, slots=True)
class Plan:
    """What a FlightInfo says: ``ticket`` is None where there is nothing to fetch."""

    schema: pa.Schema
    ticket: Handle | None
    total_records: int = -1


class Statements:
    """Runs SQL strings in sessions."""

    def __init__(
        self, database: duckdb.DuckDBPyConnection, sessions: Sessions, journal: Journal
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._journal = journal
        self._describer = Describer()
        self._bound: Kept[pa.Table] = Kept()
        self._results: Kept[Rows] = Kept()

    def forget(self, session: str) -> None:
        """The session has ended."""
        self._bound.drop_session(session)
        self._results.drop_session(session)

    # -- before running -----------------------------------------------------------------------

    def parse(self, text: str) -> list[Statement]:
        """The statements of ``text``."""
        with self._database.cursor() as parser:
            return sql.parse(parser, text)

    def schema(
        self, call: Call, session: str, text: str, bound: pa.Table | None = None
    ) -> pa.Schema:
        """The result schema of ``text``; empty for what returns no rows."""
        return self._describe(call, session, self.parse(text), bound) or EMPTY_SCHEMA

    def prepare(
        self, call: Call, session: str, text: str, transaction: bytes | None
    ) -> PreparedStatement:
        """A handle for ``text``, and what clients need to know before they run it."""
        statements = self.parse(text)
        last = statements[-1]
        handle = Handle(
            id=secrets.token_hex(8), query=text, session=session, transaction=transaction
        )
        names = [name for statement in statements for name in statement.parameters]
        return PreparedStatement(
            handle=handle.encode(),
            dataset_schema=self._describe(call, session, statements, None),
            parameter_schema=pa.schema([pa.field(name, pa.string()) for name in names]),
            is_update=last.is_update,
        )

    def bind(self, session: str, handle: Handle, bound: pa.Table) -> Handle:
        """The handle that stands for the statement with these parameters.

        Old clients go on with the handle they have, so the session remembers as well.
        """
        self._bound.put(session, handle.id, bound)
        if bound.nbytes > INLINE_PARAMETERS:
            return replace(handle, parameters=None)
        return replace(handle, parameters=bound)

    def bound(self, session: str, handle: Handle) -> pa.Table | None:
        """The parameters that belong to the handle."""
        return handle.parameters or self._bound.get(session, handle.id)

    def close(self, session: str, handle: Handle) -> None:
        """Forget what is kept for the handle."""
        self._bound.pop(session, handle.id)

    def _describe(
        self, call: Call, session: str, statements: list[Statement], bound: pa.Table | None
    ) -> pa.Schema | None:
        last = statements[-1]
        if not last.returns_rows:
            return None
        values = _first(last, bound)
        with self._sessions.borrow(call, session) as lane, lane.use(call) as cursor:
            try:
                return self._describer.schema(cursor, last, values)
            except SqlError:
                if len(statements) > 1:  # it may need what the ones before it make
                    return None
                raise

    # -- for rows -----------------------------------------------------------------------------

    def plan(
        self,
        call: Call,
        session: str,
        text: str,
        bound: pa.Table | None,
        *,
        transaction: bytes | None = None,
        plain: bool = False,
    ) -> Plan:
        """Run what has to run now; promise the rows.

        ``plain``: the caller knows no Flight SQL, and expects an endpoint in any case.
        """
        *first, last = self.parse(text)
        if first and bound is not None:
            raise InvalidArgument("parameters can be bound to a single statement only")
        for statement in first:
            self._run_all(call, session, statement, None)
        if last.lazy:
            schema = self._describe(call, session, [last], bound)
            assert schema is not None
            if bound is not None and bound.nbytes > INLINE_PARAMETERS:
                handle = Handle(id=secrets.token_hex(8), query=last.text, session=session)
                self._bound.put(session, handle.id, bound)
            else:
                handle = Handle(query=last.text, session=session, parameters=bound)
            return Plan(schema, replace(handle, transaction=transaction))
        if last.returns_rows:
            rows = self._run_for_rows(call, session, last, bound)
            result = secrets.token_hex(8)
            self._results.put(session, result, rows)
            handle = Handle(session=session, result=result, transaction=transaction)
            return Plan(rows.schema, handle, rows.count)
        count = self._run_all(call, session, last, bound)
        if plain:
            return Plan(COUNT_SCHEMA, Handle(session=session, count=count), 1)
        return Plan(EMPTY_SCHEMA, None, count)

    def fetch(self, call: Call, session: str, handle: Handle) -> Result:
        """The rows behind a ticket."""
        if handle.count is not None:
            return pa.table([[handle.count]], schema=COUNT_SCHEMA)
        if handle.result is not None:
            rows = self._results.pop(session, handle.result)
            if rows is None:
                raise NotFound("unknown result: it was fetched before, or has expired")
            rows.adopt(call)
            return ResultStream(rows.schema, iter(rows))
        (statement,) = self.parse(handle.query)
        if not statement.lazy:
            raise NotFound("unknown ticket: only a FlightInfo gives tickets")
        runs = list(parameters.rows(statement, self.bound(session, handle)))
        first = self._stream(call, session, statement, runs[0])
        if len(runs) == 1:
            return ResultStream(first.schema, iter(first))

        def all_runs() -> Iterator[pa.RecordBatch]:
            yield from first
            for values in runs[1:]:
                yield from self._stream(call, session, statement, values)

        return ResultStream(first.schema, all_runs())

    def _stream(self, call: Call, session: str, statement: Statement, values: Values) -> Rows:
        entry = self._journal.begin(call, statement.text, statement.kind)
        lease = self._sessions.borrow(call, session, session_state=statement.session_state)
        try:
            with lease.lane.use(call) as cursor:
                cursor.execute(statement.text, values)
                rows = lease.lane.rows(call, reader_of(cursor))
        except BaseException as error:
            lease.release(clean=False)
            self._journal.end(entry, leaf_of(error))
            raise
        entry.rows = lambda: rows.sent
        rows.on_close(lambda: lease.release(clean=rows.drained))
        call.on_done(lambda _: rows.close())
        return rows

    # -- for effect ---------------------------------------------------------------------------

    def update(self, call: Call, session: str, text: str, bound: pa.Table | None) -> int:
        """Run ``text`` for its effect, once per bound row, all or nothing; rows affected."""
        *first, last = self.parse(text)
        if first and bound is not None and bound.num_columns:
            raise InvalidArgument("parameters can be bound to a single statement only")
        for statement in first:
            self._run_all(call, session, statement, None)
        return self._run_all(call, session, last, bound)

    def _run_all(
        self, call: Call, session: str, statement: Statement, bound: pa.Table | None
    ) -> int:
        with self._journal.during(call, statement.text, statement.kind) as entry:
            total = self._run_bound(call, session, statement, bound)
            entry.rows = lambda: total
            return total

    def _run_bound(
        self, call: Call, session: str, statement: Statement, bound: pa.Table | None
    ) -> int:
        lease = self._sessions.borrow(call, session, session_state=statement.session_state)
        with lease as lane, lane.use(call) as cursor:
            if bound is not None and bound.num_columns and bound.num_rows > 1:
                bulk = sql.bulk_insert(statement.text, len(statement.parameters))
                with lane.atomic():
                    if bulk is not None and bound.num_columns == len(statement.parameters):
                        return _bulk(cursor, bulk, bound)
                    runs = parameters.rows(statement, bound)
                    return sum(_run(lane, statement, values) for values in runs)
            total = 0
            for values in parameters.rows(statement, bound):
                total += _run(lane, statement, values)
            return total

    def _run_for_rows(
        self, call: Call, session: str, statement: Statement, bound: pa.Table | None
    ) -> Rows:
        entry = self._journal.during(call, statement.text, statement.kind)
        lease = self._sessions.borrow(call, session, session_state=statement.session_state)
        with entry as kept, lease as lane, lane.use(call) as cursor:
            (values, *more) = parameters.rows(statement, bound)
            if more:
                raise InvalidArgument(
                    "several rows of parameters cannot be bound to a statement that returns rows"
                )
            cursor.execute(statement.text, values)
            rows = lane.rows(call, reader_of(cursor))
            rows.set_aside()
            rows.raise_failure()
            kept.rows = lambda: rows.count
            return rows


def _run(lane: Lane, statement: Statement, values: Values) -> int:
    if statement.transaction is not None:
        if statement.transaction == "begin":
            lane.begin(statement.text)
        else:
            lane.end(commit=statement.transaction == "commit")
        return 0
    cursor = lane.cursor
    cursor.execute(statement.text, values)
    if statement.counted:
        row = cursor.fetchone()
        return int(row[0]) if row else 0
    if not statement.returns_rows:
        return 0
    return sum(batch.num_rows for batch in reader_of(cursor))


def _bulk(cursor: duckdb.DuckDBPyConnection, bulk: tuple[str, str], bound: pa.Table) -> int:
    view = f"pondflight_bound_{secrets.token_hex(8)}"
    cursor.register(view, bound)
    try:
        head, tail = bulk
        row = cursor.execute(f"{head} SELECT * FROM {quote(view)} {tail}").fetchone()
        return int(row[0]) if row else 0
    finally:
        cursor.unregister(view)


def _first(statement: Statement, bound: pa.Table | None) -> Values:
    if bound is None or not bound.num_rows:
        names = statement.parameters
        if not names:
            return None
        if names == tuple(str(i + 1) for i in range(len(names))):
            return [None] * len(names)
        return dict.fromkeys(names)
    return next(parameters.rows(statement, bound.slice(0, 1)))
