"""``make bench``: runs all benchmarks, or those named: ``make bench ARGS="core clients"``."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

_HELPERS = {"__main__", "bench", "chart", "constant", "load_client", "processes"}


def main() -> None:
    """Run the benchmarks one after the other: side by side, they would measure each other."""
    there = [m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)])]
    names = sys.argv[1:] or [name for name in there if name not in _HELPERS]
    unknown = set(names) - set(there)
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}; there are: {', '.join(there)}")
    for name in names:
        importlib.import_module(f"benchmarks.{name}").main()


main()
