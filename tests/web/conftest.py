from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack import Stack


@pytest.fixture(name="stack", scope="session")
def fixture_stack() -> Iterator[Stack]:
    """One for all tests; those that need other settings make their own."""
    stack = Stack(
        web={
            "demo": True,
            "demo_tokens_per_hour": 3,
            "trusted_proxies": ("127.0.0.1/32",),
            "cors_origins": ("https://app.example",),
            "allowed_hosts": ("query.example", "*.wild.example"),
            "ai_providers": (("claude", True), ("openai", False)),
        }
    )
    yield stack
    stack.close()
