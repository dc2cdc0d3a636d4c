"""Schemathesis: whatever is sent to a documented route, the answer is one that is documented."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case, SerializationContext
from schemathesis.checks import CHECKS

from tests.ai.provider import ProviderServer, Reply
from tests.stack import Stack

DOCUMENT = schemathesis.openapi.from_path(str(Path(__file__).parents[2] / "openapi.yaml"))

# No schema can say what is SQL and what is not, nor what is a call of a tool.
NOT_FOR_SQL: list[Any] = CHECKS.get_by_names(["positive_data_acceptance"])


@schemathesis.serializer("application/sql")
def as_text(_: SerializationContext, value: object) -> bytes:
    """SQL goes over as it is."""
    return str(value).encode("utf-8", "replace")


@pytest.fixture(name="stack", scope="module")
def fixture_stack() -> Iterator[Stack]:
    provider = ProviderServer()
    provider.answers = [Reply(text="SELECT 42 AS answer")]
    web = {"demo": True, "demo_tokens_per_hour": 20, "ai": provider.settings, "ai_per_minute": 9999}
    stack = Stack(web=web)
    yield stack
    stack.close()
    provider.close()


@DOCUMENT.parametrize()
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_documented(case: Case[Any], stack: Stack) -> None:
    headers = {"Authorization": f"Bearer {stack.token('fuzz')}"}
    case.call_and_validate(
        base_url=f"http://127.0.0.1:{stack.port}",
        headers=headers,
        excluded_checks=NOT_FOR_SQL if case.path in ("/query", "/mcp") else [],
        timeout=60,
    )
