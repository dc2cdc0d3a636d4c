"""Workers as pods, one for each user, in one namespace, shared by any number of proxies.

Kubernetes stores everything that has to be remembered. A pod has its user's name, which only one
can have at a time: a second proxy adopts it. A pod cannot be renamed, so a warm one is claimed by a
Lease of the user's name (``claims``), and by a label.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from http import HTTPStatus

from pondflight.control import Json
from pondflight.workers.backends.base import (
    BackendError,
    BackendUnreachable,
    ExitCallback,
    NameTaken,
    Phase,
    Problem,
    StartFailed,
    WorkerExit,
    WorkerHandle,
    last_lines,
)
from pondflight.workers.backends.container import INSTANCE, Layout
from pondflight.workers.backends.ownership import (
    Ownership,
    remove_unseen,
    require_files,
    require_room,
)
from pondflight.workers.kubernetes import pod as pods
from pondflight.workers.kubernetes.api import ApiError, KubernetesApi
from pondflight.workers.kubernetes.checks import Room, check, room
from pondflight.workers.kubernetes.claims import Claims
from pondflight.workers.kubernetes.pod import Placement, Pod
from pondflight.workers.kubernetes.watch import Watch
from pondflight.workers.naming import is_worker, user_in
from pondflight.workers.spec import WorkerSpec

_PAGE = 500
_TRIES = 3
_LOOK_SECONDS = 1.0
_GONE_SECONDS = 8.0
_SHORTEST, _LONGEST = 0.02, 0.5


class KubernetesBackend:
    """Pods of one deployment (``instance``). ``start_seconds`` is how long a start may take."""

    name = "kubernetes"
    outlives_proxy = True

    def __init__(
        self,
        api: KubernetesApi,
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
        self._claims = Claims(api, instance)
        self._watch = Watch(api, instance)

    @property
    def reachable(self) -> bool:
        """Return whether the API server has answered recently."""
        return self._api.reachable

    def on_exit(self, callback: ExitCallback) -> None:
        """Do nothing: ends are found by asking, the server does not report them."""

    # -- starting and ending ------------------------------------------------------------------

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        """Create a pod, and wait until it runs.

        It is created with a gate, so that it is not scheduled before it is certain that there is
        room, and that its user has no other worker.
        """
        require_files(
            spec, self.placement.mounted, "bring it by a volume of kubernetes.pod_template"
        )
        deadline = time.monotonic() + self._start_seconds
        pod = self._create(spec)
        try:
            with _as_failure():
                self._require_room(spec)
                self._require_no_rival(spec, pod)
                if pods.needs_secret(spec, self.layout):
                    self._api.create(self._api.path("secrets"), pods.secret(spec, pod))
                self._admit(pod)
            return self._running(pod, deadline)
        except BaseException:
            with contextlib.suppress(BackendError, ApiError):
                self._delete(pod["metadata"]["name"], pod["metadata"]["uid"])
            raise

    def _create(self, spec: WorkerSpec) -> Json:
        body = pods.manifest(spec, self.layout, self.placement)
        try:
            with _as_failure():
                if spec.storage:
                    self._require_volume(spec)
                return self._create_pod(spec, body)
        except BackendUnreachable:
            remove_unseen(self, spec)
            raise

    def _create_pod(self, spec: WorkerSpec, body: Json) -> Json:
        for attempt in range(_TRIES):
            try:
                return self._api.create(self._api.path("pods"), body)
            except ApiError as error:
                if error.reason == "AlreadyExists":
                    raise NameTaken(spec.name) from error
                # Two creations at once under one quota: the second is to try again.
                if error.status != HTTPStatus.CONFLICT or attempt == _TRIES - 1:
                    raise
        raise AssertionError

    def _require_volume(self, spec: WorkerSpec) -> None:
        claim = pods.volume_claim(spec, self.layout, self.placement)
        path = self._api.path("persistentvolumeclaims")
        if self._api.find(f"{path}/{claim['metadata']['name']}") is None:
            try:
                self._api.create(path, claim)
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise

    def _require_room(self, spec: WorkerSpec) -> None:
        """Count pods only if all in the namespace together might be too many: it is slow."""
        path = self._api.path("pods")
        first = self._api.get(path, limit=1)
        if len(first["items"]) + first["metadata"].get("remainingItemCount", 0) <= spec.most:
            return
        require_room(self.list_workers(), spec.most)

    def _require_no_rival(self, spec: WorkerSpec, pod: Pod) -> None:
        """Give way to a warm worker that is being claimed for the same user; see ``claim``."""
        if spec.user and any(
            other["metadata"]["uid"] != pod["metadata"]["uid"] for other in self._of(spec.user)
        ):
            raise NameTaken(spec.name)

    def _admit(self, pod: Pod) -> None:
        self._api.merge(
            self._api.path("pods", pod["metadata"]["name"]),
            {"metadata": {"uid": pod["metadata"]["uid"]}, "spec": {"schedulingGates": []}},
        )

    def _running(self, pod: Pod, deadline: float) -> WorkerHandle:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        while True:
            # Checked after each wait, and once a second whether or not the watch works.
            self._watch.wait(name, min(_LOOK_SECONDS, max(_SHORTEST, deadline - time.monotonic())))
            found = self._look(name)
            if found is None or found["metadata"]["uid"] != uid:
                raise StartFailed("the pod was removed before it ran", [])
            worker = self._handle(found)
            if worker.phase is not Phase.CREATED:
                return worker
            why, hopeless = pods.stuck(found)
            if hopeless or time.monotonic() >= deadline:
                raise StartFailed(
                    f"the pod {name} does not run: {why or 'it is not started in time'}"
                    f"{_advice(why)}",
                    [],
                )

    def stop(self, handle: WorkerHandle) -> None:
        """Delete the pod, and wait until it is gone."""
        name, uid = pods.pod_and_uid(handle)
        try:
            self._delete(name, uid)
            user = handle.name if user_in(handle.name) else ""
            if user and user != name:
                self._claims.release(user, handle.id)
        except ApiError as error:
            raise BackendUnreachable(error.message) from error

    def _delete(self, name: str, uid: str) -> None:
        """Delete a pod; give it up if its node does not answer, unless it holds a volume."""
        path = self._api.path("pods", name)
        if not self._api.delete(path, uid=uid, grace=1):
            return
        deadline, pause = time.monotonic() + _GONE_SECONDS, _SHORTEST
        while (found := self._look(name)) is not None and found["metadata"]["uid"] == uid:
            if time.monotonic() > deadline:
                if any("persistentVolumeClaim" in one for one in found["spec"].get("volumes", ())):
                    raise BackendUnreachable(
                        f"the node of the pod {name} does not answer; its volume may be in use "
                        "there, so it is not given to another pod (see 'A node is lost' in "
                        "docs/kubernetes.md)"
                    )
                self._api.delete(path, uid=uid, grace=0)
                return
            time.sleep(pause)
            pause = min(_LONGEST, pause * 1.5)

    def claim(self, handle: WorkerHandle, name: str) -> WorkerHandle:
        """Give a warm worker to its user, by a Lease of that name and a label.

        Whoever starts a pod looks for the label after creating it, and whoever claims one looks for
        the pod after setting the label. So at least one of the two sees the other, and gives way.
        """
        try:
            return self._handle(self._claims.take(handle, name))
        except ApiError as error:
            raise BackendUnreachable(error.message) from error

    # -- looking ------------------------------------------------------------------------------

    def list_workers(self) -> list[WorkerHandle]:
        """Return the pods with this deployment's labels, in any state."""
        found: dict[str, WorkerHandle] = {}
        for pod in self._pages():
            worker = self._ours(pod)
            if worker is None:
                continue
            other = found.get(worker.name)
            if other is None or pods.pod_and_uid(worker)[0] == worker.name:
                found[worker.name] = worker
        return list(found.values())

    def find(self, name: str) -> WorkerHandle | None:
        """Return the pod that has ``name`` now, or was claimed for it."""
        user = user_in(name)
        try:
            if user:
                there = self._of(user)
            else:
                pod = self._look(name)
                there = [pod] if pod else []
        except ApiError as error:
            raise BackendUnreachable(error.message) from error
        workers = [w for pod in there if (w := self._ours(pod)) is not None and w.name == name]
        # The user's own pod goes before a claim, which gives way to it.
        workers.sort(key=lambda worker: pods.pod_and_uid(worker)[0] != name)
        return workers[0] if workers else None

    def exit_of(self, handle: WorkerHandle) -> WorkerExit | None:
        """Return how the pod ended."""
        name, uid = pods.pod_and_uid(handle)
        pod = self._look(name)
        if pod is None or pod["metadata"]["uid"] != uid:
            return WorkerExit()
        if pods.phase_of(pod) is not Phase.ENDED:
            return None
        end = pods.terminated(pod)
        return WorkerExit(end.get("exitCode"), end.get("reason") == "OOMKilled")

    def logs(self, handle: WorkerHandle) -> list[str]:
        """Return the last lines that the worker wrote; none if its node cannot be reached."""
        name, uid = pods.pod_and_uid(handle)
        pod = self._look(name)
        if pod is None or pod["metadata"]["uid"] != uid:
            return []
        try:
            path = f"{self._api.path('pods', name)}/log"
            return last_lines(self._api.text(path, container=pods.CONTAINER, tailLines=20))
        except (ApiError, BackendUnreachable):
            return []

    def check(self) -> list[Problem]:
        """Check that the API server answers, permits what is needed, and would accept a worker."""
        return check(self._api, self.layout, self.placement, self._ownership.instance)

    def room(self, memory: int, cpu: float) -> Room | None:
        """Return how many workers of that size the quotas allow; None if they may not be read."""
        return room(self._api, self.layout, self.placement, memory, cpu)

    def close(self) -> None:
        """Close the connections; the pods continue."""
        self._watch.close()
        self._api.close()

    # -- inside -------------------------------------------------------------------------------

    def _look(self, name: str) -> Json | None:
        try:
            return self._api.find(self._api.path("pods", name))
        except ApiError as error:
            raise BackendUnreachable(error.message) from error

    def _of(self, user: str) -> list[Json]:
        """Return the pods of a user: at most one, except for a moment."""
        wanted = pods.selector(self._ownership.instance, user)
        found: list[Json] = self._api.get(self._api.path("pods"), labelSelector=wanted)["items"]
        return found

    def _pages(self) -> Iterator[Json]:
        """Yield all pods, a page at a time; start again if the list became too old meanwhile."""
        path, wanted = self._api.path("pods"), pods.selector(self._ownership.instance)
        for attempt in range(_TRIES):
            token = ""
            try:
                while True:
                    query = {"continue": token} if token else {}
                    page = self._api.get(path, labelSelector=wanted, limit=_PAGE, **query)
                    yield from page["items"]
                    token = page["metadata"].get("continue", "")
                    if not token:
                        return
            except ApiError as error:
                if error.status != HTTPStatus.GONE or attempt == _TRIES - 1:
                    raise BackendUnreachable(error.message) from error

    def _handle(self, pod: Pod) -> WorkerHandle:
        return pods.handle_of(pod, self.layout.engine.port, self._api.skew)

    def _ours(self, pod: Pod) -> WorkerHandle | None:
        """Return the worker of a pod; None for what only looks like one."""

        def read() -> WorkerHandle:
            worker = self._handle(pod)
            own, _ = pods.pod_and_uid(worker)
            if pod["metadata"]["labels"][INSTANCE] != self._ownership.instance or not is_worker(
                own, self._ownership.instance
            ):
                raise ValueError(own)
            return worker

        return self._ownership.own(str(pod.get("metadata", {}).get("uid", "")), read)


@contextlib.contextmanager
def _as_failure() -> Iterator[None]:
    """Turn a refusal by the API server into the failure of the start, with its reason."""
    try:
        yield
    except ApiError as error:
        raise StartFailed(f"{error.message}{_advice(error.message)}", []) from error


def _advice(why: str) -> str:
    """Return what an operator can do about it, if the message itself does not say so."""
    for sign, advice in (
        ("exceeded quota", "raise the ResourceQuota, or lower containers.max_per_host"),
        ("violates PodSecurity", "see pod_template, and the labels of the namespace"),
        ("Image", "see containers.image, kubernetes.image_pull_secrets"),
        ("Unschedulable", "add nodes, or see kubernetes.node_selector and tolerations"),
    ):
        if sign in why:
            return f" ({advice})"
    return ""
