"""Who is told that a worker has ended, and what it had with it."""

from __future__ import annotations

import pytest

from pondflight.workers.backends.base import WorkerExit
from pondflight.workers.losses import End, KeptSessions, Losses
from pondflight.workers.states import Reason

KEY = "the key of a user"
END: End = Reason.CRASHED, WorkerExit(137)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def fixture_clock() -> Clock:
    return Clock()


@pytest.fixture(name="losses")
def fixture_losses(clock: Clock) -> Losses:
    return Losses(clock, 100.0)


def kept(*answers: tuple[str, str | None, str]) -> KeptSessions:
    """What is known after calls: their session, that which was offered, and the answer's header."""
    found = KeptSessions()
    listener = found.listener.start_call(None)
    for session, offered, header in answers:
        found.called(session, offered)
        listener.received_headers({"x-pondflight-kept": [header] if header else []})
    return found


@pytest.mark.parametrize(
    ("answers", "names", "others"),
    [
        ([("a", None, "s-a"), ("b", None, "")], {"a"}, {"b"}),
        ([("a", None, ""), ("b", None, "t-")], {"a", "b"}, set()),
        ([("a", None, "ts-a"), ("b", None, "")], {"a", "b"}, set()),
        # Whoever is offered a session may take it up, or stay without.
        ([("", "a", "s-a"), ("b", None, "")], {"", "a"}, {"b"}),
        ([("", "a", "s-a"), ("a", None, "s-a")], {"a"}, {""}),
        ([("", "a", ""), ("", "b", "")], set(), {"", "a", "b"}),
    ],
)
def test_what_is_kept_is_known_by_the_answers(
    answers: list[tuple[str, str | None, str]], names: set[str], others: set[str]
) -> None:
    found = kept(*answers)
    assert set(found.names) == names
    assert set(found.others) == others


def test_sessions_are_told_once(losses: Losses) -> None:
    losses.note(KEY, kept(("a", None, "s-a"), ("b", None, "")), END)
    assert losses.take("another user", "a") is None
    assert losses.take(KEY, "b") is None
    assert losses.take(KEY, "a") == END
    assert losses.take(KEY, "a") is None


def test_of_a_worker_that_others_used_everybody_older_is_told(losses: Losses) -> None:
    losses.note_unknown(KEY, END, ["known to have had nothing"])
    assert losses.take(KEY, "known to have had nothing") is None
    assert losses.take(KEY, "", "young") is None
    assert losses.take(KEY, "young") is None
    assert losses.take(KEY, "old") == END
    assert losses.take(KEY, "old") is None


def test_what_was_lost_long_ago_is_not_told(losses: Losses, clock: Clock) -> None:
    losses.note(KEY, kept(("a", None, "s-a")), END)
    losses.note_unknown(KEY, END)
    clock.now = 100.0
    assert losses.take(KEY, "a") is None
    assert losses.take(KEY, "b") is None


def test_what_is_remembered_is_bounded(losses: Losses) -> None:
    found = KeptSessions()
    for number in range(3000):
        found.called("", f"session{number}")
    assert len(found.others) <= 2001
    for number in range(3000):
        losses.note_unknown(f"user{number}", END)
        losses.note_unknown(KEY, END)
        losses.take(KEY, f"session{number}")
    assert len(losses._unknown) <= 1000
