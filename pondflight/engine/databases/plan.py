"""How a configured server becomes an attached database: a secret, an ATTACH, and a gate.

The credentials are passed as parameters to a DuckDB secret: they are in no SQL text, so they can be
in no log of statements. ATTACH reads the secret before it connects; then the secret is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pondflight import dsn
from pondflight.dsn import MYSQL, POSTGRES, Address, Dsn
from pondflight.engine.databases.gate import MOST_CONNECTIONS, Upstream
from pondflight.engine.duck import literal, quote

_LOOPBACK = "127.0.0.1"
_DIRECT_TIMEOUT = "5"
# What the gate does in the client's place, by libpq's names; for Upstream.
_PATIENCE = {
    "connect_timeout": "connect_timeout",
    "keepalives_idle": "keepalive_idle",
    "keepalives_interval": "keepalive_interval",
    "keepalives_count": "keepalive_count",
}
_TAKEN_OVER = frozenset({*_PATIENCE, "keepalives", "tcp_user_timeout", "hostaddr"})


@dataclass(frozen=True, slots=True)
class Spec:
    """One entry of ``duckdb.attached_databases``, as ``control.CONFIGURE`` has it."""

    alias: str
    type: str
    connection_string: str = field(repr=False)
    read_only: bool = True
    exact: bool = True
    """Whether to refuse values that DuckDB would change while reading or writing."""
    on_invalid: str | None = None
    """``error``, ``null`` or ``text``; ``None``: the system's default."""
    max_connections: int = MOST_CONNECTIONS


@dataclass(frozen=True, slots=True)
class Plan:
    """How to attach the database of a server.

    ``upstream`` is where its gate leads; ``None``: DuckDB connects directly, because the connection
    string needs what only the client library can do.
    """

    spec: Spec
    dsn: Dsn
    upstream: Upstream | None

    def secret(self, name: str, port: int | None) -> tuple[str, list[str]]:
        """Return the statement that creates the secret, with its parameters.

        ``port`` is the gate's.
        """
        if self.spec.type == POSTGRES:
            options: Mapping[str, str] = {"uri": _conninfo(self._postgres(port))}
        else:
            options = self._mysql(port)
        terms = ", ".join(f"{option} ?" for option in options)
        create = f"CREATE SECRET {quote(name)} (TYPE {self.spec.type}, {terms})"
        return create, list(options.values())

    def attach(self, secret: str, port: int | None) -> str:
        """Return the statement that attaches. Users can see only the path in it."""
        options = [f"TYPE {self.spec.type}", f"SECRET {quote(secret)}"]
        path: list[str] = []
        if self.spec.type == POSTGRES:
            # Else the extension looks for a table of secrets in the database.
            options.append("SECRET_STORAGE_TABLE ''")
        else:
            # The errors of MySQL's client contain it, and no other hint of the database.
            path += [f"port={port}"] if port else []
            path += [f"compression={c}" for c in [self.dsn.options.get("compression")] if c]
        if self.spec.read_only:
            options.append("READ_ONLY")
        terms = ", ".join(options)
        return f"ATTACH {literal(' '.join(path))} AS {quote(self.spec.alias)} ({terms})"

    def _postgres(self, port: int | None) -> dict[str, str]:
        words = {"user": self.dsn.user, "password": self.dsn.password, "dbname": self.dsn.database}
        options = dict(self.dsn.options)
        if port is None:
            words["host"] = ",".join(address.host for address in self.dsn.addresses)
            words["port"] = ",".join(str(address.port) for address in self.dsn.addresses)
            options.setdefault("connect_timeout", _DIRECT_TIMEOUT)
        else:
            (address,) = self.dsn.addresses
            # Certificates and Kerberos are still checked by name.
            words |= {"host": address.host, "hostaddr": _LOOPBACK, "port": str(port)}
            options = {name: options[name] for name in options if name not in _TAKEN_OVER}
            if address.is_socket:
                words["host"] = "localhost"
                options["sslmode"] = "disable"  # as libpq itself has it on sockets
        options.setdefault("application_name", "pondflight")
        return {name: value for name, value in {**options, **words}.items() if value}

    def _mysql(self, port: int | None) -> dict[str, str]:
        (address,) = self.dsn.addresses
        words = {
            "host": _LOOPBACK if port else address.host,
            "port": "" if port else str(address.port),
            "user": self.dsn.user,
            "password": self.dsn.password,
            "database": self.dsn.database,
        }
        skipped = {"compression", "socket"} if port else {"compression"}
        options = {name: v for name, v in self.dsn.options.items() if name not in skipped}
        return {name: value for name, value in {**options, **words}.items() if value}


def plan(spec: Spec) -> Plan:
    """Return the plan for a server database. Raises ``dsn.Misshapen``."""
    found = dsn.parse(spec.type, spec.connection_string)
    upstream = _upstream(found) if _can_be_gated(spec.type, found) else None
    return Plan(spec, found, upstream)


def _can_be_gated(system: str, found: Dsn) -> bool:
    """Return whether the client library can do without the server's own address.

    Given several hosts, libpq chooses among them; MySQL's client compares a certificate only with
    the name that it connects to.
    """
    if system == MYSQL:
        return found.options.get("ssl_mode", "").lower() != "verify_identity"
    return len(found.addresses) == 1


def _upstream(found: Dsn) -> Upstream:
    (address,) = found.addresses
    options = found.options
    if "socket" in options:
        address = Address(options["socket"], 0)
    elif address.is_socket:  # libpq wants the folder
        address = Address(f"{address.host}/.s.PGSQL.{address.port}", 0)
    elif "hostaddr" in options:
        address = replace(address, host=options["hostaddr"])
    patience = {own: int(options.get(name, 0)) for name, own in _PATIENCE.items()}
    patience = {own: seconds for own, seconds in patience.items() if seconds}
    if options.get("keepalives") == "0":
        patience |= dict.fromkeys(("keepalive_idle", "keepalive_interval", "keepalive_count"), 0)
    if "tcp_user_timeout" in options:  # in milliseconds, for libpq
        patience["user_timeout"] = -(-int(options["tcp_user_timeout"]) // 1000)
    return Upstream(address, **patience)


def _conninfo(words: Mapping[str, str]) -> str:
    """Return libpq's connection string: ``name='value' …``, with values escaped."""
    escaped = {name: v.replace("\\", "\\\\").replace("'", "\\'") for name, v in words.items()}
    return " ".join(f"{name}='{value}'" for name, value in escaped.items())
