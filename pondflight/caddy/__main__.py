"""``python -m pondflight.caddy``: runs Caddy. ``serve`` starts it; you need not.

Standard input is a line of JSON (``command``, ``folder``), and then the lifeline: when it ends,
Caddy is stopped and ``folder`` removed. This process has no threads when it starts Caddy, so that
the kernel can be told to end Caddy with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import shutil
import signal
import subprocess
import sys
import threading

from pondflight import lifeline
from pondflight.caddy import journal
from pondflight.telemetry import logs

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 8.0


def main() -> int:
    """Run Caddy until it ends, or ``serve`` does; return the exit code."""
    logs.configure()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the end of the lifeline stops it instead
    order = json.loads(lifeline.first_line())
    caddy = subprocess.Popen(  # noqa: S603  what `serve` says
        order["command"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=_die_with_parent,  # noqa: PLW1509  there are no threads yet
    )
    ending = threading.Event()
    lifeline.on_end(lambda: _end(caddy, ending))
    assert caddy.stderr is not None
    journal.relay(caddy.stderr, ending)
    code = caddy.wait()
    shutil.rmtree(order["folder"], ignore_errors=True)
    return code


def _end(caddy: subprocess.Popen[bytes], ending: threading.Event) -> None:
    """End Caddy: gracefully first, then by force."""
    ending.set()
    caddy.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        caddy.wait(_STOP_SECONDS)
    caddy.kill()


def _die_with_parent() -> None:
    """Have the kernel end Caddy if this process is killed. Only Linux can."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


sys.exit(main())
