"""Landlock: the kernel restricts a process to some files and TCP ports."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pondflight
from pondflight.control import Walls
from pondflight.engine.guards.syscalls import syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH, _RULE_PORT = 1, 2
_VERSION = 1
_REFER_ABI, _TRUNCATE_ABI, _NETWORK_ABI, _IOCTL_ABI, _SCOPE_ABI = 2, 3, 4, 5, 6

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


def abi() -> int:
    """Return the version of Landlock that the kernel offers; 0: none."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        return syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION))
    except OSError:
        return 0


def missing() -> Iterator[str]:
    """Yield the walls that this kernel does not support, in words."""
    version = abi()
    if version < _TRUNCATE_ABI:
        yield "no wall around files: Landlock needs Linux 6.2, enabled"
    if version < _NETWORK_ABI:
        yield "no wall around the network: Landlock needs Linux 6.7, enabled"


def restrict(walls: Walls, folders: Iterable[Path], ports: Iterable[int], listen: int) -> None:
    """Restrict this thread, and those it starts, to the files and ports in ``walls``.

    ``folders`` are those that the worker writes to, ``ports`` its gates', ``listen`` the port that
    it listens on (0: any).
    """
    version = abi()
    if not version:
        return
    rights = _FIRST_RIGHTS
    rights |= _REFER if version >= _REFER_ABI else 0
    rights |= _TRUNCATE if version >= _TRUNCATE_ABI else 0
    rights |= _IOCTL if version >= _IOCTL_ABI else 0
    fields = [rights]
    if version >= _NETWORK_ABI:
        fields.append(0 if walls.ports is None else _BIND | _CONNECT)
    if version >= _SCOPE_ABI:
        fields.append(_ABSTRACT_SOCKETS | _SIGNALS)
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    ruleset = syscall(
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
        if version >= _NETWORK_ABI and walls.ports is not None:
            for port in {*walls.ports, *ports}:
                _allow_port(ruleset, port, _CONNECT)
            _allow_port(ruleset, listen, _BIND)
        syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0))
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
        syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_RULE_PATH), rule, ctypes.c_uint(0))
    finally:
        os.close(place)


def _allow_port(ruleset: int, port: int, rights: int) -> None:
    rule = struct.pack("QQ", rights, port)
    syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_RULE_PORT), rule, ctypes.c_uint(0))
