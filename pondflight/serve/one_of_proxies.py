"""One of several proxy processes: ``python -m pondflight.serve.one_of_proxies``.

Its parent sends SIGTERM to let it drain, and SIGINT to drain without waiting.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

from pondflight import lifeline, memory

memory.tame(arrow=memory.UPLOADS)  # before pyarrow is imported

from pondflight.errors import Unavailable  # noqa: E402
from pondflight.limits.headroom import Headroom, allow_descriptors  # noqa: E402
from pondflight.limits.leases import Back, Lease, LeasedCounter, Owner  # noqa: E402
from pondflight.limits.rates import MEMORY, Rate  # noqa: E402
from pondflight.proxy.changes import Changes  # noqa: E402
from pondflight.serve import shared_port  # noqa: E402
from pondflight.serve.desk import Asker, Desk  # noqa: E402
from pondflight.serve.proxies import ASK_SECONDS, CHANGES, PARENT, Order, share_of  # noqa: E402
from pondflight.serve.proxy import Proxy  # noqa: E402
from pondflight.telemetry import logs, metrics, tracing  # noqa: E402
from pondflight.workers.backends.shared import SharedProcesses  # noqa: E402


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

    counter = LeasedCounter(
        lambda *asked: _lease(parent, order.number, *asked),
        [partial(_spend, other) for other in others],
    )
    in_memory = settings.security.rate_limit.storage.get_secret_value() == MEMORY
    with closing(
        Proxy(
            settings,
            order.certificate,
            headroom=Headroom(),
            backend=SharedProcesses(parent) if settings.workers.backend == "process" else None,
            counter=counter if in_memory else None,
            changes=Changes(order.folder / CHANGES, settings.server.processes, order.number),
            siblings=siblings,
        )
    ) as proxy:
        shared_port.listening(proxy.listen)
        services: dict[str, Callable[..., Any]] = {
            "share": proxy.share,
            "recall": counter.recall,
            "spend_here": counter.spend_here,
        }
        desk = Desk(order.folder, str(order.number), order.key, services)
        signals.get()
        proxy.drain(hurried.is_set, lambda: None)
        desk.close()


def _lease(
    parent: Asker, number: int, rate: Rate, user: str, amount: int, back: Back
) -> Lease | float:
    try:
        return parent.ask(Owner.lease, number, rate, user, amount, back)
    except (OSError, EOFError):
        raise Unavailable("the server is ending: connect again in a moment") from None


def _spend(other: Asker, thing: str, user: str) -> bool:
    with suppress(OSError, EOFError):  # it is about to be replaced
        return other.ask(LeasedCounter.spend_here, thing, user)
    return False


if __name__ == "__main__":
    main()
