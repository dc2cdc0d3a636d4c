"""How a warm pod becomes a user's: by a Lease with the user's name, and then a label.

The Lease names its pod, and decides between two warm pods for one user, since only one can have the
name. It is owned by its pod, so it is deleted with the pod. A Lease whose pod is gone does not
count, whatever the time.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from pondflight.control import Json
from pondflight.workers.backends.base import NameTaken, NoSuchWorker, Phase, WorkerHandle
from pondflight.workers.backends.container import INSTANCE, MANAGED, USER
from pondflight.workers.kubernetes import pod as pods
from pondflight.workers.kubernetes.api import ApiError, KubernetesApi
from pondflight.workers.naming import user_in

_GROUP = "apis/coordination.k8s.io/v1"
_TRIES = 5


class Claims:
    """Claims of one deployment's warm pods."""

    def __init__(self, api: KubernetesApi, instance: str) -> None:
        self._api = api
        self._instance = instance

    def take(self, handle: WorkerHandle, name: str) -> Json:
        """Claim a pod for the user whom ``name`` belongs to; return the changed pod.

        Raises ``NameTaken`` if the user has another worker, ``NoSuchWorker`` if this one is gone or
        somebody else's.
        """
        own, _ = pods.pod_and_uid(handle)
        if own == name:
            return self._alive(handle)
        self._lock(handle, name)
        try:
            pod = self._label(handle, user_in(name))
            self._require_no_pod(name)
        except BaseException:
            self.release(name, handle.id)
            raise
        return pod

    def release(self, name: str, holder: str) -> None:
        """Give up the Lease of that name, if it is the pod's."""
        path = self._path(name)
        lease = self._api.find(path)
        if lease is not None and lease["spec"].get("holderIdentity") == holder:
            self._api.delete(path, uid=lease["metadata"]["uid"])

    def _require_no_pod(self, name: str) -> None:
        if self._api.find(self._api.path("pods", name)) is not None:
            raise NameTaken(name)

    def _lock(self, handle: WorkerHandle, name: str) -> None:
        """Make the Lease this pod's: create it, or take over one whose pod is gone."""
        lease = self._lease(handle, name)
        for _ in range(_TRIES):
            if self._tried(lambda: self._api.create(self._path(""), lease)):
                return
            there = self._api.find(self._path(name))
            if there is None:
                continue
            holder = str(there["spec"].get("holderIdentity", ""))
            if holder == handle.id:
                return
            if self._lives(holder):
                break
            version = {"resourceVersion": there["metadata"]["resourceVersion"]}
            taken = {**lease, "metadata": {**lease["metadata"], **version}}
            if self._tried(lambda body=taken: self._api.replace(self._path(name), body)):  # type: ignore[misc]
                return
        raise NameTaken(name)

    def _tried(self, change: Callable[[], object]) -> bool:
        """Return whether the change was made; False if another one came before it."""
        try:
            change()
        except ApiError as error:
            if error.status in {HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND}:
                return False
            raise
        return True

    def _lease(self, handle: WorkerHandle, name: str) -> Json:
        own, uid = pods.pod_and_uid(handle)
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": name,
                "labels": {MANAGED: "true", INSTANCE: self._instance},
                "ownerReferences": [pods.owner({"metadata": {"name": own, "uid": uid}})],
            },
            "spec": {"holderIdentity": handle.id},
        }

    def _label(self, handle: WorkerHandle, user: str) -> Json:
        """Write the user on the pod, if it is this very pod and nobody's."""
        own, uid = pods.pod_and_uid(handle)
        try:
            return self._api.patch(
                self._api.path("pods", own),
                [
                    {"op": "test", "path": "/metadata/uid", "value": uid},
                    {"op": "test", "path": f"/metadata/labels/{USER}", "value": ""},
                    {"op": "replace", "path": f"/metadata/labels/{USER}", "value": user},
                ],
            )
        except ApiError as error:
            if error.status not in {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.NOT_FOUND}:
                raise
        pod = self._alive(handle)
        if pod["metadata"]["labels"].get(USER) != user:
            raise NoSuchWorker(handle.id)
        return pod

    def _alive(self, handle: WorkerHandle) -> Json:
        name, uid = pods.pod_and_uid(handle)
        pod = self._api.find(self._api.path("pods", name))
        if pod is None or pod["metadata"]["uid"] != uid or pods.phase_of(pod) is Phase.ENDED:
            raise NoSuchWorker(handle.id)
        return pod

    def _lives(self, holder: str) -> bool:
        """Return whether the pod that a Lease names still exists, even if it has ended."""
        name, _, uid = holder.partition(":")
        pod = self._api.find(self._api.path("pods", name))
        return pod is not None and pod["metadata"]["uid"] == uid

    def _path(self, name: str) -> str:
        return self._api.path("leases", name, group=_GROUP)
