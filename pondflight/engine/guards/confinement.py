"""The operating system's walls around a worker, put up before it learns of any user.

Whatever a user's SQL makes DuckDB try, the kernel refuses other files and addresses (Landlock),
other kinds of sockets, programs and processes (seccomp), and more memory than the limit. None of
this needs a privilege, and none of it can be undone.

Call it while the process has only one thread, since Landlock applies to the thread that asks for it
and to those that it starts; so this module imports nothing that starts one.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import struct
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pondflight
from pondflight import memory
from pondflight.control import Walls
from pondflight.engine.databases import gate

log = logging.getLogger(__name__)


class CannotConfine(Exception):
    """A wall cannot be put up, and the configuration requires it."""


def enclose(
    walls: Walls, listen: str, scratch: Path, storage: Path | None, memory_limit: int
) -> list[str]:
    """Put up all walls of a worker, before anything else; return the missing ones, in words.

    ``listen`` is the URI that it will listen on. Raises ``CannotConfine``.
    """
    for folder in (scratch, storage):
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folders = [folder for folder in (scratch, storage) if folder is not None]
    ports = gate.reserve(walls.gates)
    missing = confine(walls, folders=folders, ports=ports, listen=urlsplit(listen).port or 0)
    if walls.heap and walls.mode != "off":
        limit_heap(memory_limit)
        threading.Thread(target=_watch_heap, args=(memory_limit,), daemon=True).start()
    return missing


def confine(
    walls: Walls, *, folders: Iterable[Path], ports: Iterable[int], listen: int
) -> list[str]:
    """Put the walls up; those missing, in words.

    Raises ``CannotConfine`` if one cannot be put up, and ``walls.mode`` requires it.

    ``folders`` are those that the worker writes to, ``ports`` its gates', ``listen`` the port that
    it listens on (0: any).
    """
    _harden()
    if walls.mode == "off":
        return []
    missing = list(missing_walls())
    # The kernel may support what something in between, such as a container's filter, refuses.
    with _told(missing, "files and the network (Landlock)"):
        _landlock(walls, folders, ports, listen)
    with _told(missing, "system calls (seccomp)"):
        _seccomp(walls)
    if missing and walls.mode == "required":
        raise CannotConfine(f"{'; '.join(missing)} (workers.confinement: required)")
    for told in missing:
        log.warning("%s", told)
    return missing


@contextmanager
def _told(missing: list[str], around: str) -> Iterator[None]:
    """Add to ``missing`` the reason for which a wall cannot be put up."""
    try:
        yield
    except OSError as error:
        missing.append(f"no wall around {around}: {error.strerror or error}")


def missing_walls() -> Iterator[str]:
    """Yield the walls that this system does not support, in words."""
    abi = landlock_abi()
    if abi < _ABI_TRUNCATE:
        yield "no wall around files: Landlock needs Linux 6.2, enabled"
    if abi < _ABI_NETWORK:
        yield "no wall around the network: Landlock needs Linux 6.7, enabled"
    if os.uname().machine not in _ARCHITECTURES or not _has_seccomp():
        yield "no wall around system calls: seccomp is not available"


def limit_heap(memory_limit: int) -> None:
    """Make allocations fail above ``memory_limit`` (bytes) plus the reserve for threads' stacks."""
    _small_stacks()
    most = memory_limit + _STACKS_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:  # the service's own limit, which cannot be raised
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _small_stacks() -> None:
    """Give threads that start from now on stacks of 2 MB instead of 8, if glibc allows it."""
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = ctypes.create_string_buffer(128)
    try:
        libc.pthread_attr_init(attributes)
        libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(_STACK_BYTES))
        libc.pthread_setattr_default_np(attributes)
        libc.pthread_attr_destroy(attributes)
    except AttributeError:  # another C library, whose stacks are smaller anyway
        return


def _watch_heap(memory_limit: int) -> None:
    """End the process when it uses its memory and a tenth more, as a container would.

    An allocation that fails fails alone; this is for memory that got past the limit, since stacks
    count as well. An idle process does not grow, so it is checked rarely.
    """
    most = memory_limit + memory_limit // 10
    pause, worked = _WATCH_SECONDS, 0.0
    while memory.resident() < most:
        time.sleep(pause)
        while (now := time.process_time()) - worked < _NOTHING_SECONDS:
            pause = min(2 * pause, _IDLE_SECONDS)
            time.sleep(pause)
        pause, worked = _WATCH_SECONDS, now
    sys.stderr.write("the worker needs more than its memory, and ends\n")
    sys.stderr.flush()
    os._exit(_KILLED)


# -- the process itself -----------------------------------------------------------------------

_STACK_BYTES = 2 << 20
_STACKS_BYTES = 256 * _STACK_BYTES
"""Address space of the stacks of 256 threads. It counts, although it is hardly used."""
_WATCH_SECONDS = 0.1
_IDLE_SECONDS = 0.8
_NOTHING_SECONDS = 0.002
"""Seconds of processor time in which hardly anything can have been allocated."""
_KILLED = 137
"""Exit code, the same as that of a process that the kernel killed for its memory."""
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_PR_GET_SECCOMP = 21
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_OOM_SCORE = "500"


