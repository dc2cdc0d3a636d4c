from __future__ import annotations

from collections.abc import Iterator

import pytest

from pondflight.ai.models import AISettings, Models
from tests.ai.provider import ProviderServer


@pytest.fixture(name="provider")
def fixture_provider() -> Iterator[ProviderServer]:
    server = ProviderServer()
    yield server
    server.close()


@pytest.fixture(name="models")
def fixture_models(provider: ProviderServer) -> Iterator[Models]:
    models = Models(AISettings.of(provider.settings))
    yield models
    models.close()
