"""Keeps Python's state of gRPC's threads, which would otherwise be made anew in each callback.

A thread that Python has not started gets a thread state for as long as it runs Python code, with a
stack that the kernel maps and unmaps: some eight times per call. So a thread keeps the state from
its first callback until it ends.
"""

from __future__ import annotations

import ctypes
import threading

_known = threading.local()
_ensure = ctypes.pythonapi.PyGILState_Ensure
_release = ctypes.pythonapi.PyGILState_Release
_release.restype = None
_at_thread_exit = getattr(ctypes.CDLL(None), "__cxa_thread_atexit_impl", None)
"""glibc's function with which C++ destroys a thread's variables, before Python's are gone."""
_ANYWHERE = ctypes.c_void_p(1)
"""Stands for an address in the library that registers the function; ours is never unloaded."""
_GIL_HELD = 0
"""``PyGILState_LOCKED``: the caller keeps the GIL."""


def _give_up(_: object) -> None:
    """Undo ``keep``: the state is freed once this function, which still needs it, has returned."""
    _release(_GIL_HELD)


_GIVE_UP = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_give_up)


def keep() -> None:
    """Keep the state of the current thread, which Python did not start, until the thread ends."""
    if _at_thread_exit is not None and not hasattr(_known, "kept"):
        _known.kept = True
        _ensure()
        _at_thread_exit(_GIVE_UP, None, _ANYWHERE)