def _harden() -> None:
    """Apply the protections that cost nothing and that every Linux has."""
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError):  # first, since this process may not write its own files afterwards
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        _prctl(_PR_SET_DUMPABLE, 0)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, *arguments: object) -> int:
    padded = [*arguments, 0, 0, 0, 0][:4]
    done: int = _libc().prctl(ctypes.c_int(option), *map(_unsigned, padded))
    if done < 0:
        _fail()
    return done


def _syscall(number: int, *arguments: object) -> int:
    done: int = _libc().syscall(ctypes.c_long(number), *arguments)
    if done < 0:
        _fail()
    return done


def _unsigned(value: object) -> object:
    return ctypes.c_ulong(value) if isinstance(value, int) else value


def _fail() -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


# -- Landlock ---------------------------------------------------------------------------------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH, _RULE_PORT = 1, 2
_VERSION = 1
_ABI_REFER, _ABI_TRUNCATE, _ABI_NETWORK, _ABI_IOCTL, _ABI_SCOPE = 2, 3, 4, 5, 6

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_MAKE_LINK = 1 << 12
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_FIRST_RIGHTS = (1 << 13) - 1
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL | 1
_READ = _READ_FILE | _READ_DIR
_CHANGE = _READ | _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_FILE
_CHANGE |= _MAKE_LINK  # a link reaches no further than its target
_BIND, _CONNECT = 1, 2
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2

_SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/ssl/openssl.cnf", "/dev/urandom"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu"),
    *("/proc/sys/vm/overcommit_memory", "/sys/fs/cgroup"),
)
"""Files that programs read on any system, and that tell nothing of its users."""
_OWN = ("/proc/self/cgroup", "/proc/self/status", "/proc/self/statm")
"""Files about the worker itself; DuckDB ends the process if it cannot open the first of them."""
_NAMES = tuple(
    f"/etc/{name}" for name in ("hosts", "resolv.conf", "nsswitch.conf", "host.conf", "gai.conf")
)
_CERTIFICATES = ("/etc/ssl/certs", "/etc/pki/tls/certs", "/usr/share/ca-certificates")


def landlock_abi() -> int:
    """Return the version of Landlock that the kernel offers; 0: none."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        return _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION))
    except OSError:
        return 0


def _landlock(walls: Walls, folders: Iterable[Path], ports: Iterable[int], listen: int) -> None:
    abi = landlock_abi()
    if not abi:
        return
    rights = _FIRST_RIGHTS
    rights |= _REFER if abi >= _ABI_REFER else 0
    rights |= _TRUNCATE if abi >= _ABI_TRUNCATE else 0
    rights |= _IOCTL if abi >= _ABI_IOCTL else 0
    fields = [rights]
    if abi >= _ABI_NETWORK:
        fields.append(0 if walls.ports is None else _BIND | _CONNECT)
    if abi >= _ABI_SCOPE:
        fields.append(_ABSTRACT_SOCKETS | _SIGNALS)
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    ruleset = _syscall(
        _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0)
    )
    try:
        reads = [*_SYSTEM, *_installation(), *walls.readable, "/dev/null"]
        reads += _NAMES if walls.names else ()
        reads += _CERTIFICATES if walls.names or walls.ports is None else ()
        for path in reads:
            _allow(ruleset, path, _READ & rights)
        for path in _OWN:
            with suppress(OSError):  # the rule for such a file ends with its last descriptor
                os.open(path, os.O_PATH | os.O_CLOEXEC)
            _allow(ruleset, path, _READ_FILE)
        _allow(ruleset, "/dev/null", (_READ_FILE | _WRITE_FILE) & rights)
        for folder in (*folders, *(Path(file).parent for file in walls.writable)):
            _allow(ruleset, str(folder), _CHANGE & rights)
        if abi >= _ABI_NETWORK and walls.ports is not None:
            for port in {*walls.ports, *ports}:
                _allow_port(ruleset, port, _CONNECT)
            _allow_port(ruleset, listen, _BIND)
        _syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0))
    finally:
        os.close(ruleset)


def _installation() -> set[str]:
    """Return only the folders in which Python, its packages and pondflight are installed."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    places = {f"{prefix}/{name}" for prefix in prefixes for name in ("lib", "lib64")}
    places |= {path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")}
    return places | {str(Path(pondflight.__file__).parent)}


def _allow(ruleset: int, path: str, rights: int) -> None:
    """Add a rule for ``path``; do nothing if it does not exist."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):  # noqa: PTH112  of the descriptor's path, links followed
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, place)
        _syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_RULE_PATH), rule, ctypes.c_uint(0))
    finally:
        os.close(place)


def _allow_port(ruleset: int, port: int, rights: int) -> None:
    rule = struct.pack("QQ", rights, port)
    _syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_RULE_PORT), rule, ctypes.c_uint(0))


# -- seccomp ----------------------------------------------------------------------------------

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


def _has_seccomp() -> bool:
    try:
        return _prctl(_PR_GET_SECCOMP) >= 0
    except OSError:
        return False


def _seccomp(walls: Walls) -> None:
    known = _ARCHITECTURES.get(os.uname().machine)
    if known is None:
        return
    code = b"".join(struct.pack("HBBI", *line) for line in _filter(walls, *known))
    program = _Program(len(code) // 8, code)
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program))


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
