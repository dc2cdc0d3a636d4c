"""Programs that a suite needs and that Python does not provide."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")


def require(program: str, hint: str) -> str:
    """Return the path of ``program``; without it, skip the test, or fail in CI.

    ``hint`` says how to install it.
    """
    found = shutil.which(program)
    if found is not None:
        return found
    reason = f"{program} is not installed, so this suite does not run: {hint}"
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(f"!!! {reason}")


def run(
    *arguments: str | Path, cwd: Path, environ: dict[str, str] | None = None, seconds: float = 600
) -> str:
    """Run a program; return its standard output. Fails with all output if the program fails."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=os.environ | (environ or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        name = Path(str(arguments[0])).name
        pytest.fail(f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    with contextlib.suppress(OSError):  # it has ended
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


def signal_family(pid: int, number: int) -> None:
    """Send a signal to a process and all its descendants."""
    for one in family(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, number)
