"""The filter of docker-compose.yml lets through what docs/deployment.md lists, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ID = "7ea218eb0ad1"


def documented() -> list[tuple[str, str]]:
    text = (ROOT / "docs" / "deployment.md").read_text()
    table = text.split("<!-- docker-calls")[1].split("\n\nWith ")[0]
    rows = re.findall(r"^\| (GET|POST|DELETE) \| `(/\S*)` \|", table, re.MULTILINE)
    return [(method, re.sub(r"\{\w+\}", ID, path)) for method, path in rows]


def passes(method: str, path: str) -> bool:
    text = (ROOT / "deploy" / "compose" / "socket-filter.cfg").read_text()
    paths = dict(re.findall(r"acl (\w+) path_reg (\S+)", text))
    allowed = re.findall(r"http-request allow if METH_(\w+) (\w+)", text)
    assert "http-request deny" in text.rsplit("http-request allow", 1)[1]
    return any(verb == method and re.search(paths[acl], path) for verb, acl in allowed)


@pytest.mark.parametrize("version", ["", "/v1.41"])
def test_every_call_that_is_needed_passes(version: str) -> None:
    calls = documented()
    assert len(calls) > 8
    assert [c for c in calls if not passes(c[0], version + c[1])] == []
    assert passes("GET", f"{version}/images/registry.example.com:5000/team/pondflight:0.1.0/json")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/containers/{ID}/exec"),
        ("POST", f"/exec/{ID}/start"),
        ("GET", f"/containers/{ID}/archive"),
        ("PUT", f"/containers/{ID}/archive"),
        ("GET", f"/containers/{ID}/export"),
        ("POST", f"/containers/{ID}/update"),
        ("POST", f"/containers/{ID}/attach"),
        ("POST", "/containers/prune"),
        ("POST", "/build"),
        ("POST", "/images/create"),
        ("DELETE", f"/images/{ID}"),
        ("POST", "/volumes/create"),
        ("DELETE", f"/networks/{ID}"),
        ("GET", "/secrets"),
        ("GET", "/info"),
        ("GET", f"/containers/{ID}/json/../../{ID}/export"),
        ("POST", "/v1.41/../containers/create/../../exec"),
    ],
)
def test_nothing_else_does(method: str, path: str) -> None:
    assert not passes(method, path)
