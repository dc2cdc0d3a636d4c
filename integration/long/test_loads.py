"""Two thousand bulk loads that fail, and the worker that lives through them."""

from __future__ import annotations

import pytest

from integration.deployment import Deployment
from integration.tools import family
from tests import failing_loads

CONFIG = {"security": {"rate_limit": {"requests_per_minute": 100000, "burst_size": 100000}}}
pytestmark = pytest.mark.timeout(1800)


def test_the_worker_outlives_two_thousand_failing_loads(deployment: Deployment) -> None:
    with (
        deployment.connect(autocommit=True) as bystander,
        deployment.connect(autocommit=True) as connection,
        deployment.connect(autocommit=True) as hurried,
        bystander.cursor() as cursor,
    ):
        cursor.execute("CREATE TEMP TABLE mine AS SELECT 42 AS i")
        assert deployment.process is not None
        processes = family(deployment.process.pid)
        failing_loads.fail(connection, hurried, 2000)
        assert family(deployment.process.pid) == processes
        cursor.execute("FROM mine")
        assert cursor.fetchall() == [(42,)]
