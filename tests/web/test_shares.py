"""What users do at the same time has a bounded number of places, shared between them."""

from __future__ import annotations

import pytest

from pondflight.errors import LimitExceeded, Unavailable
from pondflight.web.shares import Shares


def test_a_place_is_there_for_the_next_when_it_is_given_back() -> None:
    shares = Shares(1, 1, "results")
    for _ in range(3):
        leave = shares.enter("ann")
        with pytest.raises(Unavailable, match="too many results at once: try again"):
            shares.enter("bob")
        leave()
    assert len(shares) == 0


def test_who_has_their_share_leaves_the_rest_to_others() -> None:
    shares = Shares(10, 3, "results")
    mine = [shares.enter("ann") for _ in range(3)]
    with pytest.raises(LimitExceeded, match="yours") as caught:
        shares.enter("ann")
    assert caught.value.retry_after == 1
    shares.enter("bob")
    mine.pop()()
    shares.enter("ann")


@pytest.mark.parametrize(("most", "most_of_one"), [(256, 32), (64, 16), (8, 8)])
def test_several_greedy_users_do_not_take_all_places_either(most: int, most_of_one: int) -> None:
    shares = Shares(most, most_of_one, "results")
    for user in range(most // most_of_one + 1):
        with pytest.raises(LimitExceeded):
            while True:
                shares.enter(f"greedy {user}")
    assert len(shares) < most
    shares.enter("modest")
