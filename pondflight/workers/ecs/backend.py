"""Workers as tasks of AWS Fargate, shared by any number of proxies.

Names are in a table (``names``), which also gives warm workers to their users. A task itself is
known only by its ARN.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

from botocore.exceptions import ClientError

from pondflight.control import Json
from pondflight.workers.backends.base import (
    BackendError,
    BackendUnreachable,
    ExitCallback,
    NoSuchWorker,
    Phase,
    Problem,
    StartFailed,
    WorkerExit,
    WorkerHandle,
)
from pondflight.workers.backends.container import Layout
from pondflight.workers.backends.ownership import require_files, require_room
from pondflight.workers.ecs import task as tasks
from pondflight.workers.ecs.aws import Aws, words_of
from pondflight.workers.ecs.checks import check
from pondflight.workers.ecs.names import Entry, Names
from pondflight.workers.ecs.task import Placement
from pondflight.workers.naming import user_in
from pondflight.workers.spec import WorkerSpec

_LOOK_SECONDS = 1.0
_PAGE = 100
_UNSEEN_SECONDS = 60.0
"""Seconds for which ECS may not know of a task that it runs."""


class EcsBackend:
    """Tasks of one deployment (``instance``). ``start_seconds``: how long a start may take."""

    name = "ecs"
    outlives_proxy = True

    def __init__(
        self,
        aws: Aws,
        layout: Layout,
        names: Names,
        placement: Placement,
        *,
        start_seconds: float = 120.0,
    ) -> None:
        self.layout = layout
        self.placement = placement
        self._aws = aws
        self._names = names
        self._start_seconds = start_seconds

    @property
    def reachable(self) -> bool:
        """Return whether AWS has answered recently."""
        return self._aws.reachable

    def on_exit(self, callback: ExitCallback) -> None:
        """Do nothing: ends are found by asking, AWS does not report them."""

    # -- starting and ending ------------------------------------------------------------------

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        """Take the name, run a task if there is room, and wait until it runs."""
        require_files(spec, (), "use a database server, or another backend")
        request = tasks.request(spec, self.layout, self.placement)
        deadline = time.monotonic() + self._start_seconds
        with _refusals(StartFailed):
            entry = self._names.take(spec)
            try:
                self._require_room(spec)
                entry = self._names.point(entry, self._run(request))
                return self._running(entry, deadline)
            except BaseException:
                with contextlib.suppress(BackendError, ClientError):
                    self._end(entry)
                raise

    def _require_room(self, spec: WorkerSpec) -> None:
        """Count running tasks only if all names together might be too many."""
        entries = self._names.all()
        if len(entries) > spec.most:
            require_room(self._handles(entries), spec.most)

    def _run(self, request: Json) -> str:
        with self._aws.client("ecs") as client:
            answer = client.run_task(**request)
        for failure in answer.get("failures", ()):
            words = f"{failure.get('reason', '')} {failure.get('detail', '')}".strip()
            raise StartFailed(f"ECS does not run the task: {words}", [])
        return str(answer["tasks"][0]["taskArn"])

    def _running(self, entry: Entry, deadline: float) -> WorkerHandle:
        while True:
            found = self._described([entry.task]).get(entry.task)
            worker = self._handle(entry, found)
            if worker.phase is Phase.RUNNING and worker.location:
                return worker
            if found and worker.phase is Phase.ENDED:
                code = tasks.end_of(found, self.placement.container).code
                why = found.get("stoppedReason") or found["lastStatus"]
                raise StartFailed(f"the task {entry.task} has ended: {why} (exit code {code})", [])
            if time.monotonic() >= deadline:
                status = found["lastStatus"] if found else "unknown"
                raise StartFailed(f"the task {entry.task} does not run in time: {status}", [])
            time.sleep(_LOOK_SECONDS)

    def stop(self, handle: WorkerHandle) -> None:
        """Stop the task and free its name. It may take half a minute to end; nobody reaches it."""
        with _refusals(BackendUnreachable):
            self._end(Entry(handle.name, handle.generation, "", 0.0, _arn(handle)))

    def _end(self, entry: Entry) -> None:
        """Stop the task before its name is freed: without its name, nobody would find it."""
        with self._aws.client("ecs") as client:
            found = [entry.task] if entry.task else self._started_by(client, entry.generation)
        for arn in found:
            try:
                with self._aws.client("ecs") as client:
                    client.stop_task(cluster=self.placement.cluster, task=arn)
            except ClientError as error:
                # ECS no longer knows a task that ended an hour ago.
                if "not found" not in words_of(error):
                    raise
        self._names.free(entry.name, entry.generation)

    def _started_by(self, client: Any, generation: str) -> list[str]:
        """Return the task of a start whose proxy went away before it recorded the ARN."""
        answer = client.list_tasks(cluster=self.placement.cluster, startedBy=generation)
        found: list[str] = answer["taskArns"]
        return found

    def claim(self, handle: WorkerHandle, name: str) -> WorkerHandle:
        """Give a warm worker its user's name, in one transaction."""
        with _refusals(BackendUnreachable):
            own = self._names.find(handle.name)
            if own is None or own.generation != handle.generation:
                there = self._names.find(name)
                if there is None or there.generation != handle.generation:
                    raise NoSuchWorker(handle.id)
                own = there
            if own.name != name:
                own = self._names.move(own, name)
            return self._handles([own])[0]

    # -- looking ------------------------------------------------------------------------------

    def list_workers(self) -> list[WorkerHandle]:
        """Return all workers in the table, in any state."""
        with _refusals(BackendUnreachable):
            return self._handles(self._names.all())

    def find(self, name: str) -> WorkerHandle | None:
        """Return the task that has ``name`` now."""
        with _refusals(BackendUnreachable):
            entry = self._names.find(name)
            return self._handles([entry])[0] if entry else None

    def exit_of(self, handle: WorkerHandle) -> WorkerExit | None:
        """Return how the task ended."""
        with _refusals(BackendUnreachable):
            task = self._described([_arn(handle)]).get(_arn(handle))
            entry = self._names.find(handle.name)
            if entry is not None and entry.generation == handle.generation:
                ended = self._handle(entry, task).phase is Phase.ENDED
                return tasks.end_of(task or {}, self.placement.container) if ended else None
            # Stopped and forgotten, or claimed by another proxy for its user.
            runs = task is not None and tasks.phase_of(task) is not Phase.ENDED
            return None if runs else WorkerExit()

    def logs(self, handle: WorkerHandle) -> list[str]:
        """Return nothing: the log driver of the task definition has them."""
        return []

    def check(self) -> list[Problem]:
        """Check that AWS answers, and that cluster, task definition and table are as required."""
        return check(self._aws, self._names, self.placement)

    def close(self) -> None:
        """Close the connections; the tasks continue."""
        self._aws.close()

    # -- inside -------------------------------------------------------------------------------

    def _described(self, arns: Iterable[str]) -> dict[str, Json]:
        """Return tasks by their ARN, without those that ECS does not know (any more)."""
        found: dict[str, Json] = {}
        wanted = [arn for arn in arns if arn]
        for first in range(0, len(wanted), _PAGE):
            page = wanted[first : first + _PAGE]
            with self._aws.client("ecs") as client:
                answer = client.describe_tasks(cluster=self.placement.cluster, tasks=page)
            found |= {task["taskArn"]: task for task in answer["tasks"]}
        return found

    def _handles(self, entries: list[Entry]) -> list[WorkerHandle]:
        found = self._described(entry.task for entry in entries)
        return [self._handle(entry, found.get(entry.task)) for entry in entries]

    def _handle(self, entry: Entry, task: Json | None) -> WorkerHandle:
        if task is not None:
            phase = tasks.phase_of(task)
        else:
            young = not entry.task or time.time() - entry.created < _UNSEEN_SECONDS
            phase = Phase.CREATED if young else Phase.ENDED
        address = tasks.address_of(task) if task and phase is Phase.RUNNING else ""
        return WorkerHandle(
            id=entry.task or entry.generation,
            name=entry.name,
            user=user_in(entry.name),
            generation=entry.generation,
            location=f"grpc://{address}:{self.layout.engine.port}" if address else "",
            spec_hash=entry.spec_hash,
            created=entry.created,
            phase=phase,
        )


def _arn(handle: WorkerHandle) -> str:
    return handle.id if handle.id != handle.generation else ""


@contextlib.contextmanager
def _refusals(become: type[StartFailed | BackendUnreachable]) -> Iterator[None]:
    """Turn AWS's refusal into an error of the contract, with its reason."""
    try:
        yield
    except ClientError as error:
        if become is StartFailed:
            raise StartFailed(words_of(error), []) from error
        raise BackendUnreachable(words_of(error)) from error
