"""Run this suite, or what is given, in a network namespace of its own; as root.

::

    python -m integration.faults [pytest's arguments]

Nothing of the machine's network is touched, and nothing is left: the namespace ends with the
command.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from integration.faults.network import VARIABLE

PROGRAMS = ("unshare", "ip", "ss", "iptables")


def main() -> None:
    """Become pytest, in there; without root or the programs, say so and do nothing."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        sys.exit(
            f"not run: it needs root and {', '.join(missing or PROGRAMS)} (iproute2, iptables)"
        )
    inside = 'ip link set lo up && exec "$0" "$@"'
    pytest = [sys.executable, "-m", "pytest", str(Path(__file__).parent), *sys.argv[1:]]
    os.environ[VARIABLE] = "1"
    os.execvp("unshare", ["unshare", "--net", "--", "sh", "-c", inside, *pytest])


if __name__ == "__main__":
    main()
