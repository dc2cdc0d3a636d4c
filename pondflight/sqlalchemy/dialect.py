"""The dialect itself: connecting, transactions, and what DuckDB supports."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

from sqlalchemy import exc, types
from sqlalchemy.engine import URL, Connection, default

from pondflight.sqlalchemy import names
from pondflight.sqlalchemy.compilers import DDLCompiler, Preparer, SQLCompiler, TypeCompiler
from pondflight.sqlalchemy.cursors import ExecutionContext
from pondflight.sqlalchemy.reflection import Reflection
from pondflight.sqlalchemy.types import Bytes

if TYPE_CHECKING:
    from adbc_driver_manager import dbapi as adbc

_PORT = 8081
_MESSAGE_BYTES = 2**31 - 1
"""gRPC's largest; the driver's own limit of 16 MiB stops uploads of large frames."""
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class PondflightDialect(Reflection, default.DefaultDialect):
    """``pondflight+flightsql://token:<token>@host:8081/catalog.schema?tls=false``.

    The path, which may be left out, is the current catalog or the current catalog and schema; the
    option ``schema`` is another schema, as ``get_schema_names`` names it. The connection uses TLS
    unless ``tls=false``. Options of ADBC's driver (``adbc.…``) can be in the query too.
    """

    name = "pondflight"
    driver = "flightsql"
    default_paramstyle = "qmark"

    statement_compiler = SQLCompiler
    ddl_compiler = DDLCompiler
    type_compiler = TypeCompiler
    type_compiler_cls = TypeCompiler
    preparer = Preparer
    execution_ctx_cls = ExecutionContext
    colspecs = {types.LargeBinary: Bytes}  # noqa: RUF012

    supports_statement_cache = True
    supports_schemas = True
    supports_views = True
    supports_sequences = True
    sequences_optional = True
    postfetch_lastrowid = False
    implicit_returning = True  # SQLAlchemy 1.4
    insert_returning = update_returning = delete_returning = True
    use_insertmanyvalues = True
    supports_multivalues_insert = True
    supports_default_values = True
    supports_empty_insert = False
    supports_native_boolean = True
    supports_native_decimal = True
    supports_comments = True
    supports_is_distinct_from = True
    supports_sane_rowcount = True
    supports_sane_multi_rowcount = False
    max_identifier_length = 255
    default_isolation_level = "SNAPSHOT"
    _backslash_escapes = False  # read by PostgreSQL's compiler

    def __init__(self, isolation_level: str | None = None, **options: object) -> None:
        super().__init__(isolation_level=isolation_level, **options)
        self._level = isolation_level

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        """Return ADBC's driver for Flight SQL."""
        from adbc_driver_flightsql import dbapi  # noqa: PLC0415

        return dbapi

    @classmethod
    def dbapi(cls) -> ModuleType:
        """Return the DB-API module, as SQLAlchemy 1.4 asks for it."""
        return cls.import_dbapi()

    # -- connecting ---------------------------------------------------------------------------

    def create_connect_args(self, url: URL) -> tuple[list[str], dict[str, object]]:
        """Return the arguments of ``connect``. Raises ArgumentError for unknown options."""
        query = {
            key: value if isinstance(value, str) else value[-1] for key, value in url.query.items()
        }
        schema = query.pop("schema", None)
        scheme = "grpc+tls" if _flag("tls", query.pop("tls", "true")) else "grpc"
        host = url.host or "localhost"
        host = f"[{host}]" if ":" in host else host
        options = {"adbc.flight.sql.client_option.with_max_msg_size": str(_MESSAGE_BYTES)}
        if url.password:
            options["adbc.flight.sql.authorization_header"] = f"Bearer {url.password}"
        unknown = [key for key in query if not key.startswith("adbc.")]
        if unknown:
            raise exc.ArgumentError(
                f"unknown in the URL: {', '.join(unknown)}; "
                "known are schema, tls and ADBC's own, adbc.…"
            )
        return [f"{scheme}://{host}:{url.port or _PORT}"], {
            "db_kwargs": options | query,
            "place": _place(url.database, schema),
        }

    def connect(
        self, *arguments: object, place: tuple[str | None, str | None], **options: object
    ) -> adbc.Connection:
        """Return an ADBC connection, in the catalog and schema of the URL."""
        catalog, schema = place
        connection: adbc.Connection = super().connect(*arguments, **options)
        try:
            if catalog:
                connection.adbc_current_catalog = catalog
            if schema:
                connection.adbc_current_db_schema = schema
        except Exception:
            connection.close()
            raise
        return connection

    def is_disconnect(self, e: object, connection: object, cursor: object) -> bool:
        """Return whether a connection is lost: the server is gone, or its session."""
        return getattr(getattr(e, "status_code", None), "name", "") in ("IO", "INVALID_STATE")

    def _get_server_version_info(self, connection: Connection) -> tuple[int, ...]:
        """Return DuckDB's version."""
        version = connection.exec_driver_sql("SELECT version()").scalar()
        return tuple(int(part) for part in version.lstrip("v").split("-")[0].split("."))

    def _get_default_schema_name(self, connection: Connection) -> str:
        return str(connection.exec_driver_sql("SELECT current_schema()").scalar())

    # -- transactions -------------------------------------------------------------------------

    def get_isolation_level_values(self, dbapi_connection: object) -> list[str]:
        """Return the isolation levels: SNAPSHOT, DuckDB's own, and AUTOCOMMIT."""
        return ["SNAPSHOT", "AUTOCOMMIT"]

    def set_isolation_level(self, dbapi_connection: adbc.Connection, level: str) -> None:
        """Begin transactions, or let every statement be one."""
        dbapi_connection.adbc_connection.set_autocommit(level == "AUTOCOMMIT")
        # commit() and rollback() of the DB-API connection then send nothing.
        dbapi_connection._commit_supported = level != "AUTOCOMMIT"  # noqa: SLF001

    def get_isolation_level(self, dbapi_connection: adbc.Connection) -> str:
        """Return ``SNAPSHOT`` or ``AUTOCOMMIT``, as set for this connection."""
        return "SNAPSHOT" if dbapi_connection._commit_supported else "AUTOCOMMIT"  # noqa: SLF001

    def get_default_isolation_level(self, dbapi_conn: object) -> str:
        """Return ``SNAPSHOT``."""
        return self.default_isolation_level

    def on_connect(self) -> Callable[[adbc.Connection], None] | None:
        """Return the function that sets ``create_engine``'s level, as SQLAlchemy 1.4 needs it."""
        level = self._level
        if level is None:
            return None
        return lambda connection: self.set_isolation_level(connection, level)


def _place(database: str | None, schema: str | None) -> tuple[str | None, str | None]:
    """Return the initial catalog and schema, from a URL's path and its option ``schema``."""
    first, second = names.split(database) if database else (None, None)
    catalog, current = (first, second) if first else (second, None)
    if schema is None:
        return catalog, current
    other, current = names.split(schema)
    return other or catalog, current


def _flag(name: str, value: str) -> bool:
    if value.lower() not in _TRUE + _FALSE:
        raise exc.ArgumentError(f"{name} is {value!r}; it can be true or false")
    return value.lower() in _TRUE
