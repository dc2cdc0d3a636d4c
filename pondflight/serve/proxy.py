"""A proxy in this process: the pool of workers, and the Flight SQL server."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from pondflight.addresses import Origins, joined
from pondflight.errors import Cancelled
from pondflight.limits.headroom import Headroom
from pondflight.limits.rates import Counter
from pondflight.proxy.changes import Changes
from pondflight.proxy.databases import Database, Databases
from pondflight.proxy.in_flight import CallLimits
from pondflight.proxy.rate_limits import Charges, Limits
from pondflight.proxy.server import ProxyServer
from pondflight.settings import Settings
from pondflight.telemetry.metrics import Share
from pondflight.tls import Certificate
from pondflight.web.configuration import Configuration
from pondflight.workers.backends.base import Backend
from pondflight.workers.factory import create_backend, pool_settings
from pondflight.workers.pool import Pool

POLL_SECONDS = 0.1
CUT_SECONDS = 5.0


class Proxy:
    """A proxy, made from settings with a secret, and from what several proxies share.

    To be closed.
    """

    def __init__(
        self,
        settings: Settings,
        certificate: Certificate | None,
        *,
        headroom: Headroom,
        backend: Backend | None = None,
        counter: Counter | None = None,
        changes: Changes | None = None,
        siblings: Callable[[], Sequence[Share]] = tuple,
    ) -> None:
        assert settings.security.jwt_secret is not None
        self._settings = settings
        self._certificate = certificate
        self._headroom = headroom
        self._secret = settings.security.jwt_secret.get_secret_value()
        self._counter = counter or Counter(settings.security.rate_limit.storage.get_secret_value())
        self._changes = changes
        self._siblings = siblings
        self._server: ProxyServer | None = None
        chosen = pool_settings(settings, self._secret)
        if backend is not None:  # its owner ends the workers
            chosen = replace(chosen, keep_workers=True)
        self.pool = Pool(
            backend or create_backend(settings, self._secret, headroom),
            replace(chosen, siblings=settings.server.processes - 1),
        )

    def listen(self) -> None:
        """Take calls. Raises ``pyarrow.ArrowException`` if the port is taken."""
        settings, server = self._settings, self._settings.server
        scheme = "grpc" if self._certificate is None else "grpc+tls"
        self._server = ProxyServer(
            f"{scheme}://{joined(server.host, server.grpc_port)}",
            pool=self.pool,
            tokens=Configuration.of(settings, self._secret).tokens(),
            charges=_charges(settings, self._counter),
            databases=_databases(settings),
            demo_seconds=settings.auth.demo.statement_timeout.total_seconds(),
            certificate=self._certificate,
            headroom=self._headroom,
            call_limits=CallLimits(
                server.max_calls,
                server.max_calls_per_user,
                server.stream_idle_timeout.total_seconds() or math.inf,
            ),
            changes=self._changes,
            siblings=self._siblings,
        )

    @property
    def ready(self) -> bool:
        """Return whether new workers can be started, as far as is known."""
        return self.pool.ready

    def share(self) -> Share | None:
        """Return this server's figures; None before it listens."""
        return self._server and self._server.share()

    def mend(self) -> None:
        """Do nothing: what breaks here ends this process."""

    def drain(self, hurry: Callable[[], bool], stop_http: Callable[[], None]) -> None:
        """Let running calls end, and clients fetch what they were promised; then end the server.

        It waits for ``server.drain_timeout``, or until ``hurry``, and then cancels what still runs.
        If another proxy serves the same workers, nothing listens here any more, so that a reverse
        proxy sends new calls there instead of passing on a refusal.
        """
        server = self._server
        if server is None:
            return
        deadline = time.monotonic() + self._settings.server.drain_timeout.total_seconds()
        # A client that has stopped reading would hold its call for ever: the end of the process
        # ends it.
        closer = threading.Thread(target=server.close, daemon=True)
        if self.pool.shared:
            stop_http()
            closer.start()
        else:
            server.draining = True
        while server.unfinished and time.monotonic() < deadline and not hurry():
            time.sleep(POLL_SECONDS)
        for call in server.calls.running():
            call.cancel(Cancelled("the server is shutting down"))
        if not closer.ident:
            closer.start()
        deadline = time.monotonic() + CUT_SECONDS
        while closer.is_alive() and time.monotonic() < deadline and not hurry():
            closer.join(POLL_SECONDS)

    def close(self) -> None:
        """Stop the workers, or leave them to the next proxy."""
        self.pool.close()


def _charges(settings: Settings, counter: Counter) -> Charges:
    user, demo = settings.security.rate_limit, settings.auth.demo.rate_limit
    return Charges(
        counter,
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
