"""The life of a worker: its states, the transitions between them, and the reasons for its end.

Logs, metrics and docs/workers.md take their words from here; a test compares the documentation with
this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """The state of a worker, as seen by the proxy that looks after it."""

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    IDLE = "idle"
    STOPPING = "stopping"
    GONE = "gone"

    @property
    def description(self) -> str:
        """Return the meaning of the state, in a sentence."""
        return _STATES[self]

    @property
    def usable(self) -> bool:
        """Return whether calls may be sent to it."""
        return self in USABLE


USABLE = frozenset({State.READY, State.BUSY, State.IDLE})

_STATES = {
    State.STARTING: "Queued, being started, or not ready yet; callers wait for it.",
    State.READY: "Answered `SELECT 1`, and has had no call yet.",
    State.BUSY: "At least one call of this proxy runs on it.",
    State.IDLE: "Has had calls; none of this proxy's runs now.",
    State.STOPPING: "Being ended and removed; callers wait, then get a new one.",
    State.GONE: "Removed. The end.",
}

TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.STARTING: frozenset({State.READY, State.STOPPING, State.GONE}),
    State.READY: frozenset({State.BUSY, State.STOPPING, State.GONE}),
    State.BUSY: frozenset({State.IDLE, State.STOPPING, State.GONE}),
    State.IDLE: frozenset({State.BUSY, State.STOPPING, State.GONE}),
    State.STOPPING: frozenset({State.GONE}),
    State.GONE: frozenset(),
}
"""The allowed transitions."""


class IllegalTransition(Exception):
    """A transition that the table does not have: a bug in this program."""


def step(current: State, to: State) -> State:
    """Return ``to`` if a worker may go there from ``current``; else raise."""
    if to not in TRANSITIONS[current]:
        raise IllegalTransition(f"a worker cannot go from {current} to {to}")
    return to


class Reason(StrEnum):
    """Why a worker ended, in the words of the log, the metrics and the documentation."""

    IDLE_TIMEOUT = "idle_timeout"
    EVICTED = "evicted"
    MAX_LIFETIME = "max_lifetime"
    OUTDATED = "outdated"
    SURPLUS = "surplus"
    REQUESTED = "requested"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    UNRESPONSIVE = "unresponsive"
    REMOVED = "removed"
    START_FAILED = "start_failed"
    LEFTOVER = "leftover"

    @property
    def description(self) -> str:
        """Return the meaning of the reason, in a sentence."""
        return _REASONS[self]

    @property
    def spares_busy(self) -> bool:
        """Return whether a worker with running statements is left alone."""
        return self in _SPARE_BUSY


_REASONS = {
    Reason.IDLE_TIMEOUT: "No statement for `containers.idle_timeout`.",
    Reason.EVICTED: "The longest idle had to make room: `containers.max_per_host` was reached.",
    Reason.MAX_LIFETIME: "Older than `containers.max_lifetime`, and idle.",
    Reason.OUTDATED: "Started with other settings than those in effect, and idle.",
    Reason.SURPLUS: "A warm worker more than `workers.warm`, or one that had to make room.",
    Reason.REQUESTED: "An administrator stopped it.",
    Reason.SHUTDOWN: "The last proxy that used it ended, and `workers.keep_on_exit` is off or not "
    "possible.",
    Reason.CRASHED: "It ended by itself, or was killed or restarted; the log has the exit code.",
    Reason.OUT_OF_MEMORY: "It needed more than `containers.memory_limit`.",
    Reason.UNRESPONSIVE: "It did not answer three health checks in a row.",
    Reason.REMOVED: "Another proxy of the deployment, or somebody else, removed it.",
    Reason.START_FAILED: "It did not get ready.",
    Reason.LEFTOVER: "Found dead or half started, from a proxy that is gone.",
}

_SPARE_BUSY = frozenset(
    {
        Reason.IDLE_TIMEOUT,
        Reason.EVICTED,
        Reason.MAX_LIFETIME,
        Reason.OUTDATED,
        Reason.SURPLUS,
    }
)
