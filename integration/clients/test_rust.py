"""The Rust client of arrow-rs: each check of integration/rust is a test here."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from integration.clients import checks
from integration.deployment import Deployment
from integration.tools import require, run

FOLDER = checks.HERE / "rust"
NAMES = checks.names(FOLDER / "src/main.rs", r'\("([a-z0-9_]+)", \|c\|')
pytestmark = pytest.mark.timeout(1200)  # crates are downloaded and compiled the first time


def target() -> Path:
    """Return where cargo builds: outside of the tree, since it takes minutes; one per lock."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    lock = hashlib.sha256((FOLDER / "Cargo.lock").read_bytes()).hexdigest()
    return cache / "pondflight" / f"rust-{lock[:16]}"


@pytest.fixture(name="outcomes", scope="module")
def fixture_outcomes(deployment: Deployment) -> dict[str, str]:
    cargo = require("cargo", "apt-get install cargo-web rustc-web, or rustup; 1.88 or newer")
    folder = target()
    environ = {"CARGO_TARGET_DIR": str(folder)}
    run(cargo, "build", "--locked", "--quiet", cwd=FOLDER, environ=environ, seconds=1200)
    address = f"127.0.0.1:{deployment.flight_port}"
    output = run(
        folder / "debug" / "pondflight-checks", address, deployment.token("ada"), cwd=FOLDER
    )
    return checks.outcomes(output)


@pytest.mark.parametrize("name", NAMES)
def test_rust(outcomes: dict[str, str], name: str) -> None:
    assert outcomes.get(name) == "ok"
