"""Workers as Docker containers, which outlive the proxy that started them.

Docker stores everything that has to be remembered: what a container is, in its labels; whose it is,
in its name, which only one container can have at a time.
"""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

from docker.errors import APIError, ImageNotFound, NotFound

from pondflight.control import Json
from pondflight.telemetry.logs import Event, get_logger
from pondflight.workers.backends import container
from pondflight.workers.backends.base import (
    BackendError,
    BackendUnreachable,
    ExitCallback,
    NameTaken,
    NoRoom,
    NoSuchWorker,
    Phase,
    Problem,
    StartFailed,
    WorkerExit,
    WorkerHandle,
    last_lines,
)
from pondflight.workers.backends.container import Layout
from pondflight.workers.backends.docker_api import DockerApi
from pondflight.workers.backends.docker_containers import inspected, listed, phase
from pondflight.workers.backends.ownership import Ownership, remove_unseen, require_room
from pondflight.workers.spec import WorkerSpec

events = get_logger()

_CONFLICT = 409
_BUILT_IN = frozenset({"bridge", "default"})
_MOUNTED = re.compile(r"/containers/([0-9a-f]{64})/(?:hostname|hosts|resolv\.conf)")
_COMPOSE_NETWORK = "com.docker.compose.network"
_NO_ADDRESS = "no available IPv4 addresses"
_ICC = "com.docker.network.bridge.enable_icc"


