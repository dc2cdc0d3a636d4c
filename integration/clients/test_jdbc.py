"""The released JDBC driver: each check of integration/jdbc is a test here."""

from __future__ import annotations

import pytest

from integration.clients import checks
from integration.deployment import Deployment
from integration.tools import require, run

FOLDER = checks.HERE / "jdbc"
NAMES = checks.names(
    FOLDER / "src/main/java/pondflight/Checks.java", r'checks\.put\("([a-z0-9_]+)"'
)
pytestmark = pytest.mark.timeout(900)  # Maven downloads the driver the first time


@pytest.fixture(scope="module", name="outcomes")
def fixture_outcomes(deployment: Deployment) -> dict[str, str]:
    maven = require("mvn", "apt-get install maven default-jdk-headless")
    java = require("java", "apt-get install default-jdk-headless")
    run(maven, "--batch-mode", "--quiet", "process-classes", cwd=FOLDER)
    output = run(
        java,
        "--add-opens=java.base/java.nio=ALL-UNNAMED",
        "-cp",
        "target/classes:target/lib/*",
        "pondflight.Checks",
        str(deployment.flight_port),
        deployment.token("ada"),
        "ada",
        cwd=FOLDER,
        environ={"LC_ALL": "C.UTF-8", "TZ": "UTC"},
    )
    return checks.outcomes(output)


@pytest.mark.parametrize("name", NAMES)
def test_jdbc(outcomes: dict[str, str], name: str) -> None:
    assert outcomes.get(name) == "ok"
