"""Bulk loads: a stream of batches becomes a table, whole or not at all."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Self

import duckdb
import pyarrow as pa
from pyarrow import flight

from pondflight.engine.databases.attached import Databases
from pondflight.engine.databases.lossless import Server, check_append
from pondflight.engine.databases.pushdown import Pushdown
from pondflight.engine.duck import quote
from pondflight.engine.execution.sessions import Sessions
from pondflight.engine.guards.callers import Call
from pondflight.engine.guards.journal import Journal
from pondflight.engine.guards.storage import Storage
from pondflight.engine.types.arrow import scannable, scannable_schema
from pondflight.errors import AlreadyExists, Cancelled, InvalidArgument, NotFound, PondflightError
from pondflight.flightsql import Upload
from pondflight.flightsql.commands import StatementIngest, TableExists, TableNotExist


class Ingest:
    """Loads uploads into tables."""

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        *,
        sessions: Sessions,
        databases: Databases,
        storage: Storage,
        journal: Journal,
        pushdown: Pushdown,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._databases = databases
        self._storage = storage
        self._journal = journal
        self._pushdown = pushdown

    def load(self, call: Call, session: str, command: StatementIngest, upload: Upload) -> int:
        """Load ``upload`` into the table that ``command`` names; return the number of rows.

        All in one transaction: the session's, if one is open. A client that goes away half way
        looks to pyarrow like the end of the stream, so the connection is checked before that end
        is believed.
        """
        with (
            self._storage.writing(call, self._database, adds=True),
            self._journal.during(call, f"INGEST INTO {quote(command.table)}", "INGEST") as entry,
        ):
            total = self._load(call, session, command, upload)
            entry.rows = lambda: total
            return total

    def _load(self, call: Call, session: str, command: StatementIngest, upload: Upload) -> int:
        _check_target(command)
        servers = self._databases.attached_servers
        own = command.temporary
        lent = self._sessions.lent(call, session, session_state=own, tables=not own)
        with _Source(call, upload) as source, lent as one, one.cursor.use(call) as cursor:
            if not command.temporary:
                self._pushdown.check_insert(cursor, command.catalog or None, source.schema.names)
            view = f"pondflight_ingest_{secrets.token_hex(8)}"
            cursor.register(view, pa.RecordBatchReader.from_batches(source.schema, iter(source)))
            try:
                with one.cursor.atomic():
                    cursor.execute(_statement(cursor, servers, command, view, source.schema))
            except duckdb.Error:
                if source.failure is not None:
                    raise source.failure from None
                raise
            finally:
                cursor.unregister(view)
        return source.rows


class _Source:
    """The client's batches, counted, and watched for the client's death.

    DuckDB pulls them from threads of its own, and one of those may still do so when the statement
    has failed. pyarrow frees the upload as soon as the handler returns, so nobody may read it after
    that: leaving the block waits for a read that is under way, and shuts out later ones.
    """

    def __init__(self, call: Call, upload: Upload) -> None:
        _check_names(upload.schema)
        self.schema = scannable_schema(upload.schema)
        self.rows = 0
        self.failure: PondflightError | None = None
        self._call = call
        self._upload: Iterator[flight.FlightStreamChunk] | None = iter(upload)
        self._reading = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._reading:
            self._upload = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while (data := self._next()) is not None:
            try:
                yield scannable(data)
            except InvalidArgument as error:
                self.failure = error
                raise

    def _next(self) -> pa.RecordBatch | None:
        """The next batch; ``None`` at the end. Raises ``Cancelled`` if the client has gone away."""
        with self._reading:
            try:
                for chunk in self._upload or ():
                    if chunk.data is not None:
                        self.rows += chunk.data.num_rows
                        return chunk.data
                if self._upload is None or not self._call.still_connected():
                    raise self._call.cancelled or Cancelled("the call was cancelled")
            except PondflightError as error:
                self.failure = error  # DuckDB's own would only tell that reading failed
                raise
            return None


def _check_names(schema: pa.Schema) -> None:
    if not schema.names:
        raise InvalidArgument("the ingest has no columns: send a schema, and rows if there are any")
    for name, number in Counter(schema.names).items():
        if number > 1:
            raise InvalidArgument(
                f"the ingest has two columns named {name!r}: give each a name of its own"
            )


def _check_target(command: StatementIngest) -> None:
    if not command.table:
        raise InvalidArgument("the ingest names no table")
    if command.temporary and (command.catalog or command.schema):
        raise InvalidArgument(
            "a temporary table has no catalog and no schema: leave both out of the ingest"
        )


def _target(cursor: duckdb.DuckDBPyConnection, command: StatementIngest) -> list[str]:
    """The parts of the table's whole name: a shorter one may be of a temporary table or view."""
    catalog, schema = command.catalog, command.schema
    if command.temporary:
        catalog, schema = "temp", "main"
    elif catalog:
        schema = schema or "main"
    else:
        row = cursor.execute(
            "SELECT current_catalog(), current_schema(), "
            "EXISTS (FROM duckdb_databases() WHERE lower(database_name) = lower(?))",
            [schema or ""],
        ).fetchone()
        assert row is not None
        current_catalog, current_schema, is_catalog = row
        if not is_catalog:  # to DuckDB a.b is table b of the catalog a, too
            catalog, schema = current_catalog, schema or current_schema
    return [part for part in (catalog, schema, command.table) if part]


def _statement(
    cursor: duckdb.DuckDBPyConnection,
    servers: Sequence[Server],
    command: StatementIngest,
    view: str,
    schema: pa.Schema,
) -> str:
    options = command.table_definition_options
    parts = _target(cursor, command)
    target = ".".join(map(quote, parts))
    create = "CREATE TEMP TABLE" if command.temporary else "CREATE TABLE"
    name = quote(command.table) if command.temporary else target
    if not _exists(cursor, target):
        if options.if_not_exist != TableNotExist.CREATE:
            raise NotFound(f"table {command.table!r} does not exist, and the mode is not to create")
        return f"{create} {name} AS SELECT * FROM {quote(view)}"
    if options.if_exists == TableExists.REPLACE:
        create = create.replace("CREATE", "CREATE OR REPLACE")
        return f"{create} {name} AS SELECT * FROM {quote(view)}"
    if options.if_exists == TableExists.APPEND:
        check_append(cursor, servers, parts, schema)
        columns = ", ".join(quote(column) for column in schema.names)
        return f"INSERT INTO {target} ({columns}) SELECT * FROM {quote(view)}"
    raise AlreadyExists(
        f"table {command.table!r} already exists: use the mode append, replace or create_append"
    )


def _exists(cursor: duckdb.DuckDBPyConnection, target: str) -> bool:
    try:
        cursor.execute(f"SELECT 1 FROM {target} LIMIT 0")
    except duckdb.CatalogException:
        return False
    except duckdb.BinderException as error:
        if "does not exist" in str(error):  # catalog or schema
            return False
        raise
    return True
