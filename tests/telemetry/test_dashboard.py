"""The Grafana dashboard asks for nothing that /metrics does not have."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.stack import Stack
from tests.waiting import wait_until

DASHBOARD: Any = json.loads(
    (Path(__file__).parents[2] / "deploy/grafana/pondflight.json").read_text("utf-8")
)
SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? \S+$", re.MULTILINE)
SELECTOR = re.compile(r"(pondflight_[a-z_]+)(?:\{([^}]*)\})?")
BY = re.compile(r"by \(([^)]*)\)")


@pytest.fixture(name="samples", scope="module")
def fixture_samples() -> dict[str, set[str]]:
    """Names of the samples of a deployment that has done a little of everything; their labels."""
    stack = Stack(web={"demo": True})
    client = stack.flight("alice")
    try:
        stack.query("alice", "SELECT 1")
        stack.request("POST", "/auth/demo-token")
        client.rows("SELECT 1")
        (worker,) = stack.pool.backend.list_workers()
        os.kill(int(worker.id), signal.SIGKILL)
        wait_until(lambda: stack.pool.stats()["total_stopped"])
        text = stack.request("GET", "/metrics").body.decode()
    finally:
        client.close()
        stack.close()
    samples: dict[str, set[str]] = {}
    for name, labels in SAMPLE.findall(text):
        samples.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return samples


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_dashboard_has_something_to_show() -> None:
    assert len(expressions()) > 20
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_that_is_asked_for_is_there(
    expression: str, samples: dict[str, set[str]]
) -> None:
    names = SELECTOR.findall(expression)
    assert names
    for name, matchers in names:
        assert name in samples
        asked = set(re.findall(r"(\w+)=", matchers))
        assert asked <= samples[name]
        for labels in BY.findall(expression):
            assert {label.strip() for label in labels.split(",")} <= samples[name]


def test_every_metric_that_counts_is_shown(samples: dict[str, set[str]]) -> None:
    shown = {name for expression in expressions() for name, _ in SELECTOR.findall(expression)}
    counted = {
        name
        for name in samples
        if name.startswith("pondflight_")
        and "_process_" not in name
        and not name.endswith(("_sum", "_count", "_created"))
    }
    assert counted - shown == set()