class DockerBackend:
    """Containers of one deployment (``instance``) on one Docker engine."""

    name = "docker"
    outlives_proxy = True

    def __init__(self, api: DockerApi, layout: Layout, instance: str) -> None:
        self.layout = layout
        self._api = api
        self._ownership = Ownership(instance)
        self._network_seen = False
        self._network_lock = threading.Lock()

    @property
    def reachable(self) -> bool:
        """Return whether Docker has answered recently."""
        return self._api.reachable

    def on_exit(self, callback: ExitCallback) -> None:
        """Do nothing: ends are found by asking Docker, which does not report them."""

    # -- starting and ending ------------------------------------------------------------------

    def start(self, spec: WorkerSpec) -> WorkerHandle:
        """Create a container and start it."""
        self._require_network()
        config = container.configuration(spec, self.layout)
        try:
            made = self._api.call(
                lambda client: client.create_container_from_config(config, name=spec.name)
            )
        except APIError as error:
            raise self._create_failed(error, spec.name) from error
        except BackendUnreachable:
            remove_unseen(self, spec)
            raise
        try:
            there = require_room(self.list_workers(), spec.most)
            others = sum(worker.phase is Phase.RUNNING for worker in there)
            return self._start(made["Id"], others)
        except BaseException:
            with contextlib.suppress(BackendError):
                self._remove(made["Id"])
            raise

    def _start(self, container_id: str, others: int) -> WorkerHandle:
        try:
            self._api.call(lambda client: client.start(container_id))
            return inspected(
                self._api.call(lambda client: client.inspect_container(container_id)), self.layout
            )
        except APIError as error:
            if others and _NO_ADDRESS in _words(error):
                events.warning(Event.NETWORK_FULL, network=self.layout.network, workers=others)
                raise NoRoom(others) from error
            advice = ""
            if self._is_about_network(error):
                self._network_seen = False
                advice = "the network of the workers is missing or full"
            raise StartFailed(_words(error), [], advice=advice) from error

    def stop(self, handle: WorkerHandle) -> None:
        """Kill the container and remove it."""
        self._remove(handle.id)

    def claim(self, handle: WorkerHandle, name: str) -> WorkerHandle:
        """Rename a container by its id, since its name may be another's by now."""
        try:
            self._api.call(lambda client: client.rename(handle.id, name))
        except NotFound as error:
            raise NoSuchWorker(handle.id) from error
        except APIError as error:
            # Docker refuses to rename a container to its own name.
            found = self._look(handle.id)
            if found is not None and found["Name"].lstrip("/") == name:
                return inspected(found, self.layout)
            if error.status_code == _CONFLICT:
                raise NameTaken(name) from error
            raise BackendUnreachable(_words(error)) from error
        renamed = self._look(handle.id)
        if renamed is None:
            raise NoSuchWorker(handle.id)
        return inspected(renamed, self.layout)

    # -- looking ------------------------------------------------------------------------------

    def list_workers(self) -> list[WorkerHandle]:
        """Return the containers with this deployment's labels, in any state."""
        wanted = {
            "label": [
                f"{container.MANAGED}=true",
                f"{container.INSTANCE}={self._ownership.instance}",
            ]
        }
        try:
            rows = self._api.call(lambda client: client.containers(all=True, filters=wanted))
        except APIError as error:
            raise BackendUnreachable(_words(error)) from error
        found = [
            self._ownership.own(str(row.get("Id", "")), partial(listed, row, self.layout))
            for row in rows
        ]
        return [worker for worker in found if worker is not None]

    def find(self, name: str) -> WorkerHandle | None:
        """Return the container that has ``name`` now, if it belongs to this deployment."""
        found = self._look(name)
        if found is None:
            return None
        labels = found["Config"].get("Labels") or {}
        if labels.get(container.INSTANCE) != self._ownership.instance:
            return None
        return inspected(found, self.layout)

    def exit_of(self, handle: WorkerHandle) -> WorkerExit | None:
        """Return how the container ended."""
        found = self._look(handle.id)
        if found is None:
            return WorkerExit()
        state = found["State"]
        if phase(state["Status"]) is not Phase.ENDED:
            return None
        return WorkerExit(state.get("ExitCode"), bool(state.get("OOMKilled")))

    def logs(self, handle: WorkerHandle) -> list[str]:
        """Return the last lines that the worker wrote. The log driver keeps few."""
        try:
            data = self._api.call(lambda client: client.logs(handle.id, tail=20))
        except APIError:
            return []
        return last_lines(data.decode("utf-8", "replace"))

    def check(self) -> list[Problem]:
        """Check that Docker answers, and has the image and the network."""
        try:
            return [*self._check_image(), *self._check_network()]
        except BackendUnreachable as error:
            return [
                Problem(
                    "docker",
                    str(error),
                    "start Docker, and let pondflight use its socket (containers.docker_host)",
                )
            ]

    def close(self) -> None:
        """Close the connections; the containers continue."""
        self._api.close()

    # -- inside -------------------------------------------------------------------------------

    def _look(self, name: str) -> Json | None:
        try:
            found: Json = self._api.call(lambda client: client.inspect_container(name))
        except NotFound:
            return None
        except APIError as error:
            raise BackendUnreachable(_words(error)) from error
        return found

    def _remove(self, container_id: str) -> None:
        try:
            self._api.call(lambda client: client.remove_container(container_id, v=True, force=True))
        except NotFound:
            return
        except APIError as error:
            if error.status_code == _CONFLICT:  # it is being removed already
                return
            raise BackendUnreachable(_words(error)) from error

    def _create_failed(self, error: APIError, name: str) -> BackendError:
        if error.status_code == _CONFLICT:
            return NameTaken(name)
        if isinstance(error, ImageNotFound) or "No such image" in _words(error):
            return StartFailed(
                f"the Docker engine has no image {self.layout.image} (containers.image)",
                [],
                advice=f"the image {self.layout.image} is not there",
            )
        return StartFailed(_words(error), [])

    # -- network and image --------------------------------------------------------------------

    def _require_network(self) -> None:
        """Create the network, if there is none, as one in which containers cannot reach each other.

        An existing network is used as it is. If the proxy runs in a container itself, the network
        must exist, with the proxy in it.
        """
        name = self.layout.network
        if name in _BUILT_IN or self._network_seen:
            return
        with self._network_lock:
            if not self._network_seen:
                self._make_network(name)
                self._network_seen = True

    def _make_network(self, name: str) -> None:
        try:
            self._api.call(lambda client: client.inspect_network(name))
        except NotFound:
            pass
        except APIError as error:
            raise BackendUnreachable(_words(error)) from error
        else:
            return
        own = self._own_container()
        if own is not None:
            found = self._composed(own, name)
            if found:
                self.layout = replace(self.layout, network=found)
                return
            raise StartFailed(
                f"there is no network {name} (containers.network) that this proxy and its workers "
                f"could share: create it and connect the proxy to it",
                [],
            )
        try:
            self._api.call(
                lambda client: client.create_network(
                    name,
                    driver="bridge",
                    options={_ICC: "false"},
                    labels={container.MANAGED: "true"},
                    check_duplicate=True,
                )
            )
        except APIError as error:
            if error.status_code != _CONFLICT:  # another proxy has created it
                raise StartFailed(_words(error), []) from error

    def _own_container(self) -> Json | None:
        """Return the container that the proxy itself runs in, if it belongs to this engine."""
        own = _own_container()
        return self._look(own) if own else None

    def _composed(self, own: Json, name: str) -> str:
        """Return the proxy's network that a Compose file calls ``name``; empty if there is none.

        Compose prefixes the project's name, which no setting of ours can know.
        """
        wanted = {"label": f"{_COMPOSE_NETWORK}={name}"}
        networks = self._api.call(lambda client: client.networks(filters=wanted))
        there = {str(network["Name"]) for network in networks}
        return next((one for one in own["NetworkSettings"]["Networks"] if one in there), "")

    def _is_about_network(self, error: APIError) -> bool:
        words = _words(error)
        return self.layout.network in words and "network" in words

    def _check_image(self) -> list[Problem]:
        image = self.layout.image
        try:
            self._api.call(lambda client: client.inspect_image(image))
        except NotFound:
            return [
                Problem(
                    "image",
                    f"the Docker engine has no image {image}",
                    f"docker pull {image}, or docker build -t {image} . (containers.image)",
                )
            ]
        except APIError as error:
            raise BackendUnreachable(_words(error)) from error
        return []

    def _check_network(self) -> list[Problem]:
        try:
            self._require_network()
        except StartFailed as error:
            return [
                Problem(
                    "network",
                    error.reason,
                    f"docker network create {self.layout.network} (containers.network)",
                )
            ]
        return []


def _own_container() -> str:
    """Return the id of the container that this process runs in; empty if it runs in none.

    Docker mounts files of the container into it, from a directory named after it.
    """
    with contextlib.suppress(OSError):
        found = _MOUNTED.search(Path("/proc/self/mountinfo").read_text())
        if found is not None:
            return found[1]
    return ""


def _words(error: APIError) -> str:
    """Return Docker's explanation of the error in one line."""
    return " ".join(str(error.explanation or error).split())
