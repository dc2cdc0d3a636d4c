"""A node without containers: it plays kubelet, and runs workers as processes of this machine.

Each pod gets an address of its own in 127.0.1.0/16, and its worker listens there, on the port that
all workers have. Everything else is real: the API server, what it admits, and what it remembers.
"""

from __future__ import annotations

import contextlib
import http.server
import ssl
import threading
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from integration.kubernetes.cluster import Cluster
from pondflight.workers.backends.base import BackendUnreachable
from pondflight.workers.kubernetes.api import ApiError, KubernetesApi
from tests.workers.stand_in import StandIns, address

Json = dict[str, Any]


class Node:
    """Runs the pods of one namespace. ``paused``: it takes no new ones, as if it was full."""

    def __init__(self, cluster: Cluster, namespace: str, name: str = "n1") -> None:
        self.name = name
        self.paused = False
        self.silent = False
        """It does nothing any more, as a node that is lost: what runs goes on."""
        self._api = cluster.api(namespace)
        self._folder = cluster.folder / f"node-{namespace}-{name}"
        self._folder.mkdir()
        self.stand_ins = StandIns(self._folder)
        self._stop = threading.Event()
        self._logs = _Logs(cluster, self)
        self._register()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End everything that runs."""
        self._stop.set()
        self._api.close()
        self._logs.close()
        self.stand_ins.close()
        self._thread.join(5)

    # -- what kubelet does --------------------------------------------------------------------

    def _register(self) -> None:
        quantities = {"cpu": "64", "memory": "64Gi", "pods": "500", "ephemeral-storage": "1Ti"}
        with contextlib.suppress(ApiError):
            self._api.create("/api/v1/nodes", {"kind": "Node", "metadata": {"name": self.name}})
        self._api.merge(
            f"/api/v1/nodes/{self.name}/status",
            {
                "status": {
                    "capacity": quantities,
                    "allocatable": quantities,
                    "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": self._logs.port}},
                }
            },
        )

    def _loop(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(ApiError, BackendUnreachable):
                self._follow()
            self._stop.wait(0.2)

    def _follow(self) -> None:
        path = self._api.path("pods")
        found = self._api.get(path)
        for pod in found["items"]:
            self._see(pod)
        version = found["metadata"]["resourceVersion"]
        for event in self._api.events(path, seconds=5, resourceVersion=version):
            if self._stop.is_set() or event["type"] == "ERROR":
                return
            if event["type"] in {"ADDED", "MODIFIED"}:
                self._see(event["object"])

    def _see(self, pod: Json) -> None:
        if self.silent:
            return
        metadata, spec = pod["metadata"], pod["spec"]
        if metadata.get("deletionTimestamp"):
            self._remove(metadata["name"], metadata["uid"])
        elif not spec.get("schedulingGates") and not spec.get("nodeName") and not self.paused:
            with contextlib.suppress(ApiError):  # seen twice
                self._api.create(
                    self._api.path("pods", f"{metadata['name']}/binding"),
                    {
                        "apiVersion": "v1",
                        "kind": "Binding",
                        "metadata": {"name": metadata["name"]},
                        "target": {"apiVersion": "v1", "kind": "Node", "name": self.name},
                    },
                )
                threading.Thread(target=self._run, args=(pod,), daemon=True).start()

    def _run(self, pod: Json) -> None:
        name = pod["metadata"]["name"]
        at, running = address(), threading.Event()

        def ended(code: int) -> None:
            running.wait()
            found = {"exitCode": code, "reason": "Error"}
            status = {"running": None, "terminated": found}
            self._report(
                name,
                {
                    "phase": "Failed" if code else "Succeeded",
                    "containerStatuses": [_container(pod, status)],
                },
            )

        self.stand_ins.start(name, pod["spec"]["containers"][0]["args"], at, ended)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._report(
            name,
            {
                "phase": "Running",
                "podIP": at,
                "podIPs": [{"ip": at}],
                "startTime": now,
                "containerStatuses": [_container(pod, {"running": {"startedAt": now}})],
            },
        )
        running.set()

    def _remove(self, name: str, uid: str) -> None:
        self.stand_ins.end(name)
        with contextlib.suppress(ApiError, BackendUnreachable):
            self._api.delete(self._api.path("pods", name), uid=uid, grace=0)

    def _report(self, name: str, status: Json) -> None:
        for _ in range(20):
            if self._stop.is_set() or self.silent:
                return
            try:
                self._api.merge(self._api.path("pods", f"{name}/status"), {"status": status})
            except BackendUnreachable:
                time.sleep(0.5)
            except ApiError:
                return
            else:
                return


def _container(pod: Json, state: Json) -> Json:
    container = pod["spec"]["containers"][0]
    running = bool(state.get("running"))
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": running,
        "started": running,
        "restartCount": 0,
        "state": state,
    }


class _Logs:
    """Kubelet's own port: the API server asks there for logs."""

    def __init__(self, cluster: Cluster, node: Node) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                _, kind, _, pod, *_ = url.path.split("/")
                path = node.stand_ins.log_of(pod)
                if kind != "containerLogs" or not path.exists():
                    self.send_error(404)
                    return
                count = int(parse_qs(url.query).get("tailLines", ["1000"])[0])
                body = b"".join(path.read_bytes().splitlines(keepends=True)[-count:])
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        certificate, key = cluster.authority.issue(f"node-{node.name}", hosts=("127.0.0.1",))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def create_namespace(api: KubernetesApi, name: str, *, labels: Json | None = None) -> None:
    """Make a namespace, and wait until pods can be created there."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    api.create("/api/v1/namespaces", body)
    deadline = time.monotonic() + 30
    while api.find(f"/api/v1/namespaces/{name}/serviceaccounts/default") is None:
        assert time.monotonic() < deadline, "the controllers made no service account"
        time.sleep(0.05)
