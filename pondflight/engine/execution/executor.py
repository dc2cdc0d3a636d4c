"""Runs one statement on a cursor: checked, planned, and pushed down where possible.

``statements`` deals with sessions, tickets and the journal.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial

import duckdb
import pyarrow as pa

from pondflight.dsn import MYSQL
from pondflight.engine.databases import lossless
from pondflight.engine.databases.attached import Databases
from pondflight.engine.databases.lossless import Lossless
from pondflight.engine.databases.pushdown import OFF, Pushdown
from pondflight.engine.databases.queryplan import Node, read_plan
from pondflight.engine.duck import quote, sql_errors
from pondflight.engine.execution.batches import reader_of
from pondflight.engine.execution.cursors import Cursor
from pondflight.engine.execution.joinfilters import JoinFilters, pass_limits
from pondflight.engine.execution.results import Result
from pondflight.engine.guards.callers import Call
from pondflight.engine.guards.sandbox import Sandbox
from pondflight.engine.sql.statement import Statement
from pondflight.engine.types import parameters
from pondflight.engine.types.arrow import scannable, scannable_schema
from pondflight.engine.types.describe import Columns, Describer
from pondflight.engine.types.parameters import Values
from pondflight.errors import InvalidArgument


class Executor:
    """Runs statements on cursors.

    ``sandbox`` says what they must not reach; ``None``: no restrictions.
    """

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        *,
        describer: Describer,
        databases: Databases,
        pushdown: Pushdown,
    ) -> None:
        self.sandbox: Sandbox | None = None
        self._databases = databases
        self._describer = describer
        self._pushdown = pushdown
        self._lossless = Lossless()
        self._join_filters = JoinFilters(database)

    def insert_bulk(
        self, cursor: Cursor, statement: Statement, bulk: tuple[str, str], bound: pa.Table
    ) -> int:
        """Run an INSERT once for all rows of ``bound``; return the rows affected.

        Inside ``cursor.use``.

        ``bulk`` is the text before the values, and the text after them.
        """
        with self._ready(cursor, statement, parameters.example(statement, bound)):
            return _bulk(cursor.connection, bulk, bound)

    def rows_of_effect(
        self, cursor: Cursor, call: Call, statement: Statement, values: Values
    ) -> Result:
        """Return the rows of a statement that also has an effect. Inside ``cursor.use``."""
        connection = cursor.connection
        columns = self._describer.columns(connection, statement, values)
        if columns is not None and any(columns.casts):
            with self._ready(cursor, statement, values):
                relation = columns.export(connection.sql(statement.text, params=values))
                return cursor.result(
                    call, reader_of(relation), columns, checks_text=self._pushdown.watches
                )
        self._execute(cursor, statement, values)
        return cursor.result(
            call,
            reader_of(connection),
            Columns.of(connection),
            checks_text=self._pushdown.watches,
        )

    def no_rows(
        self, call: Call, cursor: Cursor, statement: Statement, bound: pa.Table | None
    ) -> Result:
        """Return the empty result of a statement that is run for no bound rows."""
        columns = self._describer.columns(
            cursor.connection, statement, parameters.example(statement, bound)
        )
        if columns is None:
            raise InvalidArgument(
                "no rows of parameters were bound, and only a run tells the columns"
            )
        schema = self._describer.schema(cursor.connection, columns)
        result = cursor.result(call, pa.RecordBatchReader.from_batches(schema, []), columns)
        result.set_aside()
        return result

    def rows(self, cursor: Cursor, call: Call, statement: Statement, values: Values) -> Result:
        """Return the rows of a statement that only reads. Inside ``cursor.use``.

        Describing a small query is half of its work. If nothing had to be cast the last time, the
        run itself tells whether that still holds.
        """
        if self._describer.leaves_as_is(statement):
            reader = self._start(cursor, statement, values)
            columns = Columns.of(cursor.connection)
            if not any(columns.casts):
                again = partial(self._start, cursor, statement, values)
                return cursor.result(
                    call, reader, columns, again=again, checks_text=self._pushdown.watches
                )
        described = self._describer.columns(cursor.connection, statement, values)
        assert described is not None
        return self.stream(cursor, call, statement, described, values)

    def stream(
        self,
        cursor: Cursor,
        call: Call,
        statement: Statement,
        columns: Columns,
        values: Values = None,
    ) -> Result:
        """Return the rows of a statement that only reads, while DuckDB makes them.

        Inside ``cursor.use``.
        """
        run = partial(self._start, cursor, statement, values, columns)
        return cursor.result(call, run(), columns, again=run, checks_text=self._pushdown.watches)

    def _start(
        self, cursor: Cursor, statement: Statement, values: Values, columns: Columns | None = None
    ) -> pa.RecordBatchReader:
        self._execute(cursor, statement, values, columns)
        return reader_of(cursor.connection)

    def run(self, cursor: Cursor, statement: Statement, values: Values) -> int:
        """Run a statement for its effect; return the rows affected. Inside ``cursor.use``."""
        if statement.transaction is not None:
            if statement.transaction == "begin":
                cursor.begin(statement.text)
            else:
                cursor.end(commit=statement.transaction == "commit")
            return 0
        connection = cursor.connection
        self._execute(cursor, statement, values)
        if statement.counted:
            row = connection.fetchone()
            return int(row[0]) if row else 0
        if not statement.returns_rows:
            return 0
        return sum(batch.num_rows for batch in reader_of(connection))

    def _execute(
        self, cursor: Cursor, statement: Statement, values: Values, columns: Columns | None = None
    ) -> None:
        """Execute it on the cursor; ``columns`` are those of its rows as they are sent."""
        with self._ready(cursor, statement, values) as other:
            if other is not statement.text:
                with suppress(duckdb.BinderException, duckdb.CatalogException):
                    cursor.connection.execute(columns.exported(other) if columns else other, values)
                    return
            text = statement.describable if columns else statement.text
            exported = columns.exported(text) if columns else text
            with sql_errors(lines_above=int(exported is not text)):
                cursor.connection.execute(exported, values)

    def _check_bound(
        self, cursor: Cursor, statement: Statement, values: Values, plan: Sequence[Node] | None
    ) -> None:
        """Refuse what the sandbox forbids; ``plan`` is the statement's, if it is known already."""
        if self.sandbox is not None:
            self.sandbox.bound.check(cursor, statement, values, plan)

    @contextmanager
    def _ready(self, cursor: Cursor, statement: Statement, values: Values) -> Iterator[str]:
        """Prepare the cursor, and yield the text to run in place of the statement's."""
        servers = self._databases.attached_servers
        checks = bool(servers) and self._lossless.concerns(statement)
        pushes = self._pushdown.concerns(statement)
        connection = cursor.connection
        if pushes:
            self._pushdown.check(connection, statement, values)
        # Asked last: with servers attached, DuckDB would list the tables of each.
        if not (checks or pushes or self._join_filters.may_limit(statement)):
            self._check_bound(cursor, statement, values, None)
            yield statement.text
            return
        if statement.kind == "PREPARE":
            with self._join_filters.withheld():
                yield statement.text
            return
        if checks:
            cursor.undo = lossless.OFF
            cursor.hold()
        plan = read_plan(connection, statement, values)
        if checks and not plan.is_whole:
            cursor.hold()  # the failed attempt may have aborted the transaction
        self._check_bound(cursor, statement, values, plan.roots if plan.is_whole else None)
        bound: frozenset[str] = frozenset()
        if checks:
            bound = self._lossless.begin(
                connection, statement, values, plan, servers, may_have_written=cursor.in_transaction
            )
        if not bound:
            cursor.release()
        text = statement.text
        if pushes:
            cursor.undo = "; ".join(filter(None, [cursor.undo, OFF]))
            text = self._pushdown.begin(
                connection, statement, plan, in_transaction=cursor.in_transaction or MYSQL in bound
            )
        with self._join_filters.withheld() if pass_limits(plan) else nullcontext():
            yield text


def _bulk(cursor: duckdb.DuckDBPyConnection, bulk: tuple[str, str], bound: pa.Table) -> int:
    view = f"pondflight_bound_{secrets.token_hex(8)}"
    batches = map(scannable, bound.to_batches())
    cursor.register(view, pa.Table.from_batches(batches, scannable_schema(bound.schema)))
    try:
        head, tail = bulk
        row = cursor.execute(f"{head} SELECT * FROM {quote(view)} {tail}").fetchone()
        return int(row[0]) if row else 0
    finally:
        cursor.unregister(view)
