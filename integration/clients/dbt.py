"""Runs dbt's own suite for adapters in .venv-tools."""

from __future__ import annotations

import os
from pathlib import Path

from integration.clients import checks
from integration.deployment import Deployment
from integration.tools import require, run

_DOCS = "test_docs_generate.py"
FOLDER = checks.HERE / "python"


def python() -> str:
    """Return the Python of .venv-tools."""
    folder = checks.HERE.parent / ".venv-tools"
    return require(str(folder / "bin" / "python"), "make .venv-tools/tools.stamp")


def run_suite(deployment: Deployment, folder: Path, *modules: str) -> str:
    """Run modules of dbt's basic suite, or all of it; return pytest's output.

    dbt writes into ``folder``. The tests of "dbt docs" are variants: an adapter has to say what it
    calls its types.
    """
    basic = "dbt.tests.adapter.basic"
    suite = [f"{basic}.{name}" for name in modules] or [basic, f"--deselect={_DOCS}", "dbt_docs"]
    plugins = ("-p", "dbt.tests.fixtures.project", "-p", "dbt_target")
    return run(
        *(python(), "-m", "pytest", "-c", os.devnull, *plugins, "--pyargs", *suite),
        cwd=folder,
        environ={
            "PYTHONPATH": str(FOLDER),
            "POND_PORT": str(deployment.flight_port),
            "POND_TOKEN": deployment.token("ada"),
        },
        seconds=1200,
    )
