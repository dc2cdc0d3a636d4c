"""System calls that Python has no functions for. A failed one raises ``OSError``."""

from __future__ import annotations

import ctypes
import os


def prctl(option: int, *arguments: object) -> int:
    """Call prctl, with zeros for missing arguments; return its result."""
    padded = [*arguments, 0, 0, 0, 0][:4]
    return _checked(_libc().prctl(ctypes.c_int(option), *map(_unsigned, padded)))


def syscall(number: int, *arguments: object) -> int:
    """Make the system call ``number``; return its result."""
    return _checked(_libc().syscall(ctypes.c_long(number), *arguments))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _unsigned(value: object) -> object:
    return ctypes.c_ulong(value) if isinstance(value, int) else value


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
