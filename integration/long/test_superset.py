"""Apache Superset, in an environment of its own. Each check of its program is a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.clients import checks
from integration.deployment import Deployment
from integration.tools import require, run

CONFIG = {"security": {"rate_limit": {"requests_per_minute": 100000, "burst_size": 100000}}}
PROGRAM = checks.HERE / "python" / "superset_checks.py"
NAMES = checks.names(PROGRAM, r"def ([a-z]+_[a-z_]+)\(\) -> None:")
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(name="outcomes", scope="module")
def fixture_outcomes(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    folder: Path = tmp_path_factory.mktemp("superset")
    environment = checks.HERE.parent / ".venv-superset" / "bin" / "python"
    python = require(str(environment), "make .venv-superset/superset.stamp")
    arguments = (str(deployment.flight_port), deployment.token("ada"), str(folder))
    return checks.outcomes(run(python, PROGRAM, *arguments, cwd=folder, seconds=1200))


@pytest.mark.parametrize("name", NAMES)
def test_superset(outcomes: dict[str, str], name: str) -> None:
    assert outcomes.get(name) == "ok"
