"""gRPC's threads, which Python would otherwise meet anew in each callback.

A thread that Python has not started gets a thread state for as long as it is inside of Python, with
a stack that the kernel maps and unmaps: some eight times in each call. So a thread that has come
once keeps its state until it ends.
"""

from __future__ import annotations

import ctypes
import threading

_known = threading.local()
_ensure = ctypes.pythonapi.PyGILState_Ensure
_release = ctypes.pythonapi.PyGILState_Release
_release.restype = None
_at_thread_exit = getattr(ctypes.CDLL(None), "__cxa_thread_atexit_impl", None)
"""Of glibc: what C++ has destroy the variables of a thread, before those of Python's are gone."""
_ANYWHERE = ctypes.c_void_p(1)
"""In place of an address in the library whose function it is, which cannot be unloaded."""
_GIL_HELD = 0
"""``PyGILState_LOCKED``: whoever called goes on with the GIL."""


def _give_up(_: object) -> None:
    """Undo ``keep``: the state goes when this function, for which it is needed, has returned."""
    _release(_GIL_HELD)


_GIVE_UP = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_give_up)


def keep() -> None:
    """Keep the state of the current thread, which is none of Python's, until the thread ends."""
    if _at_thread_exit is not None and not hasattr(_known, "kept"):
        _known.kept = True
        _ensure()
        _at_thread_exit(_GIVE_UP, None, _ANYWHERE)
