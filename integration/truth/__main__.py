"""``python -m integration.truth --statements 5000``: generated statements, by the thousand."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from integration.servers import MariaDB, Postgres
from integration.truth import tables
from integration.truth.asking import asked
from integration.truth.statements import run
from integration.truth.systems import MariaDBSystem, PostgresSystem, SqliteSystem, System

NAMES = ("postgres", "mariadb", "sqlite")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare results, print the differences, and exit with 1 if there are any."""
    options = _parser().parse_args(arguments)
    first, count = (
        (options.only, 1) if options.only is not None else (options.first, options.statements)
    )
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory()))
        postgres, mariadb = (
            ending.enter_context(closing(Postgres())),
            ending.enter_context(closing(MariaDB())),
        )
        postgres.start()
        mariadb.start()
        systems: list[System] = [
            PostgresSystem(postgres),
            MariaDBSystem(mariadb),
            SqliteSystem(folder / "lite.db"),
        ]
        for system in systems:
            ending.callback(system.close)
        print(f"seed {options.seed}", flush=True)
        for system in systems:
            tables.load(system)
        pond, local = ending.enter_context(asked(systems, folder / "deployment"))
        failed = False
        for system in systems:
            if system.name in options.systems:
                tally = run(
                    system,
                    systems,
                    pond,
                    local,
                    options.seed,
                    range(first, first + count),
                    report=print,
                    limit=options.differences,
                )
                print(tally, flush=True)
                failed |= bool(tally.differences)
                if options.only is not None:
                    print(tally.last)
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make truth ARGS=…", description=__doc__)
    parser.add_argument("--statements", type=int, default=1000, help="how many for each system")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--systems", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--first", type=int, default=0, metavar="N", help="begin with statement N")
    parser.add_argument("--only", type=int, metavar="N", help="run statement N of the seed alone")
    parser.add_argument(
        "--differences", type=int, default=20, metavar="N", help="stop a system after so many"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
