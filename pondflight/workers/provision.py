"""What the worker of a user gets: databases, settings of its DuckDB, a share of the machine.

All of it follows from the settings and the user's token.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from pondflight import dsn
from pondflight.auth import access
from pondflight.control import GATES, NO_WALLS, Walls
from pondflight.settings import FILE_TYPES, AttachedDatabase, Settings
from pondflight.workers.policy import Shape, User
from pondflight.workers.spec import BoundFile

_BESIDE = ("-journal", "-shm", "-wal", ".wal")
"""Suffixes of files that SQLite and DuckDB may have put beside a file, to be read with it."""


class Provision:
    """What each worker gets according to ``settings``: limits, databases, storage."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def access(self, user: User) -> str:
        """Return a fingerprint of the databases that the user may see."""
        databases = self._settings.duckdb.attached_databases
        return access.fingerprint(databases, user.claims, demo=user.demo)

    def shape(self, user: User | None) -> Shape:
        """Return what the worker is started with; without a user, that of a warm worker."""
        containers, demo = self._settings.containers, self._settings.auth.demo
        is_demo = user is not None and user.demo
        return Shape(
            memory_limit=demo.memory_limit if is_demo else containers.memory_limit,
            cpu_limit=demo.cpu_limit if is_demo else containers.cpu_limit,
            storage=self._storage(user),
            files=files_of(self._databases(user)),
            walls=walls_of(self._settings, self._reachable(user)),
        )

    def preparation(self) -> dict[str, object]:
        """Return the configuration for a warm worker, which has no user yet."""
        databases = self._settings.duckdb.attached_databases
        types = {database.type.value for database in databases} - {"duckdb"}
        return {"extensions": sorted(types.union(self._extensions()))}

    def configuration(self, user: User) -> dict[str, object]:
        """Return the configuration of the user's worker (``control.CONFIGURE``)."""
        settings, duckdb = self._settings, self._settings.duckdb
        return {
            "extensions": self._extensions(),
            "sandbox": {"allow_network": duckdb.allow_network} if duckdb.sandbox else None,
            "databases": [entry_of(database) for database in self._databases(user)],
            "require_all": duckdb.require_all,
            "init_sql": duckdb.init_sql.get_secret_value() if duckdb.init_sql else "",
            "storage_limit": duckdb.storage_limit,
            "scratch_limit": duckdb.scratch_limit,
            "sessions": {
                "idle_timeout": settings.sessions.idle_timeout.total_seconds(),
                "max_sessions": settings.sessions.max_per_user,
                "statement_timeout": duckdb.statement_timeout.total_seconds(),
            },
            "tracing": {"endpoint": settings.tracing.endpoint},
        }

    def _databases(self, user: User | None) -> list[AttachedDatabase]:
        claims, demo = (user.claims, user.demo) if user else ({}, False)
        return access.visible(self._settings.duckdb.attached_databases, claims, demo=demo)

    def _reachable(self, user: User | None) -> Sequence[AttachedDatabase]:
        """Return the databases that a worker's walls are open to.

        A user who claims a warm worker may see servers that it was not started for, but files
        cannot be added later.
        """
        visible = self._databases(user)
        if not self._settings.workers.warm:
            return visible
        every = self._settings.duckdb.attached_databases
        return [*visible, *(one for one in every if one.type not in FILE_TYPES)]

    def _extensions(self) -> list[str]:
        duckdb = self._settings.duckdb
        return [*duckdb.extensions, *(["httpfs"] if duckdb.allow_network else [])]

    def _storage(self, user: User | None) -> str:
        if user is None or self._settings.duckdb.storage != "persistent":
            return ""
        return access.storage_name(user.subject, self.access(user))


def entry_of(database: AttachedDatabase) -> dict[str, object]:
    """Return a database's entry in ``control.CONFIGURE``."""
    return {
        "alias": database.alias,
        "type": database.type.value,
        "connection_string": database.connection_string.get_secret_value(),
        "read_only": database.read_only,
        "exact": database.exact,
        "on_invalid": database.on_invalid,
        "max_connections": database.max_connections,
    }


def files_of(databases: Iterable[AttachedDatabase]) -> tuple[BoundFile, ...]:
    """Return those of the databases that are files."""
    return tuple(
        BoundFile(database.connection_string.get_secret_value(), database.read_only)
        for database in databases
        if database.type in FILE_TYPES
    )


def walls_of(settings: Settings, databases: Iterable[AttachedDatabase]) -> Walls:
    """Return what a worker for these databases may reach: files, servers, and what they need."""
    duckdb = settings.duckdb
    if not duckdb.sandbox:
        return NO_WALLS
    files = files_of(databases := list(databases))
    found = [
        dsn.parse(one.type.value, one.connection_string.get_secret_value())
        for one in databases
        if one.type not in FILE_TYPES
    ]
    addresses = [address for one in found for address in one.addresses]
    sockets = any(address.is_socket for address in addresses) or any(
        "socket" in one.options for one in found
    )
    ports = {address.port for address in addresses if not address.is_socket}
    collector = urlsplit(settings.tracing.endpoint)
    if collector.hostname:
        ports.add(collector.port or (443 if collector.scheme == "https" else 80))
    anywhere = duckdb.allow_network or duckdb.init_sql is not None
    hosts = [address.host for address in addresses if not address.is_socket]
    hosts += [collector.hostname] if collector.hostname else []
    return Walls(
        mode=settings.workers.confinement,
        readable=(
            *(path for file in files for path in (file.path, *map(file.path.__add__, _BESIDE))),
            *(v for one in found for v in one.options.values() if v.startswith("/")),
            *settings.workers.readable,
        ),
        writable=tuple(file.path for file in files if not file.read_only),
        ports=None if anywhere else tuple(sorted(ports)),
        names=anywhere or not all(map(_is_address, hosts)),
        sockets=sockets or duckdb.init_sql is not None,
        gates=len(found) * GATES,
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
