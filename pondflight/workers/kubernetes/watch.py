"""A watch that wakes those who wait for a pod.

They then ask the API server for the state. If the watch breaks, or is never established, waiting
takes a little longer; nothing else is lost.
"""

from __future__ import annotations

import logging
import threading

from pondflight.control import Json
from pondflight.workers.backends.base import BackendUnreachable, Phase
from pondflight.workers.kubernetes import pod as pods
from pondflight.workers.kubernetes.api import ApiError, KubernetesApi

log = logging.getLogger(__name__)

_SECONDS = 300
_PAUSE_SECONDS = 1.0


class Watch:
    """Watches the workers of a deployment, from the first wait on."""

    def __init__(self, api: KubernetesApi, instance: str) -> None:
        self._api = api
        self._instance = instance
        self._changed = threading.Condition()
        self._waiting: dict[str, int] = {}
        self._woken: set[str] = set()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def wait(self, name: str, seconds: float) -> None:
        """Return when something decisive has happened to the pod, or after ``seconds``."""
        with self._changed:
            self._start()
            self._waiting[name] = self._waiting.get(name, 0) + 1
            try:
                self._changed.wait_for(lambda: name in self._woken, seconds)
            finally:
                self._waiting[name] -= 1
                if not self._waiting[name]:
                    del self._waiting[name]
                self._woken.discard(name)

    def close(self) -> None:
        """End the watch; its thread ends with its connection."""
        self._stop.set()

    def _start(self) -> None:
        if self._thread is None and not self._stop.is_set():
            self._thread = threading.Thread(target=self._loop, name="pod-watch", daemon=True)
            self._thread.start()

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (ApiError, BackendUnreachable):
                pass
            except Exception:
                log.exception("the watch of pods broke off")
            self._stop.wait(_PAUSE_SECONDS)

    def _follow(self) -> None:
        path, wanted = self._api.path("pods"), pods.selector(self._instance)
        now = self._api.get(path, labelSelector=wanted, limit=1)["metadata"]["resourceVersion"]
        for event in self._api.events(
            path, seconds=_SECONDS, labelSelector=wanted, resourceVersion=now
        ):
            if self._stop.is_set() or event["type"] == "ERROR":  # too old: watch from now on
                return
            if event["type"] != "BOOKMARK":
                self._see(event)

    def _see(self, event: Json) -> None:
        pod = event["object"]
        decisive = event["type"] == "DELETED" or pods.phase_of(pod) is not Phase.CREATED
        if decisive or pods.stuck(pod)[1]:
            with self._changed:
                name = pod["metadata"]["name"]
                if name in self._waiting:
                    self._woken.add(name)
                    self._changed.notify_all()
