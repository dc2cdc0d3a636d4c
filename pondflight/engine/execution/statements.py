"""Statements: described, run once, and their rows fetched.

A statement that only reads is run when its rows are fetched: its ticket carries the SQL, so a
FlightInfo that nobody follows costs nothing. A statement with an effect is run at once and exactly
once, when the FlightInfo is requested or the update is put; rows that it returns are kept until
fetched.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import chain, islice

import duckdb
import pyarrow as pa

from pondflight.engine.databases.attached import Databases
from pondflight.engine.execution import timeouts
from pondflight.engine.execution.early_runs import EarlyRun, EarlyRuns
from pondflight.engine.execution.executor import Executor
from pondflight.engine.execution.handles import Handle
from pondflight.engine.execution.plans import (
    COUNT_SCHEMA,
    EMPTY_SCHEMA,
    NOT_KNOWN_YET,
    Plan,
    Prepared,
)
from pondflight.engine.execution.results import Result
from pondflight.engine.execution.schemas import parameter_schema, result_schema, unbound_schema
from pondflight.engine.execution.sessions import Session, Sessions
from pondflight.engine.execution.tickets import Tickets
from pondflight.engine.guards.callers import Call
from pondflight.engine.guards.journal import Journal
from pondflight.engine.guards.sandbox import Sandbox
from pondflight.engine.guards.storage import Storage
from pondflight.engine.sql.clauses import bulk_insert
from pondflight.engine.sql.kept import ParsedStatements
from pondflight.engine.sql.lexer import plain
from pondflight.engine.sql.statement import Statement, parse
from pondflight.engine.types import parameters
from pondflight.engine.types.describe import Describer
from pondflight.engine.types.parameters import Values
from pondflight.errors import InvalidArgument, NotFound
from pondflight.flightsql import PreparedStatement, ResultStream
from pondflight.flightsql.status import leaf_of
from pondflight.flightsql.streams import Result as Sent

_GONE = "unknown result: it was fetched before, or has expired"


class Statements:
    """Runs SQL strings in sessions."""

    def __init__(  # noqa: PLR0913  the parts that it is made of
        self,
        database: duckdb.DuckDBPyConnection,
        *,
        sessions: Sessions,
        describer: Describer,
        databases: Databases,
        storage: Storage,
        journal: Journal,
        executor: Executor,
        tickets: Tickets,
        early: EarlyRuns,
    ) -> None:
        self._parsed = ParsedStatements()
        self._early = early
        self._database = database
        self._databases = databases
        self._storage = storage
        self._sessions = sessions
        self._describer = describer
        self._journal = journal
        self._executor = executor
        self._tickets = tickets

    @property
    def sandbox(self) -> Sandbox | None:
        """Return what users' SQL must not do; ``None``: no restrictions."""
        return self._executor.sandbox

    @sandbox.setter
    def sandbox(self, sandbox: Sandbox | None) -> None:
        self._executor.sandbox = sandbox
        self._parsed.clear()

    def fetched(self, key: str) -> None:
        """Note that promised rows have been fetched (``control.FETCHED_HEADER``)."""
        self._tickets.fetched(key)
        self._journal.fetched(key)

    # -- before running -----------------------------------------------------------------------

    def parse(self, text: str) -> list[Statement]:
        """Return the statements of ``text``."""
        sandbox = self.sandbox
        known = self._parsed.find(text)
        if known is not None:
            self._databases.before(text)
            return known
        told, text = text, plain(text)
        if sandbox is not None:
            sandbox.check_text(text)
            text = sandbox.bound.paths.without(text)
        self._databases.before(text)
        with self._database.cursor() as parser:
            statements = parse(parser, text)
        if sandbox is not None:
            for statement in statements:
                sandbox.check(statement)
        if sandbox is self.sandbox:
            self._parsed.keep(told, statements)
        return statements

    def _counted(self, call: Call, text: str) -> list[Statement]:
        """Return the statements of ``text``, no more than the proxy has counted."""
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
        """Return the result schema of ``text``; empty if it returns no rows."""
        return self._describe(call, session, self.parse(text), bound) or EMPTY_SCHEMA

    def prepare(self, call: Call, session: str, text: str, transaction: bytes | None) -> Prepared:
        """Return a handle for ``text``, and what clients need to know before they run it."""
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
        alone = len(statements) == 1 and not has_parameters
        with self._sessions.lent(call, session) as one, one.cursor.use(call) as cursor:
            early = self._early.run(call, one, statements[0]) if alone else None
            if early is not None:
                schema = early.schema
            else:
                schema = None if is_update else unbound_schema(self._describer, cursor, statements)
            prepared = PreparedStatement(
                handle=handle.encode(),
                dataset_schema=schema if is_update else schema or NOT_KNOWN_YET,
                parameter_schema=parameter_schema(self._describer, cursor, statements),
                is_update=is_update,
            )
        if schema is None or not alone or not statements[0].lazy:
            return Prepared(prepared)
        query = statements[0].text
        return Prepared(prepared, lambda: self._promise(session, query, transaction, schema, early))

    def bind(self, handle: Handle, bound: pa.Table) -> Handle:
        """Return the handle of the statement with these parameters.

        Old clients keep using the handle they have, so the session remembers the parameters as
        well.
        """
        if handle.id:
            self._tickets.bind(handle.id, handle.session, bound)
        return handle.bind(bound)

    def bound(self, handle: Handle) -> pa.Table | None:
        """Return the parameters that belong to the handle."""
        if handle.parameters is not None:  # an empty table counts as bound
            return handle.parameters
        return self._tickets.parameters(handle.id, handle.session)

    def _describe(
        self, call: Call, session: str, statements: list[Statement], bound: pa.Table | None
    ) -> pa.Schema | None:
        if not statements[-1].returns_rows:
            return None
        with self._sessions.lent(call, session) as one, one.cursor.use(call) as cursor:
            return result_schema(self._describer, cursor, statements, bound)

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
        """Run what has to run now, and return a plan for fetching the rows.

        ``plain``: the caller knows no Flight SQL, and expects an endpoint in any case.
        """
        *first, last = self._counted(call, text)
        if first and bound is not None:
            raise InvalidArgument("parameters can be bound to a single statement only")
        for statement in first:
            self._run_all(call, session, statement, None)
        if last.lazy:
            alone = not first and bound is None and not last.parameters
            with self._sessions.lent(call, session) as one, one.cursor.use(call) as cursor:
                early = self._early.run(call, one, last) if alone else None
                schema = (
                    early.schema if early else result_schema(self._describer, cursor, [last], bound)
                )
            assert schema is not None
            plan = self._promise(session, last.text, transaction, schema, early)
            handle = plan.ticket
            if bound is not None and handle is not None:
                handle = handle.bind(bound)
                if handle.parameters is None:
                    self._tickets.bind(handle.id, handle.session, bound)
            return replace(plan, ticket=handle)
        if last.returns_rows:
            result = self._run_for_rows(call, session, last, bound)
            key = self._tickets.new(session, result)
            handle = Handle(id=key, session=session, transaction=transaction, is_result=True)
            return Plan(result.schema, handle, result.count)
        count = self._run_all(call, session, last, bound)
        if plain:
            return Plan(COUNT_SCHEMA, Handle(session=session, count=count), 1)
        return Plan(EMPTY_SCHEMA, None, count)

    def _promise(
        self,
        session: str,
        query: str,
        transaction: bytes | None,
        schema: pa.Schema,
        early: EarlyRun | None,
    ) -> Plan:
        """Return a plan with the ticket of a query.

        The query runs when its rows are fetched, unless it ran early.
        """
        key = self._tickets.new(session)
        ticket = Handle(id=key, query=query, session=session, transaction=transaction)
        if early is None:
            return Plan(schema, ticket)
        self._journal.early(key, early.entry)
        return Plan(schema, ticket, rows=key.encode() + early.stream())

    def fetch(self, call: Call, session: str, handle: Handle) -> Sent:
        """Return the rows behind a ticket."""
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
            raise NotFound("unknown ticket: take it from a FlightInfo")
        bound = self.bound(handle)
        runs = parameters.rows(statement, bound)
        values = list(islice(runs, 1))
        if values and (bound is None or bound.num_rows <= 1):
            result = self._stream(call, session, statement, values[0])
            return ResultStream(result.schema, iter(result))
        # A NULL parameter may give a column another type than in the other runs.
        schema = self._describe(call, session, [statement], bound)
        assert schema is not None

        def all_runs() -> Iterator[pa.RecordBatch]:
            for one in chain(values, runs):
                for batch in self._stream(call, session, statement, one):
                    yield batch.cast(schema)

        return ResultStream(schema, all_runs())

    def renew(self, handle: Handle) -> None:
        """Keep what the ticket stands for. Raises ``NotFound`` if that is gone."""
        there = self._tickets.renew(handle.id, handle.session)
        if handle.is_result and not there:
            raise NotFound(_GONE)

    def _stream(self, call: Call, session_id: str, statement: Statement, values: Values) -> Result:
        entry = self._journal.begin(call, statement.text, statement.kind)
        session = self._sessions.borrow(call, session_id, session_state=statement.session_state)
        try:
            with session.cursor.use(call):
                result = self._executor.rows(session.cursor, call, statement, values)
        except BaseException as error:
            self._sessions.give_back(session)
            self._journal.end(entry, leaf_of(error))
            raise
        entry.rows = lambda: result.sent

        def closed() -> None:
            self._sessions.give_back(session)
            if values is None and result.finished is not None:
                seconds = result.finished - entry.clock
                self._early.ran(session, statement.text, seconds, result.count)

        result.on_close(closed)
        call.on_done(lambda _: result.close())
        return result

    # -- for effect ---------------------------------------------------------------------------

    def update(self, call: Call, session: str, text: str, bound: pa.Table | None) -> int:
        """Run ``text`` once per bound row, all or nothing; return the rows affected."""
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
        lent = self._lent(call, session, statement)
        if statement.timeout is not None:
            longest = self._sessions.limits.statement_timeout
            with lent as one:
                one.statement_timeout = timeouts.seconds(statement.timeout.value, longest=longest)
            return 0
        room = self._storage.writing(call, self._database, adds=statement.adds)
        with lent as one, room, self._renaming(statement), one.cursor.use(call):
            width = len(statement.parameters)
            bulk = bulk_insert(statement.text, width)
            if bulk is not None and bound is not None and bound.num_columns == width:
                return self._executor.insert_bulk(one.cursor, statement, bulk, bound)
            several = bound is not None and bound.num_columns and bound.num_rows > 1
            with one.cursor.atomic() if several else nullcontext():
                return sum(
                    self._executor.run(one.cursor, statement, values)
                    for values in parameters.rows(statement, bound)
                )

    def _lent(
        self, call: Call, session: str, statement: Statement
    ) -> AbstractContextManager[Session]:
        return self._sessions.lent(
            call, session, session_state=statement.session_state, tables=statement.makes_tables
        )

    @contextmanager
    def _renaming(self, statement: Statement) -> Iterator[None]:
        """Run ``statement`` inside; afterwards, names may mean something else."""
        try:
            yield
        finally:
            self.changed(statement.kind)

    def changed(self, kind: str) -> None:
        """Note that a statement of that kind has run: see ``Bound.forget``."""
        self._early.forget(kind)
        if self.sandbox is not None:
            self.sandbox.bound.forget(kind)

    def _run_for_rows(
        self, call: Call, session: str, statement: Statement, bound: pa.Table | None
    ) -> Result:
        noted = self._journal.during(call, statement.text, statement.kind)
        lent = self._lent(call, session, statement)
        room = self._storage.writing(call, self._database, adds=statement.adds)
        names = self._renaming(statement)
        with noted as entry, lent as one, room, names, one.cursor.use(call):
            cursor = one.cursor
            runs = list(islice(parameters.rows(statement, bound), 2))
            if len(runs) > 1:
                raise InvalidArgument(
                    "several rows of parameters cannot be bound to a statement that returns rows"
                )
            if not runs:
                return self._executor.no_rows(call, cursor, statement, bound)
            (values,) = runs
            result = self._executor.rows_of_effect(cursor, call, statement, values)
            result.set_aside()
            result.raise_failure()
            entry.rows = lambda: result.count
            return result
