"""Rate limits: an amount in a moving window, counted in this process or in a Redis.

"100 a minute, 200 at once" is 200 in any two minutes: at most 200 at once, and 100 a minute on
average.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.errors import ConfigurationError
from limits.storage import Storage, storage_from_string
from limits.strategies import MovingWindowRateLimiter

from pondflight.errors import ConfigError
from pondflight.limits.memory import Hits, Payments, Windows
from pondflight.telemetry.logs import Event, get_logger

log = get_logger()

T = TypeVar("T")

MEMORY: Final = "memory"
_RETRY_SECONDS: Final = 10.0
_REDIS_SECONDS: Final = 1.0
_PAID_SECONDS: Final = 7200
_FETCHED_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``amount`` in any ``seconds``; each ``name`` is counted apart for a user."""

    name: str
    amount: int
    seconds: int

    @classmethod
    def of(cls, name: str, per_minute: int, burst: int) -> Rate:
        """Return a rate of at most ``burst`` at once, and ``per_minute`` on average."""
        seconds = math.ceil(60 * burst / per_minute)
        # If the whole burst passes within a second, the rate is per second.
        return cls(name, max(burst, per_minute // 60) if seconds == 1 else burst, seconds)

    def times(self, factor: int, name: str) -> Rate:
        """Return a rate ``factor`` times as high, for something that is cheaper."""
        return Rate(name, self.amount * factor, self.seconds)

    @property
    def item(self) -> RateLimitItem:
        """Return the rate as the limits library expects it."""
        return RateLimitItemPerSecond(
            self.amount, self.seconds, namespace=f"pondflight/{self.name}"
        )


class Counter:
    """Counts for users, at ``storage``: ``memory`` or a Redis URL.

    While the Redis cannot be reached, this process counts for itself.
    """

    def __init__(self, storage: str = MEMORY) -> None:
        self._windows = Windows()
        self._payments = Payments()
        self._redis = None if storage == MEMORY else _redis(storage)
        self._lost_until = 0.0
        self._lock = threading.Lock()

    def take(self, rate: Rate, user: str, amount: int = 1) -> float | None:
        """Count ``amount`` for ``user``; return None, or the seconds to wait for room for one."""
        found = self._in_redis(lambda redis: (_take(redis, rate, _key(user), amount),))
        if found is not None:
            return found[0]
        taken = self._windows.take((rate.name, user), rate.amount, rate.seconds, amount)
        return None if isinstance(taken, Hits) else taken

    def pay(self, thing: str, user: str) -> None:
        """Note that ``user`` has paid for ``thing`` once."""
        key = f"pondflight/paid/{thing}/{_key(user)}"
        if self._in_redis(lambda redis: redis.storage.incr(key, _PAID_SECONDS)) is None:
            self._payments.add((thing, user))

    def spend(self, thing: str, user: str) -> bool:
        """Return whether ``user`` has paid for ``thing``, once for each payment."""
        name = f"{thing}/{_key(user)}"
        found = self._in_redis(lambda redis: _spend(redis.storage, name))
        return self._payments.spend((thing, user)) if found is None else found

    def _in_redis(self, use: Callable[[MovingWindowRateLimiter], T]) -> T | None:
        """Return what ``use`` finds in the Redis; None if there is none, or it does not answer."""
        if self._redis is not None and time.monotonic() >= self._lost_until:
            try:
                return use(self._redis)
            except Exception as error:  # noqa: BLE001 - whatever Redis's client raises
                self._lost(error)
        return None

    def _lost(self, error: Exception) -> None:
        with self._lock:
            if time.monotonic() < self._lost_until:
                return
            self._lost_until = time.monotonic() + _RETRY_SECONDS
        log.warning(
            Event.COUNTERS_LOST,
            error=type(error).__name__,
            hint="each proxy counts for itself until it can be reached",
        )


def _take(redis: MovingWindowRateLimiter, rate: Rate, key: str, amount: int) -> float | None:
    if redis.hit(rate.item, key, cost=amount):
        return None
    reset = redis.get_window_stats(rate.item, key).reset_time
    return min(max(reset - time.time(), 0.0), float(rate.seconds))


def _spend(storage: Storage, name: str) -> bool:
    fetched = storage.incr(f"pondflight/fetched/{name}", _FETCHED_SECONDS)
    if fetched <= storage.get(f"pondflight/paid/{name}"):
        return True
    storage.incr(f"pondflight/paid/{name}", _PAID_SECONDS)  # who has not paid does so now
    return False


@lru_cache(maxsize=1024)
def _key(user: str) -> str:
    """Return a hash, so that whoever can read the Redis does not learn users' names."""
    return hashlib.sha256(user.encode()).hexdigest()[:32]


def _redis(url: str) -> MovingWindowRateLimiter:
    try:
        storage = storage_from_string(
            url, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS
        )
    except ConfigurationError:
        problem = (
            "security.rate_limit.storage is a Redis, but its client is not installed: "
            "pip install 'pondflight[redis]'"
        )
        raise ConfigError([problem]) from None
    assert isinstance(storage, Storage)
    return MovingWindowRateLimiter(storage)
