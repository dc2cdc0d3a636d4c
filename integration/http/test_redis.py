"""Several proxies count together where they have a Redis, and each alone while it is gone."""

from __future__ import annotations

import time

import pytest

from integration.http.conftest import Redis
from pondflight.limits import rates as limits
from pondflight.limits.rates import Counter, Rate
from pondflight.proxy.rate_limits import Limits
from tests.stack import Stack


def test_two_proxies_share_what_a_user_may_do(redis: Redis) -> None:
    one = Stack(limits=Limits(4, 4), counters=redis.url)
    two = Stack(limits=Limits(4, 4), counters=redis.url)
    try:
        statuses = [stack.query("alice", "SELECT 1").status for stack in (one, two, one, two)]
        assert statuses == [200] * 4
        for stack in (one, two):
            refused = stack.query("alice", "SELECT 1")
            assert refused.status == 429
            assert 0 < int(refused.headers["retry-after"]) <= 60
            assert stack.query("bob", "SELECT 1").status == 200
    finally:
        one.close()
        two.close()


def test_ticket_of_one_proxy_is_paid_for_at_the_other(redis: Redis) -> None:
    one, two = Counter(redis.url), Counter(redis.url)
    one.pay("x", "alice")
    assert two.spend("x", "alice")
    assert not one.spend("x", "alice")


def test_demo_tokens_are_counted_together(redis: Redis) -> None:
    web = {"demo": True, "demo_tokens_per_hour": 1, "counters": redis.url}
    one, two = Stack(web=web), Stack(web=web)
    try:
        assert one.request("POST", "/auth/demo-token").status == 200
        assert two.request("POST", "/auth/demo-token").status == 429
    finally:
        one.close()
        two.close()


def test_redis_that_goes_away_stops_nobody_and_is_used_again(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_RETRY_SECONDS", 0.5)
    counter, rate = Counter(redis.url), Rate("x", 2, 60)
    assert counter.take(rate, "alice") is None
    redis.stop()
    began = time.monotonic()
    assert counter.take(rate, "alice") is None
    assert counter.take(rate, "alice") is None
    assert counter.take(rate, "alice") is not None  # this process counts for itself
    assert time.monotonic() - began < 5
    redis.start()
    time.sleep(0.6)
    assert counter.take(rate, "alice") is None  # the new server knows of nothing
    assert Counter(redis.url).take(rate, "alice") is None
    assert Counter(redis.url).take(rate, "alice") is not None
