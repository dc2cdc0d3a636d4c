"""The wait between failed starts of a user's worker."""

from __future__ import annotations

from pondflight.errors import PondflightError
from pondflight.workers.runtime import Runtime

_FIRST = 0.5
_LONGEST = 30.0
_FORGET = 60.0


class Backoff:
    """Remembers failed starts of users: the same error for a while, twice as long each time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._failed: dict[str, tuple[float, float, PondflightError]] = {}

    def check(self, key: str) -> None:
        """Raise the error of the last attempt if it is too early for another."""
        until, _, error = self._failed.get(key, (0.0, 0.0, None))
        if error is not None and self._runtime.monotonic() < until:
            raise error.with_traceback(None)  # it is raised again and again

    def failed(self, key: str, error: PondflightError) -> None:
        """Record a failed attempt and double the wait before the next."""
        now = self._runtime.monotonic()
        _, seconds, _ = self._failed.get(key, (0.0, _FIRST / 2, error))
        seconds = min(_LONGEST, seconds * 2)
        self._failed[key] = now + seconds, seconds, error
        for old in [k for k, (until, _, _) in list(self._failed.items()) if until < now - _FORGET]:
            self._failed.pop(old, None)

    def succeeded(self, key: str) -> None:
        """Forget earlier failures: a start has succeeded."""
        self._failed.pop(key, None)
