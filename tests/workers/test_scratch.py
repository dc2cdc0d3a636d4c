"""Scratch directories of proxies that were killed go with the next start; others stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pondflight.workers.backends.scratch import ScratchRoot, remove_abandoned

HOLDER = """
import time
from pondflight.workers.backends.scratch import ScratchRoot
print(ScratchRoot().path, flush=True)
time.sleep(60)
"""


@pytest.fixture(name="folder")
def fixture_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_a_killed_proxy_has_left_is_removed_and_what_is_held_is_not(folder: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, env=environment, text=True
    ) as holder:
        assert holder.stdout is not None
        left = Path(holder.stdout.readline().strip())
        (left / "worker").mkdir()
        (left / "worker" / "spilled").write_text("x")
        assert remove_abandoned() == []
        holder.send_signal(signal.SIGKILL)
    (folder / "pondflight-of-something-else").mkdir()
    own = ScratchRoot()
    assert not left.exists()
    assert own.path.exists()
    assert (folder / "pondflight-of-something-else").exists()
    own.close()
    assert not own.path.exists()
