"""Which worker has which name: a table in DynamoDB, since ECS tasks have no unique names.

There is an item for each worker, under its deployment and name. It is written before the task is
run, so nothing runs that is not in the table; whoever comes second finds the name taken.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from botocore.exceptions import ClientError

from pondflight.control import Json
from pondflight.workers.backends.base import NameTaken, NoSuchWorker
from pondflight.workers.ecs.aws import Aws, code_of
from pondflight.workers.spec import WorkerSpec

KEYS = {"deployment": "HASH", "worker": "RANGE"}
"""The key attributes of the table; both are strings."""

_REFUSED = "ConditionalCheckFailedException"
_CANCELLED = "TransactionCanceledException"
_FREE = "attribute_not_exists(deployment)"
_SAME = "generation = :generation"


@dataclass(frozen=True, slots=True)
class Entry:
    """A name and its worker; ``task`` is an ARN, empty before it runs.

    ``created``: epoch seconds.
    """

    name: str
    generation: str
    spec_hash: str
    created: float
    task: str = ""


class Names:
    """The names of one deployment (``instance``) in the table ``table``."""

    def __init__(self, aws: Aws, table: str, instance: str) -> None:
        self.table = table
        self._aws = aws
        self._instance = instance

    def take(self, spec: WorkerSpec) -> Entry:
        """Record a new worker's name. Raises ``NameTaken``."""
        entry = Entry(spec.name, spec.generation, spec.spec_hash, round(time.time(), 3))
        try:
            self._call("put_item", Item=self._item(entry), ConditionExpression=_FREE)
        except ClientError as error:
            if code_of(error) == _REFUSED:
                raise NameTaken(spec.name) from error
            raise
        return entry

    def point(self, entry: Entry, task: str) -> Entry:
        """Record which task it is. Raises ``NoSuchWorker`` if the name was freed meanwhile."""
        try:
            self._call(
                "update_item",
                Key=self._key(entry.name),
                UpdateExpression="SET task_arn = :task",
                ConditionExpression=_SAME,
                ExpressionAttributeValues={
                    ":generation": {"S": entry.generation},
                    ":task": {"S": task},
                },
            )
        except ClientError as error:
            if code_of(error) == _REFUSED:
                raise NoSuchWorker(entry.name) from error
            raise
        return replace(entry, task=task)

    def move(self, entry: Entry, name: str) -> Entry:
        """Give a worker another name: both changes are made, or none.

        Raises ``NameTaken``, or ``NoSuchWorker`` if its old name is no longer its own.
        """
        moved = replace(entry, name=name)
        freed = {"TableName": self.table, "Key": self._key(entry.name), **_same(entry.generation)}
        put = {
            "TableName": self.table,
            "Item": self._item(moved),
            "ConditionExpression": _FREE,
        }
        try:
            with self._aws.client("dynamodb") as client:
                client.transact_write_items(TransactItems=[{"Delete": freed}, {"Put": put}])
        except ClientError as error:
            if code_of(error) != _CANCELLED:
                raise
        # The item in the table decides: another proxy may have made the transaction for the same
        # user, or a call whose answer was lost.
        there = self.find(name)
        if there is None:
            raise NoSuchWorker(entry.name)
        if there.generation != entry.generation:
            raise NameTaken(name)
        return there

    def free(self, name: str, generation: str) -> None:
        """Remove a worker's item, if the name is still its own."""
        try:
            self._call("delete_item", Key=self._key(name), **_same(generation))
        except ClientError as error:
            if code_of(error) != _REFUSED:
                raise

    def find(self, name: str) -> Entry | None:
        """Return the worker that has a name now; None if there is none."""
        item = self._call("get_item", Key=self._key(name), ConsistentRead=True).get("Item")
        return _entry(item) if item else None

    def all(self) -> list[Entry]:
        """Return all workers of the deployment."""
        found: list[Entry] = []
        start: Json = {}
        while True:
            page = self._call(
                "query",
                KeyConditionExpression="deployment = :deployment",
                ExpressionAttributeValues={":deployment": {"S": self._instance}},
                ConsistentRead=True,
                **start,
            )
            found += map(_entry, page["Items"])
            if "LastEvaluatedKey" not in page:
                return found
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def keys(self) -> dict[str, str]:
        """Return the key attributes of the table. Raises ``ClientError`` if there is no table."""
        table = self._call("describe_table")["Table"]
        return {key["AttributeName"]: key["KeyType"] for key in table["KeySchema"]}

    # -- inside -------------------------------------------------------------------------------

    def _call(self, action: str, **arguments: object) -> Json:
        with self._aws.client("dynamodb") as client:
            found: Json = getattr(client, action)(TableName=self.table, **arguments)
        return found

    def _key(self, name: str) -> Json:
        return {"deployment": {"S": self._instance}, "worker": {"S": name}}

    def _item(self, entry: Entry) -> Json:
        return {
            **self._key(entry.name),
            "generation": {"S": entry.generation},
            "spec_hash": {"S": entry.spec_hash},
            "created": {"N": f"{entry.created:.3f}"},
            "task_arn": {"S": entry.task},
        }


def _same(generation: str) -> Json:
    return {
        "ConditionExpression": _SAME,
        "ExpressionAttributeValues": {":generation": {"S": generation}},
    }


def _entry(item: Json) -> Entry:
    return Entry(
        name=item["worker"]["S"],
        generation=item["generation"]["S"],
        spec_hash=item["spec_hash"]["S"],
        created=float(item["created"]["N"]),
        task=item["task_arn"]["S"],
    )
