"""Live through seeds, and say which of them fail::

    python -m tests.simulation [--seeds 1000] [--first 0] [--large]

``--large`` has 10,000 users and two hours in place of 25 users and some minutes.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter

from tests.simulation.world import LARGE, SMALL, run


def main() -> int:
    """Run the seeds; 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--large", action="store_true")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    outcomes: Counter[str] = Counter()
    stopped: Counter[str] = Counter()
    failed, steps, began = 0, 0, time.process_time()
    for seed in range(given.first, given.first + given.seeds):
        try:
            report = run(seed, LARGE if given.large else SMALL)
        except Exception as error:
            failed += 1
            again = f"python -m tests.simulation --first {seed} --seeds 1"
            again += " --large" if given.large else ""
            sys.stdout.write(f"seed {seed}: {type(error).__name__}: {error}\n  again: {again}\n")
            continue
        outcomes.update(report.outcomes)
        stopped.update(report.stopped)
        steps += report.steps
    seconds = time.process_time() - began
    sys.stdout.write(
        f"{given.seeds} seeds, {failed} failed, {steps} steps, {seconds:.1f} s of processor\n"
        f"calls: {dict(outcomes)}\nends: { {str(k): v for k, v in stopped.items()} }\n"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
