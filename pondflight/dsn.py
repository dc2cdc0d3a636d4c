"""Parses the connection strings of database servers.

The proxy checks them before anything starts, and the worker connects by them; both use this module.
Error messages never quote the string, since any part of it may be the password.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

POSTGRES = "postgres"
MYSQL = "mysql"

SCHEMES: Mapping[str, tuple[str, ...]] = {
    POSTGRES: ("postgresql", "postgres"),
    MYSQL: ("mysql",),
}
"""The schemes of URLs for each system, the preferred one first."""

_DEFAULT_PORT = {POSTGRES: 5432, MYSQL: 3306}
_HIGHEST_PORT = 65535

# What libpq knows, as far as DuckDB's extension passes it on.
_LIBPQ = frozenset(
    """
    hostaddr passfile require_auth channel_binding connect_timeout client_encoding options
    application_name fallback_application_name keepalives keepalives_idle keepalives_interval
    keepalives_count tcp_user_timeout replication gssencmode sslmode requiressl sslnegotiation
    sslcompression sslcert sslkey sslkeylogfile sslpassword sslcertmode sslrootcert sslcrl sslcrldir
    sslsni requirepeer ssl_min_protocol_version ssl_max_protocol_version min_protocol_version
    max_protocol_version krbsrvname gsslib gssdelegation scram_client_key scram_server_key service
    target_session_attrs load_balance_hosts oauth_issuer oauth_client_id oauth_client_secret
    oauth_scope
    """.split()  # noqa: SIM905 - a list of fifty quoted words is no better to read
)
_MYSQL = frozenset(
    {
        "socket",
        "compression",
        "ssl_mode",
        "ssl_ca",
        "ssl_capath",
        "ssl_cert",
        "ssl_cipher",
        "ssl_crl",
        "ssl_crlpath",
        "ssl_key",
    }
)
_CHOICES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    POSTGRES: {"sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")},
    MYSQL: {
        "ssl_mode": ("disabled", "preferred", "required", "verify_ca", "verify_identity"),
        "compression": ("disabled", "preferred", "required"),
    },
}
_NUMBERS = frozenset(
    {
        "connect_timeout",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
    }
)

_URL = re.compile(r"([a-z]+)://(?:([^@/?#]*)@)?([^@/?#]*)(?:/([^/?#]*))?(?:\?([^#]*))?")
_HOST = re.compile(r"(\[[0-9A-Za-z.:%_-]+\]|[^:\[\]]*)(?::([0-9]*))?")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Misshapen(ValueError):
    """A malformed connection string. The text follows "it " and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: a host name, an IP address, or the path of a Unix socket."""

    host: str
    port: int

    @property
    def is_socket(self) -> bool:
        """Return whether ``host`` is a Unix socket, or the folder with it."""
        return self.host.startswith(("/", "@"))


@dataclass(frozen=True, slots=True)
class Dsn:
    """A parsed connection string. If it has several addresses, any of them may be the server."""

    addresses: tuple[Address, ...]
    user: str
    password: str = field(repr=False)
    database: str
    options: Mapping[str, str] = field(repr=False)


def parse(system: str, text: str) -> Dsn:
    """Parse the URL ``text`` of a database on ``system``. Raises ``Misshapen``."""
    scheme = SCHEMES[system][0]
    if text.partition("://")[0] not in SCHEMES[system]:
        raise Misshapen(f"is not a URL that begins with {scheme}://")
    found = _URL.fullmatch(text)
    if found is None:
        raise Misshapen(
            "is not a URL (a '/', '?', '#', '@', '[' or ']' in a password is written as %2F, ...)"
        )
    _, login, hosts, database, query = found.groups(default="")
    user, _, password = login.partition(":")
    options = _options(system, query)
    named = {
        name: options.pop(name, _decoded(value))
        for name, value in (("user", user), ("password", password), ("dbname", database))
    }
    if not named["dbname"]:
        raise Misshapen("names no database after the host")
    addresses = _addresses(system, options.pop("host", ""), options.pop("port", ""), hosts)
    return Dsn(addresses, named["user"], named["password"], named["dbname"], options)


def _addresses(system: str, host: str, port: str, hosts: str) -> tuple[Address, ...]:
    """Return the addresses in the options ``host`` and ``port``, or else those after the ``@``."""
    default = str(_DEFAULT_PORT[system])
    if host:
        names = host.split(",")
        ports = port.split(",") if port else [default]
        if len(ports) == 1:
            ports *= len(names)
        if len(ports) != len(names):
            raise Misshapen("must have as many ports as hosts")
        pairs = list(zip(names, ports, strict=True))
    else:
        pairs = [_pair(one, port or default) for one in hosts.split(",")]
    if len(pairs) > 1 and system == MYSQL:
        raise Misshapen("names more than one host")
    return tuple(Address(_name(name), _port(number or default)) for name, number in pairs)


def _pair(text: str, default: str) -> tuple[str, str]:
    found = _HOST.fullmatch(text)
    if found is None:
        raise Misshapen(
            "is not a URL (a '/', '?', '#', '@', '[' or ']' in a password is written as %2F, ...)"
        )
    name, port = found.groups(default="")
    return _decoded(name.removeprefix("[").removesuffix("]")), port or default


def _name(text: str) -> str:
    if not text:
        raise Misshapen("names no host")
    return text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _HIGHEST_PORT:
        raise Misshapen(f"is not a URL: a port is a number up to {_HIGHEST_PORT}")
    if not int(text):
        raise Misshapen("has the port 0")
    return int(text)


def _options(system: str, query: str) -> dict[str, str]:
    """Return the options after the ``?``: names in the extension's spelling, values decoded."""
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        written, equals, value = part.partition("=")
        name, decoded = _spelt(system, _decoded(written)), _decoded(value)
        if not equals:
            raise Misshapen("has an option without a value (name=value, with & between)")
        if name == "ssl" and decoded == "true" and system == POSTGRES:
            name, decoded = "sslmode", "require"  # as libpq reads JDBC's option
        _check(system, name, decoded)
        if name in options:
            raise Misshapen(f"has the option {name} twice")
        options[name] = decoded
    return options


def _spelt(system: str, name: str) -> str:
    return name.lower().replace("-", "_") if system == MYSQL else name


def _check(system: str, name: str, value: str) -> None:
    known = (
        _LIBPQ | {"host", "port", "user", "password", "dbname"} if system == POSTGRES else _MYSQL
    )
    if name not in known:
        # The name itself may be half of a password.
        near = difflib.get_close_matches(name, known, n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        raise Misshapen(f"has an option that {system} connections do not have{hint}")
    choices = _CHOICES[system].get(name)
    if choices and (value.lower() if system == MYSQL else value) not in choices:
        raise Misshapen(f"has another {name} than {', '.join(choices)}")
    if name in _NUMBERS and not re.fullmatch(r"[0-9]{1,9}", value):
        raise Misshapen(f"has a {name} that is not a whole number")


def _decoded(text: str) -> str:
    if _ESCAPE.search(text):
        raise Misshapen("has a '%' with no two hexadecimal digits behind it (write % as %25)")
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise Misshapen("has percent-encoded bytes that are not UTF-8") from None
    if "\0" in decoded:
        raise Misshapen("has a control character in it")
    return decoded
