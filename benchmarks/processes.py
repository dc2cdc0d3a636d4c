"""What a process has used so far, according to Linux."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_SWITCHES = re.compile(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor seconds (user and system), context switches, and current threads."""

    seconds: float
    switches: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Cost:
        """Return what the process has used since its start."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        switches = 0
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        for task in tasks:
            try:
                found = _SWITCHES.findall((task / "status").read_text())
            except OSError:  # it has ended meanwhile
                continue
            switches += sum(map(int, found))
        return cls(ticks / _TICKS, switches, len(tasks))


def children(pid: int) -> list[int]:
    """Return the running child processes."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def workers(pid: int) -> list[int]:
    """Return the child processes that are workers."""
    return _with(pid, b"worker")


def proxies(pid: int) -> list[int]:
    """Return the proxy processes that ``serve`` has started; itself if it has started none."""
    return _with(pid, b"pondflight.serve.one_of_proxies") or [pid]


def _with(pid: int, argument: bytes) -> list[int]:
    return [
        child
        for child in children(pid)
        if argument in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
    ]
