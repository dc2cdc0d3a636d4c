"""What a worker loads before it serves: a user waits for all of that."""

from __future__ import annotations

import subprocess
import sys


def test_a_worker_starts_without_what_only_some_values_need() -> None:
    program = "import sys, pondflight.engine.main; print('pyarrow.compute' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
