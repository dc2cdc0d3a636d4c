"""Memory settings that a process which streams gigabytes needs, before it allocates any.

With glibc's and Arrow's defaults a proxy that has relayed 6 GB keeps 570 MB; with these, 120 MB,
at the same speed.
"""

from __future__ import annotations

import ctypes
import os

_M_ARENA_MAX = -8
ARENAS = 2


def tame() -> None:
    """Apply them to this process and to those it starts. Call it before pyarrow is imported."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    os.environ.setdefault("MALLOC_ARENA_MAX", str(ARENAS))
    # Buffers that arrive over gRPC are not always aligned: copy those, and do not warn.
    os.environ.setdefault("ACERO_ALIGNMENT_HANDLING", "reallocate")
    try:
        # glibc has read its environment already; no other C library has mallopt.
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)
    except (OSError, AttributeError):
        return


def trim() -> None:
    """Give memory that is free back to the system, where the C library can.

    After a burst of large buffers it keeps most of what they took.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return
