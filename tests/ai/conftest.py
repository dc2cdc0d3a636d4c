from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeAlias

import pytest

from pondflight.ai.models import AISettings, Models
from tests.ai.provider import ProviderServer

Run: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(name="provider")
def fixture_provider() -> Iterator[ProviderServer]:
    server = ProviderServer()
    yield server
    server.close()


@pytest.fixture(name="run")
def fixture_run() -> Iterator[Run]:
    """Runs what is asynchronous, on one event loop for all of a test."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(name="models")
def fixture_models(provider: ProviderServer, run: Run) -> Iterator[Models]:
    models = Models(AISettings.of(provider.settings))
    yield models
    run(models.close())
