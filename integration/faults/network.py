"""The network of this namespace, and how it breaks: by netfilter, after so many bytes."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from typing import Literal

VARIABLE = "PONDFLIGHT_TEST_NETWORK"
"""Set inside."""

Kind = Literal["silence", "reset"]
_VERDICTS: dict[Kind, tuple[str, ...]] = {
    "silence": ("DROP",),
    "reset": ("REJECT", "--reject-with", "tcp-reset"),
}


@contextlib.contextmanager
def broken(port: int, kind: Kind, after: int) -> Iterator[None]:
    """The leg to ``port``, either way, breaks after so many bytes; it is whole again at the end."""
    try:
        _iptables("-N", "LEG")
        if after:
            _iptables("-A", "LEG", "-m", "quota", "--quota", str(after), "-j", "RETURN")
        _iptables("-A", "LEG", "-p", "tcp", "-j", *_VERDICTS[kind])
        for end in ("--dport", "--sport"):
            _iptables("-A", "INPUT", "-p", "tcp", end, str(port), "-j", "LEG")
        yield
    finally:
        _iptables("-F")
        _iptables("-X")


def listening(pid: int) -> int:
    """The port on which a process listens."""
    for line in _run("ss", "--no-header", "-ltnp").splitlines():
        if f"pid={pid}," in line:
            return int(line.split()[3].rsplit(":", 1)[1])
    raise AssertionError(f"{pid} listens on no port")


def _iptables(*arguments: str) -> None:
    _run("iptables", "--wait", *arguments)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
