"""Runs checks, and prints a line for each: its name, then "ok" or what went wrong."""

from __future__ import annotations

from collections.abc import Callable


def report(*checks: Callable[[], None]) -> None:
    """Run all of them, in order."""
    for check in checks:
        try:
            check()
            outcome = "ok"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}".replace("\n", " ")
        print(f"check {check.__name__}: {outcome}", flush=True)
