"""Checks for what would prevent tasks from running, or give them more rights than allowed."""

from __future__ import annotations

from collections.abc import Iterator

from botocore.exceptions import ClientError

from pondflight.workers.backends.base import BackendUnreachable, Problem
from pondflight.workers.ecs.aws import Aws, words_of
from pondflight.workers.ecs.names import KEYS, Names
from pondflight.workers.ecs.task import Placement

_SEE = "see the task definition in docs/backends/ecs.md"


def check(aws: Aws, names: Names, placement: Placement) -> list[Problem]:
    """Return what is wrong with the table, the cluster and the task definition."""
    try:
        return [
            *_table(names),
            *_cluster(aws, placement.cluster),
            *_definition(aws, placement),
        ]
    except BackendUnreachable as error:
        advice = "give pondflight credentials, a region and the policy of docs/backends/ecs.md"
        return [Problem("aws", str(error), advice)]


def _table(names: Names) -> Iterator[Problem]:
    try:
        keys = names.keys()
    except ClientError as error:
        yield Problem("ecs.table", words_of(error), "create it as docs/backends/ecs.md says")
        return
    if keys != KEYS:
        yield Problem(
            "ecs.table",
            f"the table {names.table} has other keys than deployment and worker",
            "create one as docs/backends/ecs.md says",
        )


def _cluster(aws: Aws, cluster: str) -> Iterator[Problem]:
    with aws.client("ecs") as client:
        found = client.describe_clusters(clusters=[cluster])["clusters"]
    if not any(one["status"] == "ACTIVE" for one in found):
        yield Problem("ecs.cluster", f"there is no cluster {cluster}", "create it, or name another")


def _definition(aws: Aws, placement: Placement) -> Iterator[Problem]:
    name = placement.task_definition
    try:
        with aws.client("ecs") as client:
            found = client.describe_task_definition(taskDefinition=name)["taskDefinition"]
    except ClientError as error:
        yield Problem("ecs.task_definition", words_of(error), _SEE)
        return
    containers = {one["name"]: one for one in found["containerDefinitions"]}
    worker = containers.get(placement.container)
    wrong = {
        "its network mode is not awsvpc": found.get("networkMode") != "awsvpc",
        "it has a task role, whose rights workers would have": bool(found.get("taskRoleArn")),
        f"it has no container {placement.container} (ecs.container)": worker is None,
        "it gives workers secrets": bool(worker and worker.get("secrets")),
    }
    for what, is_so in wrong.items():
        if is_so:
            yield Problem("ecs.task_definition", f"{name}: {what}", _SEE)
