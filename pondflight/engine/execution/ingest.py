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

        Everything happens in one transaction: the session's, if one is open. To pyarrow, a client
        that disappears half way looks like the end of the stream, so the connection is checked
        before that end is believed.
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

    DuckDB reads them from threads of its own, and one of those may still read after the statement
    has failed. pyarrow frees the upload as soon as the handler returns. So leaving the block waits
    for a read that is under way, and prevents later ones.
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
        """Return the next batch; ``None`` at the end.

        Raises ``Cancelled`` if the client has gone.
        """
        with self._reading:
            try:
                for chunk in self._upload or ():
                    if chunk.data is not None:
                        self.rows += chunk.data.num_rows
                        return chunk.data
                if self._upload is None or not self._call.still_connected():
                    raise self._call.cancelled or Cancelled("the call was cancelled")
            except PondflightError as error:
                self.failure = error  # DuckDB's own error would only say that reading failed
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
    """Return the parts of the table's whole name.

    A shorter one may mean a temporary table or view.
    """
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
        if not is_catalog:  # to DuckDB, a.b may also mean table b of the catalog a
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
        if "does not exist" in str(error):  # the catalog or schema
            return False
        raise
    return True
