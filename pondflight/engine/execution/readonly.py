"""Calls that may run one query and nothing else, whatever text they contain.

They are for SQL that no person has written: a language model's. Four checks must agree before a row
is read, and DuckDB makes each of them: the text is one statement; the parser takes it for a SELECT;
its tree and its plans (which have views and macros resolved) name only built-in functions that are
known to do nothing but compute and read (``engine.guards.functions``); and it runs in a read-only
transaction, also at servers that are attached for writing, on a connection of its own that is
thrown away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from pondflight.engine.databases.attached import Databases
from pondflight.engine.duck import sql_errors
from pondflight.engine.execution.executor import Executor
from pondflight.engine.execution.handles import Handle
from pondflight.engine.execution.plans import Plan
from pondflight.engine.execution.sessions import Session, Sessions
from pondflight.engine.execution.statements import Statements
from pondflight.engine.guards.callers import Call
from pondflight.engine.guards.functions import SCANS, BuiltIn, may_query
from pondflight.engine.guards.journal import Journal
from pondflight.engine.sql.statement import Statement
from pondflight.engine.types.describe import Columns, Describer
from pondflight.errors import InvalidArgument, PermissionDenied
from pondflight.flightsql import ResultStream
from pondflight.flightsql.status import leaf_of

_CHECKED_BY_PLAN = frozenset({"query"})
"""It runs text that is only known at run time; the plan shows what that becomes."""

_OF_SERVER = re.compile(r'"name": "(?:MYSQL|POSTGRES)_')
"""Matches a plan that reads from a server."""

_SERIALIZE = "SELECT system.main.json_serialize_sql(?)"
_BOUND = "SELECT system.main.json_serialize_plan(?)"
_READ_ONLY = "BEGIN TRANSACTION READ ONLY"


class Queries:
    """Plans and runs queries of calls that may do nothing else."""

    def __init__(
        self,
        sessions: Sessions,
        statements: Statements,
        executor: Executor,
        describer: Describer,
        journal: Journal,
        built_in: BuiltIn,
        databases: Databases,
    ) -> None:
        self._sessions = sessions
        self._statements = statements
        self._executor = executor
        self._describer = describer
        self._journal = journal
        self._built_in = built_in
        self._databases = databases

    def plan(self, call: Call, text: str) -> Plan:
        """Check ``text``, and return a plan whose ticket fetches its rows.

        Raises ``InvalidArgument`` for anything but one query, ``PermissionDenied`` for a query that
        would have an effect, and ``SqlError`` for what DuckDB cannot explain.
        """
        statement = self._statement(text)
        with self._lent(call) as session, session.cursor.use(call) as cursor:
            columns = self._check(cursor, statement)
            return Plan(self._describer.schema(cursor, columns), Handle(query=text))

    def fetch(self, call: Call, handle: Handle) -> ResultStream:
        """Return the rows behind a ticket.

        It is checked again: anybody may have made the ticket.
        """
        statement = self._statement(handle.query)
        entry = self._journal.begin(call, statement.text, statement.kind)
        session = self._begin(call)
        try:
            with session.cursor.use(call) as cursor:
                columns = self._check(cursor, statement)
                result = self._executor.stream(session.cursor, call, statement, columns)
        except BaseException as error:
            self._sessions.give_back(session)
            self._journal.end(entry, leaf_of(error))
            raise
        entry.rows = lambda: result.sent
        result.on_close(lambda: self._sessions.give_back(session))
        call.on_done(lambda _: result.close())
        return ResultStream(result.schema, iter(result))

    def _statement(self, text: str) -> Statement:
        statements = self._statements.parse(text)
        if len(statements) > 1:
            raise InvalidArgument(
                f"only one query may be run here, and this is {len(statements)} statements"
            )
        (statement,) = statements
        if not statement.lazy:
            raise InvalidArgument(f"only a query may be run here, and this is {statement.kind}")
        if statement.parameters:
            raise InvalidArgument("a query that is run here cannot have parameters")
        return statement

    def _check(self, cursor: duckdb.DuckDBPyConnection, statement: Statement) -> Columns:
        text = statement.describable
        self._refuse(_functions(_tree(cursor, text)) - _CHECKED_BY_PLAN)
        # Before the next checks, since the errors of this one tell the place in the text.
        columns = self._describer.columns(cursor, statement, None)
        assert columns is not None  # it is a SELECT
        with sql_errors(lines_above=1):
            row = cursor.execute(f"EXPLAIN (FORMAT json)\n{text}").fetchone()
        plan: str = row[1] if row else "[]"
        self._refuse(_functions(json.loads(plan)) - SCANS)
        # That plan leaves out expressions; this one has them, but does not exist for all
        # statements.
        row = cursor.execute(_BOUND, [text]).fetchone()
        self._refuse(_functions(json.loads(row[0]) if row else []) - SCANS)
        if _OF_SERVER.search(plan):
            with sql_errors():
                self._databases.keep_from_writing(cursor)
        return columns

    def _refuse(self, names: set[str]) -> None:
        """Raise ``PermissionDenied`` for built-in functions that are not known to be harmless."""
        if not self._built_in.names:
            self._built_in.read()
        for name in sorted(names & self._built_in.names):
            if not may_query(name):
                raise PermissionDenied(f"only a query may be run here, and {name}() does something")

    @contextmanager
    def _lent(self, call: Call) -> Iterator[Session]:
        session = self._begin(call)
        try:
            yield session
        finally:
            self._sessions.give_back(session)

    def _begin(self, call: Call) -> Session:
        session = self._sessions.passing()
        try:
            with session.cursor.use(call):
                session.cursor.begin(_READ_ONLY)
        except BaseException:
            self._sessions.give_back(session)
            raise
        return session


def _tree(cursor: duckdb.DuckDBPyConnection, text: str) -> dict[str, object]:
    row = cursor.execute(_SERIALIZE, [text]).fetchone()
    tree: dict[str, object] = json.loads(row[0]) if row else {"error": True}
    if tree["error"]:
        raise InvalidArgument(
            "only a query that reads may be run here; PIVOT needs its values named: IN (…)"
        )
    return tree


def _functions(node: object) -> set[str]:
    """Return the functions that a parse tree or a plan names, in lower case."""
    found: set[str] = set()
    pending = [node]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            for name in ("function_name", "Function", *(("name",) if "arguments" in item else ())):
                if isinstance(item.get(name), str):
                    found.add(item[name].lower())
            pending.extend(item.values())
    return found
