"""The worker process: one DuckDB, one Flight SQL server, one user."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from pondflight import control, memory
from pondflight.lifeline import on_end

memory.tame()  # before pyarrow is imported

from pondflight.engine.duck import StorageInUse, files_folder, open_database  # noqa: E402
from pondflight.engine.guards.storage import Storage  # noqa: E402
from pondflight.engine.server import EngineServer  # noqa: E402

SET_ASIDE_SHARE = 16
"""Rows that are set aside may take this fraction of the worker's memory: one in so many bytes."""


_LAST_WORDS_SECONDS = 0.5


def run(  # noqa: PLR0913 - one for each option
    *,
    listen: str,
    credential_sha256: str,
    memory_limit: int,
    threads: int,
    scratch: Path,
    storage: Path | None,
    lifeline: bool,
    orphan_timeout: float,
    missing_walls: Sequence[str] = (),
) -> int:
    """Serve until told to stop; return the exit code.

    ``memory_limit`` is in bytes. ``storage`` is the directory of the user's own tables; ``None``:
    in memory. When it listens, it prints one line: ``{"port": n}``. With ``lifeline``, the worker
    ends with its standard input, whose other end the process that started it holds.
    ``orphan_timeout`` (seconds; 0: never) is for workers that may outlive their proxy: they end
    when no proxy has called for that long. ``missing_walls`` is reported to whoever asks.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    os.environ["TZ"] = "UTC"  # DuckDB's default, to which RESET TimeZone returns
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    store = Storage(storage, files_folder(scratch))
    try:
        database = open_database(
            scratch, memory_limit=memory_limit, threads=threads, file=store.file
        )
    except StorageInUse as error:
        sys.stderr.write(f"{error}\n")
        return 1
    os.chdir(files_folder(scratch))
    server = EngineServer(
        listen,
        database=database,
        credential_sha256=credential_sha256,
        scratch=scratch,
        storage=store,
        set_aside_memory=memory_limit // SET_ASIDE_SHARE,
        missing_walls=missing_walls,
    )
    server.breakdown.on_break = stopping.set
    sys.stdout.write(json.dumps({"port": server.port}) + "\n")
    sys.stdout.flush()
    if lifeline:
        on_end(stopping.set)
    while not stopping.wait(orphan_timeout / 4 or None):
        if time.monotonic() - server.last_heard > orphan_timeout:
            sys.stderr.write("no proxy has said anything for too long: the worker ends\n")
            break
    if server.breakdown.has_happened:
        time.sleep(_LAST_WORDS_SECONDS)  # whoever hit the error still has to be told
        os._exit(control.BROKEN)
    # A statement that cannot be interrupted must not keep the process alive.
    threading.Timer(3.0, os._exit, args=(0,)).start()
    server.close()
    os._exit(0)
