"""``python -m pondflight``: the command line."""

from __future__ import annotations

from pondflight.cli import main

main(prog_name="pondflight")
