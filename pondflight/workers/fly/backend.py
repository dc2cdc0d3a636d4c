"""Workers as Fly.io Machines, all in one app, shared by any number of proxies.

A Machine has its user's name, which only one in an app can have: a second proxy adopts it. Its
metadata say whose it is. A Machine cannot be renamed while it runs, and the API has no other lock
with a name, so there are no warm workers: settings refuse them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from functools import partial

from pondflight.control import Json
from pondflight.workers.backends.base import (
    BackendError,
    BackendUnreachable,
    ExitCallback,
    NameTaken,
    NoSuchWorker,
    Phase,
    Problem,
    StartFailed,
    WorkerExit,
    WorkerHandle,
)
from pondflight.workers.backends.container import INSTANCE, Layout
from pondflight.workers.backends.ownership import (
    Ownership,
    remove_unseen,
    require_files,
    require_room,
)
from pondflight.workers.fly import machine as machines
from pondflight.workers.fly.api import ApiError, FlyApi
from pondflight.workers.fly.machine import Placement
from pondflight.workers.spec import WorkerSpec

_NAME_TAKEN = "already_exists"
_WAIT_SECONDS = 5.0
_GONE_SECONDS = 8.0


class FlyBackend:
    """Machines of one deployment (``instance``). ``start_seconds``: how long a start may take."""

    name = "fly"
    outlives_proxy = True

    def __init__(
        self,
        api: FlyApi,
        layout: Layout,
        instance: str,
        placement: Placement | None = None,
        *,
        start_seconds: float = 30.0,
    ) -> None:
        self.layout = layout
        self.placement = placement or Placement()
        self._api = api
        self._ownership = Ownership(instance)
        self._start_seconds = start_seconds

    @property
    def reachable(self) -> bool:
        """Return whether the API has answered recently."""
        return self._api.reachable

    def on_exit(self, callback: ExitCallback) -> None:
        """Do nothing: ends are found by asking, the API does not report them."""

    # -- starting and ending ------------------------------------------------------------------

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        """Create a Machine, launch it once there is room for sure, and wait until it runs."""
        require_files(spec, (), "use a database server, or another backend")
        deadline = time.monotonic() + self._start_seconds
        try:
            machine = self._create(machines.manifest(spec, self.layout, self.placement))
        except BackendUnreachable:
            remove_unseen(self, spec)
            raise
        try:
            others = [one for one in self.list_workers() if one.id != machine["id"]]
            if any(other.name == spec.name for other in others):
                raise NameTaken(spec.name)  # noqa: TRY301
            require_room([self._handle(machine), *others], spec.most)
            with _as_failure():
                self._api.launch(machine["id"])
                return self._running(machine["id"], deadline)
        except BaseException:
            with contextlib.suppress(BackendError, ApiError):
                self._remove(machine["id"])
            raise

    def _create(self, body: Json) -> Json:
        try:
            return self._api.create(body)
        except ApiError as error:
            if _NAME_TAKEN in error.message:
                raise NameTaken(body["name"]) from error
            raise StartFailed(error.message, []) from error

    def _running(self, machine: str, deadline: float) -> WorkerHandle:
        while True:
            left = deadline - time.monotonic()
            self._api.wait(machine, "started", min(_WAIT_SECONDS, left))
            found = self._api.find(machine)
            if found is None:
                raise StartFailed("the Machine was removed before it ran", [])
            worker = self._handle(found)
            if worker.phase is Phase.RUNNING:
                return worker
            if worker.phase is Phase.ENDED:
                code = machines.end_of(found).code
                raise StartFailed(
                    f"the Machine {machine} is {found['state']} (exit code {code})", []
                )
            if time.monotonic() >= deadline:
                raise StartFailed(f"the Machine {machine} is still {found['state']}", [])

    def stop(self, handle: WorkerHandle) -> None:
        """Destroy the Machine, and wait until it is gone."""
        try:
            self._remove(handle.id)
        except ApiError as error:
            raise BackendUnreachable(error.message) from error

    def _remove(self, machine: str) -> None:
        self._api.destroy(machine)
        if not self._api.wait(machine, "destroyed", _GONE_SECONDS):
            raise BackendUnreachable(
                f"the Machine {machine} is not gone {_GONE_SECONDS:g} s after it was destroyed"
            )

    def claim(self, handle: WorkerHandle, name: str) -> WorkerHandle:
        """Return the worker if the name is its own; there are no warm workers."""
        if handle.name != name or (found := self._look(handle.id)) is None:
            raise NoSuchWorker(handle.id)
        return self._handle(found)

    # -- looking ------------------------------------------------------------------------------

    def list_workers(self) -> list[WorkerHandle]:
        """Return the Machines with this deployment's metadata, in any state."""
        return self._listed({INSTANCE: self._ownership.instance})

    def find(self, name: str) -> WorkerHandle | None:
        """Return the Machine that has ``name`` now."""
        found = self._listed({INSTANCE: self._ownership.instance, machines.NAME: name})
        return found[0] if found else None

    def exit_of(self, handle: WorkerHandle) -> WorkerExit | None:
        """Return how the Machine ended."""
        found = self._look(handle.id)
        if found is None:
            return WorkerExit()
        return machines.end_of(found) if machines.phase_of(found) is Phase.ENDED else None

    def logs(self, handle: WorkerHandle) -> list[str]:
        """Return nothing: the Machines API has no logs (``fly logs`` has)."""
        return []

    def check(self) -> list[Problem]:
        """Check that the API answers and has the app, and that it is not the proxy's own app."""
        if self._api.app == os.environ.get("FLY_APP_NAME"):
            return [
                Problem(
                    "fly app",
                    f"workers would run in the proxy's own app {self._api.app}, and have its "
                    "secrets in their environment",
                    "create an app without secrets for the workers, and name it in fly.app",
                )
            ]
        try:
            self._api.look_at_app()
        except ApiError as error:
            advice = "create it (fly apps create), or name another one (fly.app)"
            return [Problem("fly app", f"the app {self._api.app}: {error.message}", advice)]
        except BackendUnreachable as error:
            advice = "let pondflight reach the API with a token for the app (fly.url, fly.token)"
            return [Problem("fly", str(error), advice)]
        return []

    def close(self) -> None:
        """Close the connections; the Machines continue."""
        self._api.close()

    # -- inside -------------------------------------------------------------------------------

    def _listed(self, labels: Mapping[str, str]) -> list[WorkerHandle]:
        try:
            rows = self._api.machines(machines.labels(labels))
        except ApiError as error:
            raise BackendUnreachable(error.message) from error
        own = self._ownership.own
        found = [own(str(row.get("id", "")), partial(self._handle, row)) for row in rows]
        return [worker for worker in found if worker is not None]

    def _look(self, machine: str) -> Json | None:
        try:
            return self._api.find(machine)
        except ApiError as error:
            raise BackendUnreachable(error.message) from error

    def _handle(self, machine: Json) -> WorkerHandle:
        return machines.handle_of(machine, self.layout.engine.port)


@contextlib.contextmanager
def _as_failure() -> Iterator[None]:
    """Turn a refusal by the API into the failure of the start, with its reason."""
    try:
        yield
    except ApiError as error:
        raise StartFailed(error.message, []) from error
