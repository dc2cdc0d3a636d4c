"""Rate limits of several processes that ask an owner seldom."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import pytest

from pondflight.limits import leases
from pondflight.limits.leases import Back, Lease, LeasedCounter, Owner
from pondflight.limits.rates import Rate

PROCESSES = 3


class Processes:
    """Counters of three processes, and what they have asked their owner."""

    def __init__(self) -> None:
        self.asked = 0
        self.recalled = 0
        self.owner = Owner(PROCESSES, self._recall)
        self.counters = [self._counter(number) for number in range(PROCESSES)]

    def _counter(self, number: int) -> LeasedCounter:
        def lease(*asked: Any) -> Lease | float:
            self.asked += 1
            return self.owner.lease(number, *asked)

        def others(thing: str, user: str) -> bool:
            return any(
                other.spend_here(thing, user)
                for index, other in enumerate(self.counters)
                if index != number
            )

        return LeasedCounter(lease, [others])

    def _recall(self, number: int, rate: str, user: str) -> Back:
        self.recalled += 1
        return self.counters[number].recall(rate, user)


def test_all_of_a_limit_can_be_had_and_not_one_more() -> None:
    """Whichever process is asked, though each holds a share of what was left."""
    processes, rate = Processes(), Rate("x", 100, 60)
    outcomes = [processes.counters[n % PROCESSES].take(rate, "ann") for n in range(30)]
    assert outcomes == [None] * 30
    taken = 0
    while processes.counters[0].take(rate, "ann") is None:
        taken += 1
    assert taken == 70
    assert [counter.take(rate, "ann") is None for counter in processes.counters] == [False] * 3
    assert processes.counters[1].take(rate, "ben") is None


def test_an_owner_is_asked_seldom_until_the_limit_is_near() -> None:
    processes, rate = Processes(), Rate("x", 10_000, 60)
    for number in range(1200):
        assert processes.counters[number % PROCESSES].take(rate, "ann") is None
    assert processes.asked == PROCESSES
    assert processes.counters[0].take(rate, "ann", 8_700) is None
    asked = processes.asked
    for _ in range(100):
        assert processes.counters[0].take(rate, "ann") is None
    assert processes.counters[0].take(rate, "ann") is not None
    assert processes.asked - asked < 60


def test_who_is_refused_again_and_again_disturbs_no_other_process() -> None:
    processes, rate = Processes(), Rate("x", 50, 60)
    for _ in range(3):
        for counter in processes.counters:
            counter.take(rate, "ann")
    assert processes.counters[0].take(rate, "ann", 41) is None
    recalled = processes.recalled
    assert all(processes.counters[0].take(rate, "ann") is not None for _ in range(20))
    assert processes.recalled == recalled


def test_a_lease_ends_and_what_is_left_of_it_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.02)
    processes, rate = Processes(), Rate("x", 600, 60)
    counter = processes.counters[0]
    for asked in range(1, 4):
        assert counter.take(rate, "ann") is None
        assert processes.asked == asked
        time.sleep(0.03)
    assert processes.counters[1].take(rate, "ann", 597) is None
    assert processes.counters[1].take(rate, "ann") is not None


def test_no_limit_is_passed_whatever_threads_do_at_a_time() -> None:
    processes, rate = Processes(), Rate("x", 400, 60)
    outcomes: Counter[bool] = Counter()
    lock = threading.Lock()

    def run(counter: LeasedCounter) -> None:
        found = Counter(counter.take(rate, "ann") is None for _ in range(200))
        with lock:
            outcomes.update(found)

    threads = [threading.Thread(target=run, args=(counter,)) for counter in processes.counters * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes[True] <= 400
    rest = 0
    while processes.counters[0].take(rate, "ann") is None:
        rest += 1
    assert outcomes[True] + rest == 400


def test_what_was_paid_at_one_process_is_good_at_each_once() -> None:
    one, other, _ = Processes().counters
    one.pay("ticket", "ann")
    assert not other.spend("ticket", "ben")
    assert other.spend("ticket", "ann")
    assert not one.spend("ticket", "ann")
