"""All of dbt's basic suite for adapters."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.clients import dbt
from integration.deployment import Deployment

CONFIG = {"security": {"rate_limit": {"requests_per_minute": 100000, "burst_size": 100000}}}


@pytest.mark.timeout(1800)
def test_dbts_basic_suite(deployment: Deployment, tmp_path: Path) -> None:
    dbt.run_suite(deployment, tmp_path)
