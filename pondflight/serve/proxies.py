"""Several proxy processes that listen on one port, and what exists only once for all of them.

This process owns the workers of the backend ``process``, and the counts of rate limits that are in
no Redis. It relays nothing itself.
"""

from __future__ import annotations

import base64
import contextlib
import os
import pickle
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pondflight.errors import ConfigError
from pondflight.limits.headroom import Headroom
from pondflight.limits.leases import Back, LeasedCounter, Owner
from pondflight.limits.rates import MEMORY
from pondflight.proxy import changes
from pondflight.serve import shared_port
from pondflight.serve.child import Child
from pondflight.serve.desk import Asker, Desk
from pondflight.serve.proxy import Proxy
from pondflight.settings import Settings
from pondflight.telemetry import logs, metrics
from pondflight.tls import Certificate
from pondflight.workers.backends.base import Backend
from pondflight.workers.backends.shared import QUESTIONS
from pondflight.workers.connection import SIBLINGS
from pondflight.workers.factory import create_backend

log = logs.get_logger()

PARENT = "parent"
CHANGES = "changes"
"""The file in which proxies note what may have changed tables (``proxy.changes``)."""

_NO_SHARED_PORT = (
    "server.processes is {}, but processes cannot share a port here ({}): that needs Linux 5.5 and "
    "a container runtime that allows seccomp; set it to 1"
)
ASK_SECONDS = 1.0
_AGAIN_SECONDS = 1.0
_END_SECONDS = 10.0
"""Seconds for everything after the drain."""
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Order:
    """The instructions for a proxy process at its start; ``folder`` contains the sockets."""

    settings: Settings = field(repr=False)
    certificate: Certificate | None
    number: int
    folder: Path
    key: bytes = field(repr=False)
    log_level: str

    def asker(self, name: str, timeout: float | None = None) -> Asker:
        """Return a connection to the desk ``name``."""
        return Asker(self.folder, name, self.key, timeout=timeout)

    def line(self) -> bytes:
        """Return it as the first line of a lifeline."""
        return base64.b64encode(pickle.dumps(self)) + b"\n"

    @classmethod
    def of(cls, line: bytes) -> Order:
        """Read the first line of the lifeline, which comes from the parent."""
        order: Order = pickle.loads(base64.b64decode(line))  # noqa: S301
        return order


class Proxies:
    """``server.processes`` proxy processes; one that ends is replaced. To be closed."""

    def __init__(
        self, settings: Settings, certificate: Certificate | None, *, headroom: Headroom
    ) -> None:
        try:
            shared_port.check()
        except OSError as error:
            problem = _NO_SHARED_PORT.format(settings.server.processes, error.strerror or error)
            raise ConfigError([problem]) from error
        self._drain_seconds = settings.server.drain_timeout.total_seconds()
        self._folder = Path(tempfile.mkdtemp(prefix="pondflight-proxies-"))
        self._order = Order(
            settings, certificate, 0, self._folder, secrets.token_bytes(32), logs.level()
        )
        changes.create(self._folder / CHANGES, settings.server.processes)
        services: dict[str, Callable[..., object]] = {}
        self._backend: Backend | None = None
        if settings.workers.backend == "process":
            self._backend = create_backend(settings, "", headroom)
            services |= {name: getattr(self._backend, name) for name in QUESTIONS}
        if settings.security.rate_limit.storage.get_secret_value() == MEMORY:
            services["lease"] = Owner(settings.server.processes, self._recall).lease
        self._desk = Desk(self._folder, PARENT, self._order.key, services)
        self._proxies = [
            _ProxyProcess(replace(self._order, number=number))
            for number in range(settings.server.processes)
        ]

    def _recall(self, number: int, rate: str, user: str) -> Back:
        return self._proxies[number].recall(rate, user)

    def listen(self) -> None:
        """Start them, and wait until all take calls. Raises ``ConfigError`` if one does not."""
        for proxy in self._proxies:
            proxy.start()
        for proxy in self._proxies:
            if not proxy.wait_until_listening():
                problem = f"proxy process {proxy.number} did not start: see the log above"
                raise ConfigError([problem])

    @property
    def ready(self) -> bool:
        """Return whether one of them takes calls that start workers."""
        shares = [proxy.share() for proxy in self._proxies]
        return any(share is not None and share.ready for share in shares)

    def mend(self) -> None:
        """Replace those that have ended."""
        for proxy in self._proxies:
            proxy.mend()

    def drain(self, hurry: Callable[[], bool], stop_http: Callable[[], None]) -> None:
        """Let all of them drain at the same time, and end."""
        shares = [proxy.share() for proxy in self._proxies]
        if any(share is not None and share.shared for share in shares):
            stop_http()
        for proxy in self._proxies:
            proxy.send(signal.SIGTERM)
        deadline = time.monotonic() + self._drain_seconds + _END_SECONDS
        hurried = False
        while time.monotonic() < deadline and any(proxy.alive() for proxy in self._proxies):
            if hurry() and not hurried:
                hurried, deadline = True, min(deadline, time.monotonic() + _END_SECONDS)
                for proxy in self._proxies:
                    proxy.send(signal.SIGINT)
            time.sleep(_POLL_SECONDS)

    def close(self) -> None:
        """End those that are left, then the workers."""
        for proxy in self._proxies:
            proxy.close()
        self._desk.close()
        if self._backend is not None:
            self._backend.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class _ProxyProcess:
    """A process that runs ``python -m pondflight.serve.one_of_proxies``."""

    def __init__(self, order: Order) -> None:
        self.number = order.number
        self._order = order
        self._asker = order.asker(str(order.number), ASK_SECONDS)
        self._child: Child | None = None
        self._started = 0.0

    def start(self) -> None:
        self._started = time.monotonic()
        self._child = Child(
            ["pondflight.serve.one_of_proxies"],
            environment=_environment(self._order.folder),
            order=self._order.line(),
        )

    def wait_until_listening(self) -> bool:
        assert self._child is not None
        return self._child.wait_until(lambda: self.share() is not None)

    def share(self) -> metrics.Share | None:
        """Return its figures; None if it does not answer, or does not listen yet."""
        return share_of(self._asker)

    def recall(self, rate: str, user: str) -> Back:
        """What it holds of a user's rate, and gives back."""
        with contextlib.suppress(OSError, EOFError):  # it has ended, and what it held is lost
            return self._asker.ask(LeasedCounter.recall, rate, user)
        return ()

    def mend(self) -> None:
        if self._child is None or self.alive() or time.monotonic() - self._started < _AGAIN_SECONDS:
            return
        log.error(logs.Event.PROXY_ENDED, process=self.number, exit_code=self._child.code)
        self._child.stop(0.0)
        self.start()

    def alive(self) -> bool:
        return self._child is not None and self._child.alive()

    def send(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.alive():
            self._child.send(number)

    def close(self) -> None:
        if self._child is not None:
            self._child.stop(0.0)


def share_of(asker: Asker) -> metrics.Share | None:
    """Return a proxy process's figures; None if it does not answer, or does not listen yet."""
    with contextlib.suppress(OSError, EOFError):
        return asker.ask(Proxy.share)
    return None


def _environment(folder: Path) -> Mapping[str, str]:
    """All of ours: it is a part of this program, and needs what this one would need without it."""
    return dict(os.environ) | {
        metrics.SHARED: str(folder),
        SIBLINGS: folder.name.rpartition("-")[2],  # as long as the parent lives, nobody else's
    }
