from __future__ import annotations

import time

import pytest

from pondflight.engine.guards.proxies import Proxies


def test_each_proxy_hears_how_many_others_there_are() -> None:
    proxies = Proxies()
    assert proxies.hear("a") == 0
    assert proxies.hear("b") == 1
    assert proxies.hear("a") == 1
    assert proxies.hear("") == 2  # one that does not say who it is


def test_of_two_that_leave_the_last_is_alone() -> None:
    proxies = Proxies()
    proxies.hear("a")
    proxies.hear("b")
    assert proxies.hear("-a") == 1
    assert proxies.hear("-b") == 0


def test_one_that_has_been_silent_for_long_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = Proxies()
    proxies.hear("a")
    later = time.monotonic() + 31
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert proxies.hear("b") == 0


def test_ids_that_are_made_up_fill_no_memory() -> None:
    proxies = Proxies()
    for number in range(10_000):
        proxies.hear(str(number))
    assert proxies.hear("one more") == 64
