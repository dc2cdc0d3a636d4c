"""One of several proxy processes: ``python -m pondflight.serve.one_of_proxies``.

Its parent sends SIGTERM to let it drain, and SIGINT to drain without waiting.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import closing
from queue import SimpleQueue
from typing import TypeVar

from pondflight import lifeline, memory

memory.tame(arrow=memory.UPLOADS)  # before pyarrow is imported

from pondflight.errors import Unavailable  # noqa: E402
from pondflight.limits.headroom import Headroom, allow_descriptors  # noqa: E402
from pondflight.limits.rates import MEMORY, Counter, Rate  # noqa: E402
from pondflight.serve import shared_port  # noqa: E402
from pondflight.serve.desk import Asker, Desk  # noqa: E402
from pondflight.serve.proxies import ASK_SECONDS, PARENT, Order, share_of  # noqa: E402
from pondflight.serve.proxy import Proxy  # noqa: E402
from pondflight.telemetry import logs, metrics, tracing  # noqa: E402
from pondflight.workers.backends.shared import SharedProcesses  # noqa: E402

T = TypeVar("T")


def main() -> None:
    """Serve until SIGTERM; end with the parent, however the parent ends."""
    signals: SimpleQueue[int] = SimpleQueue()  # may be put to in the middle of a get
    hurried = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, _: signals.put(number))
    signal.signal(signal.SIGINT, lambda *_: hurried.set())
    order = Order.of(lifeline.first_line())
    lifeline.on_end(lambda: os._exit(1))
    logs.configure(order.log_level)
    settings = order.settings
    if settings.tracing.endpoint:
        tracing.configure(settings.tracing.endpoint, "pondflight-proxy")
    allow_descriptors()
    parent = order.asker(PARENT)
    others = [
        order.asker(str(number), ASK_SECONDS)
        for number in range(settings.server.processes)
        if number != order.number
    ]

    def siblings() -> list[metrics.Share]:
        return [share for share in map(share_of, others) if share is not None]

    in_memory = settings.security.rate_limit.storage.get_secret_value() == MEMORY
    with closing(
        Proxy(
            settings,
            order.certificate,
            headroom=Headroom(),
            backend=SharedProcesses(parent) if settings.workers.backend == "process" else None,
            counter=_CountedByParent(parent) if in_memory else None,
            siblings=siblings,
        )
    ) as proxy:
        shared_port.listening(proxy.listen)
        desk = Desk(order.folder, str(order.number), order.key, {"share": proxy.share})
        signals.get()
        proxy.drain(hurried.is_set, lambda: None)
        desk.close()


class _CountedByParent(Counter):
    """Rate limits that are counted for all processes together."""

    def __init__(self, parent: Asker) -> None:
        self._parent = parent

    def take(self, rate: Rate, user: str, amount: int = 1) -> float | None:
        return self._ask(Counter.take, rate, user, amount)

    def add(self, name: str, user: str, seconds: int) -> int:
        return self._ask(Counter.add, name, user, seconds)

    def used(self, name: str, bound: str, user: str, seconds: int) -> bool:
        return self._ask(Counter.used, name, bound, user, seconds)

    def _ask(self, question: Callable[..., T], *arguments: object) -> T:
        try:
            return self._parent.ask(question, *arguments)
        except (OSError, EOFError):
            raise Unavailable("the server is ending: connect again in a moment") from None


if __name__ == "__main__":
    main()
