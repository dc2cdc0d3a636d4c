"""docker-compose.yml and .env.example name the same variables."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
OF_COMPOSE = {"COMPOSE_PROFILES"}


def test_every_variable_of_the_example_is_passed_and_every_one_that_is_passed_is_named() -> None:
    example = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", example, re.MULTILINE))
    passed = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert named - OF_COMPOSE == passed


def test_what_caddy_reads_can_be_set() -> None:
    files = "".join(path.read_text() for path in (ROOT / "caddy").rglob("*addy*"))
    read = set(re.findall(r"\{\$(PONDFLIGHT_[A-Z_]+)", files))
    compose = (ROOT / "docker-compose.yml").read_text()
    # Where things are inside is the file's own affair.
    inside = {
        f"PONDFLIGHT_{name}" for name in ["HTTP", "FLIGHT", "HEALTH", "HTTP_PORT", "HTTPS_PORT"]
    }
    assert {name for name in read - inside if f"{name}:" not in compose} == set()
