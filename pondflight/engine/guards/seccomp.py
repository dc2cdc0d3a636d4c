"""seccomp: the kernel refuses a process the system calls that it does not need."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import Final

from pondflight.control import Walls
from pondflight.engine.guards.syscalls import prctl

_PR_GET_SECCOMP = 21
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_LOAD, _EQUAL, _GREATER, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
_EPERM, _EACCES, _ENOSYS = 1, 13, 38
_THREAD = 0x10000
_X32 = 0x40000000
_STREAM, _DATAGRAM = 1, 2
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16

_ARCHITECTURES: Final = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_REFUSED: Final[dict[str, tuple[int, int]]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, -1),
    "vfork": (58, -1),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "personality": (135, 92),
}
"""System calls that no worker makes and an attack might need: numbers on x86_64 and on aarch64."""
_CLONE, _CLONE3, _SOCKET = (56, 220), (435, 435), (41, 198)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def is_available() -> bool:
    """Return whether the kernel has seccomp, and a filter exists for this processor."""
    try:
        return os.uname().machine in _ARCHITECTURES and prctl(_PR_GET_SECCOMP) >= 0
    except OSError:
        return False


def restrict(walls: Walls) -> None:
    """Refuse this process the system calls that no worker makes, for good."""
    known = _ARCHITECTURES.get(os.uname().machine)
    if known is None:
        return
    code = b"".join(struct.pack("HBBI", *line) for line in _filter(walls, *known))
    program = _Program(len(code) // 8, code)
    prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program))


def _filter(walls: Walls, architecture: int, column: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield BPF: calls that are not named are allowed; a refused call fails with EPERM."""
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _EQUAL, 1, 0, architecture
    yield _RETURN, 0, 0, _ERRNO | _EPERM
    yield _LOAD, 0, 0, _NUMBER
    if column == 0:
        yield _GREATER, 0, 1, _X32
        yield _RETURN, 0, 0, _ERRNO | _EPERM
    for numbers in _REFUSED.values():
        if numbers[column] >= 0:
            yield _EQUAL, 0, 1, numbers[column]
            yield _RETURN, 0, 0, _ERRNO | _EPERM
    yield _EQUAL, 0, 1, _CLONE3[column]
    yield _RETURN, 0, 0, _ERRNO | _ENOSYS  # the C library then takes clone
    yield _EQUAL, 0, 4, _CLONE[column]
    yield _LOAD, 0, 0, _FIRST
    yield _ANY_BIT, 1, 0, _THREAD
    yield _RETURN, 0, 0, _ERRNO | _EPERM
    yield _RETURN, 0, 0, _ALLOW
    yield _EQUAL, 1, 0, _SOCKET[column]
    yield _RETURN, 0, 0, _ALLOW
    yield _LOAD, 0, 0, _FIRST
    for family, open_ in ((_UNIX, walls.sockets), (_NETLINK, walls.names)):
        if open_:
            yield _EQUAL, 0, 1, family
            yield _RETURN, 0, 0, _ALLOW
    yield _EQUAL, 2, 0, _INET
    yield _EQUAL, 1, 0, _INET6
    yield _RETURN, 0, 0, _ERRNO | _EACCES
    yield _LOAD, 0, 0, _SECOND
    yield _AND, 0, 0, 0xF  # without SOCK_CLOEXEC and the like
    for kind, open_ in ((_STREAM, True), (_DATAGRAM, walls.names)):
        if open_:
            yield _EQUAL, 0, 1, kind
            yield _RETURN, 0, 0, _ALLOW
    yield _RETURN, 0, 0, _ERRNO | _EACCES
