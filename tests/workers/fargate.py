"""AWS in this process (moto), and Fargate played: tasks run as processes of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest import mock

import boto3
from botocore.client import BaseClient
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ecs.models import ecs_backends
from moto.moto_api import state_manager

from pondflight.workers.ecs.names import KEYS
from tests.workers.stand_in import StandIns, address

REGION = "eu-central-1"
CLUSTER, DEFINITION, TABLE = "ponds", "pond-worker:1", "pond-names"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Fargate:
    """Starts and ends what moto only keeps in its books."""

    def __init__(self, folder: Path) -> None:
        self.stand_ins = StandIns(folder)
        self.ecs = cast("Any", ecs_backends[DEFAULT_ACCOUNT_ID][REGION])
        self.subnet: str = ec2_backends[DEFAULT_ACCOUNT_ID][REGION].describe_subnets()[0].id
        self._run, self._stop = self.ecs.run_task, self.ecs.stop_task
        self.ecs.run_task, self.ecs.stop_task = self._run_task, self._stop_task

    def task(self, arn: str) -> Any:
        """The task as moto has it."""
        return self.ecs.tasks[CLUSTER][arn]

    def _run_task(self, *arguments: Any, **options: Any) -> Any:
        tasks = self._run(*arguments, **options)
        for task in tasks:
            at = address()
            for detail in task.attachments[0]["details"]:
                if detail["name"] == "privateIPv4Address":
                    detail["value"] = at
            (override,) = task.overrides["containerOverrides"]
            self.stand_ins.start(task.id, override["command"], at, partial(_ended, task))
        return tasks

    def _stop_task(self, cluster: str, arn: str, reason: str) -> Any:
        found = self._stop(cluster, arn, reason)
        self.stand_ins.end(found.id)
        return found


def _ended(task: Any, code: int) -> None:
    task.containers[0].exitCode = code
    task.last_status = task.desired_status = "STOPPED"


@contextmanager
def aws(folder: Path) -> Iterator[Fargate]:
    """AWS with a cluster, a task definition and a table of names.

    moto is one call at a time: its conditional writes are no more atomic than its code.
    """
    call, lock = BaseClient._make_api_call, threading.Lock()

    def one_at_a_time(*arguments: Any) -> Any:
        with lock:
            return call(*arguments)

    with (
        mock.patch.dict("os.environ", ENVIRONMENT),
        mock_aws(),
        mock.patch.object(BaseClient, "_make_api_call", one_at_a_time),
    ):
        state_manager.set_transition("ecs::task", {"progression": "manual", "times": 1 << 30})
        ecs = boto3.client("ecs", region_name=REGION)
        ecs.create_cluster(clusterName=CLUSTER)
        define(ecs)
        boto3.client("dynamodb", region_name=REGION).create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": k, "KeyType": v} for k, v in KEYS.items()],
            AttributeDefinitions=[{"AttributeName": k, "AttributeType": "S"} for k in KEYS],
            BillingMode="PAY_PER_REQUEST",
        )
        fargate = Fargate(folder)
        try:
            yield fargate
        finally:
            fargate.stand_ins.close()
            state_manager.unset_transition("ecs::task")


def define(ecs: Any, **changes: Any) -> None:
    """Register a revision of the task definition."""
    worker = {"name": "worker", "image": "pondflight:tests", "memory": 512}
    ecs.register_task_definition(
        **{
            "family": "pond-worker",
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": "256",
            "memory": "512",
            "containerDefinitions": [worker],
        }
        | changes
    )
