"""The scratch directory on the host's disk: what does not fit into memory goes there."""

from __future__ import annotations

from integration.docker.conftest import MakeDeployment
from integration.docker.engine import Engine
from tests.waiting import wait_until

LARGER_THAN_MEMORY = """
SELECT max(place), max(length(text)) FROM (
    SELECT row_number() OVER (ORDER BY text) AS place, text
    FROM (SELECT hash(range)::VARCHAR || repeat('x', 60) AS text FROM range(4000000))
)
"""


def test_a_sort_that_is_larger_than_memory_spills_to_a_volume_that_goes_with_the_worker(
    deploy: MakeDeployment, engine: Engine
) -> None:
    before = set(engine.docker("volume", "ls", "--quiet").split())
    deployment = deploy(memory_limit=256 << 20, layout={"scratch_on_disk": True})
    client = deployment.client("ann")
    assert client.rows(LARGER_THAN_MEMORY) == [(4_000_000, 80)]
    mounts = deployment.inspect(deployment.container("ann"), "{{range .Mounts}}{{.Type}} {{end}}")
    assert mounts.split() == ["volume"]
    deployment.pool.stop_worker("ann", force=True)
    wait_until(lambda: not deployment.containers(), 30)
    assert set(engine.docker("volume", "ls", "--quiet").split()) == before
