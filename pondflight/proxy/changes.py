"""How often something that may change tables has begun or ended at each worker.

Where several proxy processes serve one port, each counts in memory that they share, in numbers of
its own: what one was told of a worker no longer holds once another has let something run there.
Several workers may have the same place in it. Then a change at one looks like a change at the
others, which does no harm.
"""

from __future__ import annotations

import mmap
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PLACES: Final = 4096
_NUMBER: Final = 8
"""Bytes of a number."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a worker's numbers were at some moment."""

    place: int
    numbers: bytes


class Changes:
    """The numbers of one process: number ``own`` of ``processes``, which share a file.

    Without a file it is the only one. Safe to use from many threads.
    """

    def __init__(self, file: Path | None = None, processes: int = 1, own: int = 0) -> None:
        if file is None:
            self._memory = mmap.mmap(-1, _size(processes))
        else:
            with file.open("r+b") as opened:
                self._memory = mmap.mmap(opened.fileno(), _size(processes))
        self._width = processes * _NUMBER
        """Bytes of a place. Behind all places, there are as many that say how many run now."""
        self._none = bytes(self._width)
        self._lock = threading.Lock()
        numbers = memoryview(self._memory).cast("Q")
        self._counts = numbers[own : _PLACES * processes : processes]
        self._running = numbers[_PLACES * processes + own :: processes]
        for place in range(_PLACES):  # a process that crashed may have left some running
            self._counts[place] += 1
            self._running[place] = 0

    def seen(self, worker: str) -> Seen:
        """Return the numbers of a worker, by its key, for ``none_since``."""
        return self._seen(_place(worker))

    def none_since(self, seen: Seen) -> bool:
        """Return whether nothing has changed since, and nothing that may change tables runs."""
        start, end = seen.place * self._width, (seen.place + 1) * self._width
        if self._memory[start:end] != seen.numbers:
            return False
        behind = _PLACES * self._width
        return self._memory[behind + start : behind + end] == self._none

    def begin(self, worker: str) -> Seen:
        """Note that what may change tables runs until ``end``; return the numbers then."""
        place = _place(worker)
        with self._lock:
            self._counts[place] += 1
            self._running[place] += 1
        return self._seen(place)

    def note(self, place: int) -> None:
        """Note that tables may have changed there, before anybody hears of it."""
        with self._lock:
            self._counts[place] += 1

    def end(self, place: int, *, changed: bool) -> None:
        """Note the end of what began there; ``changed``: it may have changed tables."""
        with self._lock:
            self._counts[place] += changed
            self._running[place] -= 1

    def _seen(self, place: int) -> Seen:
        start = place * self._width
        return Seen(place, self._memory[start : start + self._width])


def create(file: Path, processes: int) -> None:
    """Create the file that so many processes share."""
    file.write_bytes(bytes(_size(processes)))


def _place(worker: str) -> int:
    return zlib.crc32(worker.encode()) % _PLACES


def _size(processes: int) -> int:
    return 2 * _PLACES * processes * _NUMBER
