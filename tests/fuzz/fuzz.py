"""Look for inputs that break a target, with atheris, which is not needed to run the tests::

    pip install atheris
    python -m tests.fuzz.fuzz command -max_total_time=60

New inputs that reach new code go to a temporary folder, which is named at the end. Those worth
keeping belong in ``tests/fuzz/corpus/<target>``, where ``test_corpus.py`` replays them for ever.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from typing import Any


def main() -> None:
    """Fuzz the target that the first argument names; the rest are libFuzzer's options."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["pondflight"]):
        targets = importlib.import_module("tests.fuzz.targets")
    if len(sys.argv) < 2 or sys.argv[1] not in targets.TARGETS:
        names = "|".join(targets.TARGETS)
        sys.exit(f"usage: python -m tests.fuzz.fuzz {names} [-max_total_time=60 …]")
    target = sys.argv[1]
    found = tempfile.mkdtemp(prefix=f"fuzz-{target}-")
    sys.stderr.write(f"new inputs go to {found}\n")
    folders = [found, str(targets.CORPUS / target)]
    arguments = [sys.argv[0], *folders, *sys.argv[2:]]
    atheris.Setup(arguments, lambda data: targets.replay(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
