from __future__ import annotations

import os

from integration.faults.network import VARIABLE

if not os.environ.get(VARIABLE):
    collect_ignore_glob = ["test_*.py"]


def pytest_report_header() -> str:
    """Say it where it can be seen."""
    if os.environ.get(VARIABLE):
        return "network: a namespace of our own"
    return "integration/faults is not run without its namespace: python -m integration.faults"
