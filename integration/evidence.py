"""Evidence of a failed test: `docker inspect` and the logs of every container.

It is stored in the directory that PONDFLIGHT_EVIDENCE names, or in the test's own.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPORTS = pytest.StashKey[list[pytest.TestReport]]()
_LINES = "500"


def has_failed(node: pytest.Item) -> bool:
    """Return whether a phase of the test has failed so far."""
    return any(report.failed for report in node.stash.get(REPORTS, []))


def keep_containers(host: str, folder: Path, name: str) -> None:
    """Write down every container of the engine at ``host``, including workers."""
    folder = Path(os.environ.get("PONDFLIGHT_EVIDENCE", folder))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace('/', '-')[:100]}.txt"
    with path.open("a") as file:
        file.write(_docker(host, "ps", "--all", "--no-trunc"))
        for container in _docker(host, "ps", "--all", "--quiet").split():
            for command in (["logs", "--tail", _LINES], ["inspect"]):
                file.write(f"--- docker {' '.join(command)} {container}\n")
                file.write(_docker(host, *command, container))
    print(f"kept: {path}")


def _docker(host: str, *arguments: str) -> str:
    return subprocess.run(
        ["/usr/bin/docker", "--host", host, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout
