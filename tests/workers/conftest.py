from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pondflight.workers.backends.process import ProcessBackend
from pondflight.workers.policy import Shape
from pondflight.workers.pool import Lease, Pool, PoolSettings, User
from pondflight.workers.states import Reason

MakePool = Callable[..., Pool]


@pytest.fixture(name="make_pool")
def fixture_make_pool() -> Iterator[MakePool]:
    """Pools with subprocesses for workers."""
    made: list[Pool] = []

    def make(**settings: Any) -> Pool:
        backend = settings.pop("backend", None) or ProcessBackend()
        defaults: dict[str, Any] = {
            "instance": "0123456789ab",
            "secret": secrets.token_urlsafe(32),
            "shape": lambda _: Shape(512 << 20, 1.0),
            "idle_timeout": 300.0,
            "max_workers": 10,
            "configuration": lambda _: {},
        }
        made.append(Pool(backend, PoolSettings(**defaults | settings)))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


@contextmanager
def leased(pool: Pool, subject: str) -> Iterator[Lease]:
    lease = pool.lease(User(subject), lambda: None)
    try:
        yield lease
    finally:
        lease.release()


def visit(pool: Pool, subject: str) -> str:
    """Use the worker of a user for a moment; its id."""
    with leased(pool, subject) as lease:
        lease.worker.connection.ping(timeout=10)
        return lease.worker.handle.id


def stopped(pool: Pool, reason: Reason) -> int:
    count: int = pool.counts()["stopped"][reason]
    return count
