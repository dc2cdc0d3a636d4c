from __future__ import annotations

from collections.abc import Iterator

import pytest

from integration.docker.engine import Engine


@pytest.fixture(name="engine", scope="session")
def fixture_engine() -> Engine:
    return Engine.current()


@pytest.fixture(autouse=True)
def fixture_no_containers(engine: Engine) -> Iterator[None]:
    """Each test begins and ends without containers."""
    yield
    left = engine.docker("ps", "--all", "--quiet").split()
    if left:
        engine.docker("rm", "--force", "--volumes", *left)
