"""ibis, harlequin, dlt and dbt, in an environment of their own.

Each check of integration/python is a test. Of dbt's suite for adapters these are the parts that
every project has; ``integration/long`` runs all of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.clients import checks, dbt
from integration.deployment import Deployment
from integration.tools import run

CONFIG = {"security": {"rate_limit": {"requests_per_minute": 100000, "burst_size": 100000}}}
NAMES = checks.names(dbt.FOLDER / "checks.py", r"def ([a-z]+_[a-z_]+)\(\) -> None:")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(name="outcomes", scope="module")
def fixture_outcomes(deployment: Deployment) -> dict[str, str]:
    arguments = ("checks.py", str(deployment.flight_port), deployment.token("ada"))
    return checks.outcomes(run(dbt.python(), *arguments, cwd=dbt.FOLDER))


@pytest.mark.parametrize("name", NAMES)
def test_tool(outcomes: dict[str, str], name: str) -> None:
    assert outcomes.get(name) == "ok"


def test_dbt(deployment: Deployment, tmp_path: Path) -> None:
    dbt.run_suite(deployment, tmp_path, "test_base", "test_incremental")
