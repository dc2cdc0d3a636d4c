"""Settings of the proxy itself: its addresses and limits, Caddy in front, and what it reports."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from pondflight.settings.declaration import Env, Refused, Section
from pondflight.settings.http import AllowedHost, Collector, Origin, TrustedNetwork
from pondflight.settings.kinds import Count, File, Flag, Host, Patience, Port, StatementText


class TLS(Section):
    """TLS on the Flight SQL port, for use without a reverse proxy. HTTP and health stay plain."""

    cert: Annotated[File, Env("TLS_CERT")] = Field(
        default=None,
        description="Certificate chain in PEM, the server's own certificate first. Read once, at "
        "the start.",
    )
    key: Annotated[File, Env("TLS_KEY")] = Field(
        default=None, description="Private key of the certificate, in PEM, without a password."
    )


class Server(Section):
    """Where clients reach the proxy."""

    host: Annotated[Host, Env("HOST")] = Field(
        default="0.0.0.0",  # noqa: S104 - a server in a container listens on every interface
        description="Address that HTTP, Flight SQL and health listen on.",
    )
    port: Annotated[Port, Env("PORT")] = Field(default=8080, description="Port of HTTP.")
    grpc_port: Annotated[Port, Env("GRPC_PORT")] = Field(
        default=8081, description="Port of Flight SQL."
    )
    health_port: Annotated[Port, Env("HEALTH_PORT")] = Field(
        default=8082, description="Port of the gRPC health service."
    )
    processes: Annotated[Count, Env("SERVER_PROCESSES")] = Field(
        default=1,
        description="Proxy processes that listen on grpc_port together, each of which can keep "
        "about one core busy. More than one needs Linux.",
    )
    drain_timeout: Patience = Field(
        default=timedelta(seconds=30),
        description="How long a shutdown waits for running statements.",
    )
    stream_idle_timeout: Patience = Field(
        default=timedelta(minutes=10),
        description="A result whose client has not read on for so long is given up, and its "
        "statement is interrupted.",
    )
    max_calls: Count = Field(
        default=2000,
        description="Flight calls that may run at a time, of all users.",
    )
    max_calls_per_user: Count = Field(
        default=256,
        description="Flight calls that one user may run at a time.",
    )
    tls: TLS = TLS()
    allowed_hosts: Annotated[tuple[AllowedHost, ...], Env("ALLOWED_HOSTS")] = Field(
        default=(),
        description="Host names that HTTP answers to. IP addresses, localhost and names without a "
        "dot are always allowed. If empty, any name is allowed, unless demo tokens are given "
        "(auth.demo.enabled).",
    )
    trusted_proxies: Annotated[tuple[TrustedNetwork, ...], Env("TRUSTED_PROXIES")] = Field(
        default=(),
        description="Trusted reverse proxies. Their X-Forwarded-For gives the client's address.",
    )
    cors_origins: Annotated[tuple[Origin, ...], Env("CORS_ORIGINS")] = Field(
        default=(),
        description="Origins whose web pages may call HTTP from a browser.",
    )

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        uses = Counter(port for port in (self.port, self.grpc_port, self.health_port) if port)
        for port, times in uses.items():
            if times > 1:
                ports = "port, grpc_port and health_port"
                raise Refused(f"{ports} must differ, but {port} stands {times} times")
        return self


class Caddy(Section):
    """The Caddy that `pondflight serve --caddy` starts: TLS with an authority of its own."""

    host: Annotated[Host, Env("CADDY_HOST")] = Field(
        default="localhost",
        description="Host name in its certificate, which is also for 127.0.0.1.",
    )
    port: Annotated[Port, Env("CADDY_PORT")] = Field(
        default=8443, description="Port of Flight SQL, HTTP and health, all with TLS."
    )


class Metrics(Section):
    """GET /metrics, for Prometheus."""

    public: Annotated[Flag, Env("METRICS_PUBLIC")] = Field(
        default=True,
        description="Answer without a token. If false, an administrator's token is required.",
    )


class Tracing(Section):
    """Traces for OpenTelemetry: pip install 'pondflight[otel]'."""

    endpoint: Annotated[Collector, Env("OTEL_EXPORTER_OTLP_ENDPOINT")] = Field(
        default="",
        description="Collector to send traces to, by OTLP over HTTP. Empty: no traces.",
    )


class Console(Section):
    """The page for operators, /console."""

    statement_text: StatementText = Field(
        default="masked",
        description="How much of users' SQL operators see: masked (each value is shown as ?), full"
        " or none.",
    )
