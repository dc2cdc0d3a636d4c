"""Statements: described, run once, and their rows fetched.

What only reads is run when its rows are fetched: its ticket carries the SQL, so a FlightInfo
that nobody follows costs nothing. What has an effect is run at once and exactly once, when the
FlightInfo is asked for or the update is put; rows that it returns are kept until fetched.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

import duckdb
import pyarrow as pa

from pondflight.dsn import MYSQL
from pondflight.engine.databases import lossless
from pondflight.engine.databases.attached import Databases
from pondflight.engine.databases.lossless import Lossless
from pondflight.engine.databases.pushdown import OFF, Pushdown
from pondflight.engine.databases.queryplan import PLANNED, Node, read_plan
from pondflight.engine.duck import quote, sql_errors
from pondflight.engine.execution import timeouts
from pondflight.engine.execution.batches import reader_of
from pondflight.engine.execution.cursors import Cursor
from pondflight.engine.execution.handles import Handle
from pondflight.engine.execution.joinfilters import JoinFilters, pass_limits
from pondflight.engine.execution.results import Result
from pondflight.engine.execution.sessions import Sessions
from pondflight.engine.execution.tickets import Tickets
from pondflight.engine.guards import paths
from pondflight.engine.guards.callers import Call
from pondflight.engine.guards.journal import Journal
from pondflight.engine.guards.sandbox import Sandbox
from pondflight.engine.guards.storage import Storage
from pondflight.engine.sql.clauses import bulk_insert
from pondflight.engine.sql.inference import parameter_types
from pondflight.engine.sql.kept import ParsedStatements
from pondflight.engine.sql.lexer import plain
from pondflight.engine.sql.statement import Statement, parse
from pondflight.engine.types import parameters
from pondflight.engine.types.arrow import scannable, scannable_schema
from pondflight.engine.types.datatypes import sent_as
from pondflight.engine.types.describe import Columns, Describer
from pondflight.engine.types.parameters import Values
from pondflight.errors import InvalidArgument, NotFound, SqlError
from pondflight.flightsql import PreparedStatement, ResultStream
from pondflight.flightsql.commands import CancelStatus
from pondflight.flightsql.status import leaf_of
from pondflight.flightsql.streams import Result as Sent

COUNT_SCHEMA = pa.schema([pa.field("Count", pa.int64())])
EMPTY_SCHEMA = pa.schema([])
_NOT_KNOWN_YET = pa.schema([pa.field("result", pa.string())])
"""In place of the schema of rows that only a run can tell. It must not be empty: to JDBC, what has
an empty schema is an update."""
_GONE = "unknown result: it was fetched before, or has expired"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a FlightInfo says: ``ticket`` is None where there are no rows."""

    schema: pa.Schema
    ticket: Handle | None
    total_records: int = -1


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared statement.

    ``plan`` gives what a FlightInfo of it would say; ``None`` where parameters are missing, or
    where asking for the FlightInfo has an effect.
    """

    statement: PreparedStatement
    plan: Callable[[], Plan] | None = None


class Statements:
    """Runs SQL strings in sessions."""

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        *,
        sessions: Sessions,
        describer: Describer,
        databases: Databases,
        storage: Storage,
        journal: Journal,
        pushdown: Pushdown,
    ) -> None:
        self._sandbox: Sandbox | None = None
        self._parsed = ParsedStatements()
        self._database = database
        self._databases = databases
        self._storage = storage
        self._sessions = sessions
        self._describer = describer
        self._journal = journal
        self._pushdown = pushdown
        self._lossless = Lossless()
        self._join_filters = JoinFilters(database)
        self._tickets = Tickets()

    @property
    def sandbox(self) -> Sandbox | None:
        """What users' SQL must not do; ``None``: anything goes."""
        return self._sandbox

    @sandbox.setter
    def sandbox(self, sandbox: Sandbox | None) -> None:
        self._sandbox = sandbox
        self._parsed.clear()

    def forget(self, session: str) -> None:
        """Drop the tickets of a session that has ended."""
        self._tickets.forget(session)

    def sweep(self, seconds: float) -> None:
        """Drop results that nobody has fetched for ``seconds``."""
        self._tickets.sweep(seconds)

    def close(self) -> None:
        """Drop all tickets, since the worker ends."""
        self._tickets.clear()

    # -- before running -----------------------------------------------------------------------

    def parse(self, text: str) -> list[Statement]:
        """The statements of ``text``."""
        sandbox = self._sandbox
        known = self._parsed.find(text)
        if known is not None:
            self._databases.before(text)
            return known
        told, text = text, plain(text)
        if sandbox is not None:
            sandbox.check_text(text)
            text = paths.without(text)
        self._databases.before(text)
        with self._database.cursor() as parser:
            statements = parse(parser, text)
        if sandbox is not None:
            for statement in statements:
                sandbox.check(statement)
        if sandbox is self._sandbox:
            self._parsed.keep(told, statements)
        return statements

    def _counted(self, call: Call, text: str) -> list[Statement]:
        """The statements of ``text``, to be run: no more than the proxy has counted."""
        statements = self.parse(text)
        most = call.identity.statements
        if most is not None and len(statements) > most:
            raise InvalidArgument(
                f"this text has {len(statements)} statements, which cannot be told apart without "
                "parsing it: send them one by one"
            )
        return statements

    def schema(
        self, call: Call, session: str, text: str, bound: pa.Table | None = None
    ) -> pa.Schema:
        """The result schema of ``text``; empty for what returns no rows."""
        return self._describe(call, session, self.parse(text), bound) or EMPTY_SCHEMA

    def prepare(self, call: Call, session: str, text: str, transaction: bytes | None) -> Prepared:
        """A handle for ``text``, and what clients need to know before they run it."""
        statements = self.parse(text)
        has_parameters = any(statement.parameters for statement in statements)
        handle = Handle(
            id=secrets.token_hex(8) if has_parameters else "",
            query=text,
            session=session,
            transaction=transaction,
        )
        is_update = statements[-1].is_update
        if is_update and not has_parameters:
            return Prepared(PreparedStatement(handle.encode(), None, EMPTY_SCHEMA, is_update))
        with self._sessions.lent(call, session) as one, one.cursor.use(call) as cursor:
            schema = None if is_update else self._guess(cursor, statements)
            prepared = PreparedStatement(
                handle=handle.encode(),
                dataset_schema=schema if is_update else schema or _NOT_KNOWN_YET,
                parameter_schema=self._parameter_schema(cursor, statements),
                is_update=is_update,
            )
        if schema is None or has_parameters or len(statements) > 1 or not statements[0].lazy:
            return Prepared(prepared)
        query = statements[0].text
        return Prepared(prepared, lambda: Plan(schema, self._promise(session, query, transaction)))

    def bind(self, handle: Handle, bound: pa.Table) -> Handle:
        """The handle that stands for the statement with these parameters.

        Old clients go on with the handle they have, so the session remembers as well.
        """
        if handle.id:
            self._tickets.bind(handle.id, handle.session, bound)
        return handle.bind(bound)

    def bound(self, handle: Handle) -> pa.Table | None:
        """The parameters that belong to the handle."""
        if handle.parameters is not None:  # a table of no rows is as good as any
            return handle.parameters
        return self._tickets.parameters(handle.id, handle.session)

    def unbind(self, handle: Handle) -> None:
        """Forget what is kept for the handle."""
        self._tickets.unbind(handle.id, handle.session)

    def _describe(
        self, call: Call, session: str, statements: list[Statement], bound: pa.Table | None
    ) -> pa.Schema | None:
        if not statements[-1].returns_rows:
            return None
        with self._sessions.lent(call, session) as one, one.cursor.use(call) as cursor:
            return self._schema(cursor, statements, bound)

    def _guess(
        self, cursor: duckdb.DuckDBPyConnection, statements: list[Statement]
    ) -> pa.Schema | None:
        """The schema before parameters are bound; ``None``, too, where only their values tell it.

        ``date_trunc('day', ?)`` has no type until ``?`` has one. What is wrong with the statement
        beside that shows when it is run.
        """
        try:
            return self._schema(cursor, statements, None)
        except SqlError:
            if not any(statement.parameters for statement in statements):
                raise
            return None

    def _schema(
        self,
        cursor: duckdb.DuckDBPyConnection,
        statements: list[Statement],
        bound: pa.Table | None,
    ) -> pa.Schema | None:
        """The schema of the last statement's rows; ``None``: it has none, or only a run tells."""
        last = statements[-1]
        if not last.returns_rows:
            return None
        try:
            columns = self._describer.columns(cursor, last, parameters.example(last, bound))
        except SqlError:
            if len(statements) == 1:
                raise
            columns = None  # it may need what the ones before it make
        return None if columns is None else self._describer.schema(cursor, columns)

    def _parameter_schema(
        self, cursor: duckdb.DuckDBPyConnection, statements: list[Statement]
    ) -> pa.Schema:
        fields: list[pa.Field] = []
        for statement in statements:
            if not statement.parameters:
                continue
            known = parameter_types(cursor, statement)
            types = [known.get(name, "VARCHAR") for name in statement.parameters]
            sent = [sent_as(duckdb.sqltype(type_)) or type_ for type_ in types]
            learnt = self._describer.fields(cursor, sent) if sent else []
            fields += [
                pa.field(name, parameters.encoding(field.type))
                for name, field in zip(statement.parameters, learnt, strict=True)
            ]
        return pa.schema(fields)

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
        *first, last = self._counted(call, text)
        if first and bound is not None:
            raise InvalidArgument("parameters can be bound to a single statement only")
        for statement in first:
            self._run_all(call, session, statement, None)
        if last.lazy:
            schema = self._describe(call, session, [last], bound)
            assert schema is not None
            handle = self._promise(session, last.text, transaction)
            if bound is not None:
                handle = handle.bind(bound)
                if handle.parameters is None:
                    self._tickets.bind(handle.id, handle.session, bound)
            return Plan(schema, handle)
        if last.returns_rows:
            result = self._run_for_rows(call, session, last, bound)
            handle = Handle(
                id=self._tickets.new(session, result),
                session=session,
                transaction=transaction,
                is_result=True,
            )
            return Plan(result.schema, handle, result.count)
        count = self._run_all(call, session, last, bound)
        if plain:
            return Plan(COUNT_SCHEMA, Handle(session=session, count=count), 1)
        return Plan(EMPTY_SCHEMA, None, count)

    def _promise(self, session: str, query: str, transaction: bytes | None) -> Handle:
        """The ticket of a query that is run when its rows are fetched."""
        return Handle(
            id=self._tickets.new(session),
            query=query,
            session=session,
            transaction=transaction,
        )

    def fetch(self, call: Call, session: str, handle: Handle) -> Sent:
        """The rows behind a ticket."""
        if handle.count is not None:
            return pa.table([[handle.count]], schema=COUNT_SCHEMA)
        self._tickets.fetch(handle.id, call)
        if handle.is_result:
            result = self._tickets.take(handle.id, handle.session)
            if result is None:
                raise NotFound(_GONE)
            result.adopt(call)
            return ResultStream(result.schema, iter(result))
        statement, *more = self.parse(handle.query)
        if more or not statement.lazy:
            raise NotFound("unknown ticket: only a FlightInfo gives tickets")
        bound = self.bound(handle)
        runs = parameters.rows(statement, bound)
        values = list(islice(runs, 1))
        if values and (bound is None or bound.num_rows <= 1):
            result = self._stream(call, session, statement, values[0])
            return ResultStream(result.schema, iter(result))
        # A run whose parameter is NULL may give a column another type than the others do.
        schema = self._describe(call, session, [statement], bound)
        assert schema is not None

        def all_runs() -> Iterator[pa.RecordBatch]:
            for one in chain(values, runs):
                for batch in self._stream(call, session, statement, one):
                    yield batch.cast(schema)

        return ResultStream(schema, all_runs())

    def cancel(self, session: str, handle: Handle) -> CancelStatus:
        """Cancel what the ticket stands for, whether it runs or waits to be fetched."""
        return self._tickets.cancel(handle.id, session)

    def renew(self, handle: Handle) -> None:
        """Keep what the ticket stands for; ``NotFound`` if that is gone."""
        there = self._tickets.renew(handle.id, handle.session)
        if handle.is_result and not there:
            raise NotFound(_GONE)

    def _stream(self, call: Call, session_id: str, statement: Statement, values: Values) -> Result:
        entry = self._journal.begin(call, statement.text, statement.kind)
        session = self._sessions.borrow(call, session_id, session_state=statement.session_state)
        try:
            with session.cursor.use(call):
                result = self._rows(session.cursor, call, statement, values)
        except BaseException as error:
            self._sessions.give_back(session)
            self._journal.end(entry, leaf_of(error))
            raise
        entry.rows = lambda: result.sent
        result.on_close(lambda: self._sessions.give_back(session))
        call.on_done(lambda _: result.close())
        return result

    # -- for effect ---------------------------------------------------------------------------

    def update(self, call: Call, session: str, text: str, bound: pa.Table | None) -> int:
        """Run ``text`` for its effect, once per bound row, all or nothing; rows affected."""
        *first, last = self._counted(call, text)
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
        if statement.session_state:
            call.on_done(lambda _: self._describer.forget_types())
        lent = self._sessions.lent(call, session, session_state=statement.session_state)
        if statement.timeout is not None:
            longest = self._sessions.limits.statement_timeout
            with lent as one:
                one.statement_timeout = timeouts.seconds(statement.timeout.value, longest=longest)
            return 0
        room = self._storage.writing(call, self._database, adds=statement.adds)
        with lent as one, room, self._renaming(statement), one.cursor.use(call) as connection:
            width = len(statement.parameters)
            bulk = bulk_insert(statement.text, width)
            if bulk is not None and bound is not None and bound.num_columns == width:
                with self._ready(one.cursor, statement, parameters.example(statement, bound)):
                    return _bulk(connection, bulk, bound)
            several = bound is not None and bound.num_columns and bound.num_rows > 1
            with one.cursor.atomic() if several else nullcontext():
                return sum(
                    self._run(one.cursor, statement, values)
                    for values in parameters.rows(statement, bound)
                )

    @contextmanager
    def _renaming(self, statement: Statement) -> Iterator[None]:
        """While inside, ``statement`` runs, after which names may stand for something else."""
        try:
            yield
        finally:
            self.changed(statement.kind)

    def changed(self, kind: str) -> None:
        """A statement of that kind has run: see ``Bound.forget``."""
        if self.sandbox is not None:
            self.sandbox.bound.forget(kind)

    def _run_for_rows(
        self, call: Call, session: str, statement: Statement, bound: pa.Table | None
    ) -> Result:
        noted = self._journal.during(call, statement.text, statement.kind)
        lent = self._sessions.lent(call, session, session_state=statement.session_state)
        room = self._storage.writing(call, self._database, adds=statement.adds)
        names = self._renaming(statement)
        with noted as entry, lent as one, room, names, one.cursor.use(call) as connection:
            cursor = one.cursor
            runs = list(islice(parameters.rows(statement, bound), 2))
            if len(runs) > 1:
                raise InvalidArgument(
                    "several rows of parameters cannot be bound to a statement that returns rows"
                )
            if not runs:
                return self._no_rows(call, cursor, statement, bound)
            (values,) = runs
            columns = self._describer.columns(connection, statement, values)
            if columns is not None and any(columns.casts):
                with self._ready(cursor, statement, values):
                    relation = columns.export(connection.sql(statement.text, params=values))
                    result = cursor.result(
                        call, reader_of(relation), columns, checks_text=self._pushdown.watches
                    )
            else:
                self._execute(cursor, statement, values)
                result = cursor.result(
                    call,
                    reader_of(connection),
                    Columns.of(connection),
                    checks_text=self._pushdown.watches,
                )
            result.set_aside()
            result.raise_failure()
            entry.rows = lambda: result.count
            return result

    def _no_rows(
        self, call: Call, cursor: Cursor, statement: Statement, bound: pa.Table | None
    ) -> Result:
        """The rows of a statement that is run for each row of none."""
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

    def _rows(self, cursor: Cursor, call: Call, statement: Statement, values: Values) -> Result:
        """The rows of a statement that only reads; inside ``cursor.use``.

        To describe it is half of the work of a small one. Where nothing was to be cast the last
        time, its run tells whether that is still so.
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
        """The rows of a statement that only reads, as they are made; inside ``cursor.use``."""
        run = partial(self._start, cursor, statement, values, columns)
        return cursor.result(call, run(), columns, again=run, checks_text=self._pushdown.watches)

    def _start(
        self, cursor: Cursor, statement: Statement, values: Values, columns: Columns | None = None
    ) -> pa.RecordBatchReader:
        self._execute(cursor, statement, values, columns)
        return reader_of(cursor.connection)

    def _run(self, cursor: Cursor, statement: Statement, values: Values) -> int:
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
        """Run it on the cursor; ``columns``: those that its rows have as they leave."""
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
        """Refuse what the statement comes to, in the sandbox; ``plan``: if it is known already."""
        if self._sandbox is not None:
            self._sandbox.bound.check(cursor, statement, values, plan)

    @contextmanager
    def _ready(self, cursor: Cursor, statement: Statement, values: Values) -> Iterator[str]:
        """The text to run in place of the statement's; the cursor is ready for it while inside."""
        servers = self._databases.exact_servers
        exact = bool(servers) and self._lossless.concerns(statement)
        pushes = self._pushdown.concerns(statement)
        limits = statement.effect in PLANNED and self._join_filters.may_limit(statement)
        connection = cursor.connection
        if pushes:
            self._pushdown.check(connection, statement, values)
        if not (exact or pushes or limits):
            self._check_bound(cursor, statement, values, None)
            yield statement.text
            return
        if statement.kind == "PREPARE":
            with self._join_filters.withheld():
                yield statement.text
            return
        if exact:
            cursor.undo = lossless.OFF
            cursor.hold()
        plan = read_plan(connection, statement, values)
        if exact and not plan.is_whole:
            cursor.hold()  # what came of it may have aborted the transaction
        self._check_bound(cursor, statement, values, plan.roots if plan.is_whole else None)
        bound: frozenset[str] = frozenset()
        if exact:
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
