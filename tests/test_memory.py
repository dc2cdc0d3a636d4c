"""The bound on Arrow's memory, in a process of its own: it has to stand before pyarrow is there."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pyarrow as pa

_PROGRAM = """
import resource, sys
from pondflight import memory
memory.tame(arrow=64 << 20)
import pyarrow as pa
from pondflight.errors import LimitExceeded
from pondflight.flightsql.uploads import Upload

class Chunk:
    app_metadata = None
    def __init__(self, data): self.data = data

class Reader:
    def __init__(self, path):
        self._reader = pa.ipc.open_stream(pa.OSFile(path))
        self.schema = self._reader.schema
    def read_chunk(self): return Chunk(self._reader.read_next_batch())

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        print(sum(chunk.data.num_rows for chunk in Upload(Reader(path))))
    except LimitExceeded as error:
        print(error.message)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10)
"""
_REFUSED = (
    "a batch of this upload takes more memory than there is for uploads: "
    "send smaller batches, or without compression"
)


def compressed(path: Path, size: int) -> str:
    """A file with one value of ``size`` bytes, which are few as they are all zero."""
    offsets = pa.py_buffer(struct.pack("<qq", 0, size))
    buffers = [None, offsets, pa.py_buffer(bytes(size))]
    batch = pa.record_batch([pa.Array.from_buffers(pa.large_binary(), 1, buffers)], names=["b"])
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(str(path), batch.schema, options=options) as writer:
        writer.write_batch(batch)
    assert path.stat().st_size < 100_000
    return str(path)


def test_a_batch_that_becomes_too_large_is_refused_before_it_does(tmp_path: Path) -> None:
    large = compressed(tmp_path / "large", 200 << 20)
    small = compressed(tmp_path / "small", 8 << 20)
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, large, small, large, small],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == [_REFUSED, "1", _REFUSED, "1", "True"]
