"""The settings for the HTTP process, passed through a pipe as JSON.

The process does not load the settings itself: loading would take a tenth of its memory, and some
settings (database passwords) are none of its business.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pondflight.addresses import joined, reachable
from pondflight.auth.jwks import JwksKeys
from pondflight.auth.keys import NO_KEYS, FixedKeys, Keys, Provider, read_pem
from pondflight.auth.tokens import Tokens
from pondflight.control import Json
from pondflight.tls import Certificate, load

if TYPE_CHECKING:
    from pondflight.settings import AI, Settings

_EACH = 4
"""Connections per proxy process, since it is random which process accepts one."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """All of it.

    ``bind``             address and port to listen on
    ``proxy``            Flight URI of the proxy
    ``connections``      to the proxy: more than one where it is several processes
    ``secret``           signs and verifies HS256
    ``jwks_url`` … ``user_claim``  as the settings have them under ``auth``
    ``allowed_hosts``, ``trusted_proxies``, ``cors_origins``  as under ``server``
    ``demo``             whether strangers get tokens
    ``demo_tokens_per_hour``  for one address
    ``counters``         where they are counted: ``memory``, or a Redis URL
    ``metrics_public``   whether /metrics answers without a token
    ``collector``        where traces go; empty: nowhere
    ``ai_providers``     name: whether it has a key
    ``ai``               as ``ai.models.AISettings.of`` takes it; None: no models
    ``ai_per_minute``    questions of one user
    ``ai_for_demo``      whether demo users may ask
    ``flight_port``      where the proxy listens, for whoever wants to connect
    ``statement_text``   as under ``console``
    ``cert``, ``key``    files with the certificate of the proxy; empty: it has no TLS
    """

    bind: str
    proxy: str
    secret: str
    jwks_url: str = ""
    public_key: str = ""
    issuer: str = ""
    audience: tuple[str, ...] = ()
    user_claim: str = "sub"
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    demo: bool = False
    demo_tokens_per_hour: int = 10
    counters: str = "memory"
    metrics_public: bool = True
    collector: str = ""
    ai_providers: tuple[tuple[str, bool], ...] = ()
    ai: Json | None = None
    ai_per_minute: int = 30
    ai_for_demo: bool = False
    flight_port: int = 8081
    statement_text: str = "masked"
    cert: str = ""
    key: str = ""
    connections: int = 1

    @classmethod
    def of(cls, settings: Settings, secret: str) -> Configuration:
        """Take the HTTP process's configuration from ``settings``."""
        server, auth = settings.server, settings.auth
        scheme = "grpc" if server.tls.cert is None else "grpc+tls"
        return cls(
            bind=joined(server.host, server.port),
            proxy=f"{scheme}://{joined(reachable(server.host), server.grpc_port)}",
            secret=secret,
            jwks_url=auth.jwks_url,
            public_key=auth.public_key,
            issuer=auth.issuer,
            audience=auth.audience,
            user_claim=auth.user_claim,
            allowed_hosts=server.allowed_hosts,
            trusted_proxies=server.trusted_proxies,
            cors_origins=server.cors_origins,
            demo=auth.demo.enabled,
            demo_tokens_per_hour=auth.demo.tokens_per_hour,
            counters=settings.security.rate_limit.storage.get_secret_value(),
            metrics_public=settings.metrics.public,
            collector=settings.tracing.endpoint,
            ai_providers=(
                ("claude", settings.ai.claude_api_key is not None),
                ("openai", settings.ai.openai_api_key is not None),
            ),
            ai=_ai(settings.ai),
            ai_per_minute=settings.ai.requests_per_minute,
            ai_for_demo=auth.demo.ai,
            flight_port=server.grpc_port,
            statement_text=settings.console.statement_text,
            cert=str(server.tls.cert or ""),
            key=str(server.tls.key or ""),
            connections=1 if server.processes == 1 else _EACH * server.processes,
        )

    @property
    def address(self) -> tuple[str, int]:
        """Return the host and port at which this machine reaches the HTTP process."""
        host, _, port = self.bind.rpartition(":")
        return reachable(host.strip("[]")), int(port)

    def tokens(self) -> Tokens:
        """Return a verifier of tokens for these settings."""
        keys: Keys = NO_KEYS
        if self.jwks_url:
            keys = JwksKeys(self.jwks_url)
        elif self.public_key:
            keys = FixedKeys((read_pem(self.public_key),))
        return Tokens(self.secret, Provider(self.issuer, self.audience, self.user_claim), keys)

    def certificate(self) -> Certificate | None:
        """Return the proxy's certificate, or None without TLS."""
        return load(Path(self.cert), Path(self.key)) if self.cert else None

    def to_json(self) -> bytes:
        """Return the configuration as one line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_json(cls, line: bytes) -> Configuration:
        """Read a configuration from a line that ``to_json`` wrote."""
        values: Json = json.loads(line)
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = tuple(value)
        return cls(**values)


def _ai(ai: AI) -> Json:
    claude, openai = ai.claude_api_key, ai.openai_api_key
    return {
        "claude": {
            "key": None if claude is None else claude.get_secret_value(),
            "base_url": ai.claude_base_url,
        },
        "openai": {
            "key": None if openai is None else openai.get_secret_value(),
            "base_url": ai.openai_base_url,
        },
        "default_model": ai.default_model,
        "timeout": ai.timeout.total_seconds(),
        "max_tokens": ai.max_tokens,
    }
