"""ibis and harlequin: each check of integration/python, in an environment of its own, is a test."""

from __future__ import annotations

import pytest

from integration.clients import checks
from integration.deployment import Deployment
from integration.tools import require, run

FOLDER = checks.HERE / "python"
PYTHON = checks.HERE.parent / ".venv-tools" / "bin" / "python"
NAMES = checks.names(FOLDER / "checks.py", r"def ([a-z]+_[a-z_]+)\(\) -> None:")
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(name="outcomes", scope="module")
def fixture_outcomes(deployment: Deployment) -> dict[str, str]:
    python = require(str(PYTHON), "make .venv-tools/tools.stamp")
    arguments = ("checks.py", str(deployment.flight_port), deployment.token("ada"))
    return checks.outcomes(run(python, *arguments, cwd=FOLDER))


@pytest.mark.parametrize("name", NAMES)
def test_tool(outcomes: dict[str, str], name: str) -> None:
    assert outcomes.get(name) == "ok"
