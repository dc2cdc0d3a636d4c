"""A control plane of our own: etcd, API server, controllers and, for real nodes, the scheduler.

All of it is gone with its directory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from integration.kubernetes.certificates import Authority
from pondflight.workers.kubernetes.api import Access, KubernetesApi
from tests.ports import free_ports

HOST = "127.0.0.1"
SERVICES = "10.96.0.0/24"
_SECONDS = 60.0
_CONTROLLERS = (
    "disruption-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "pod-garbage-collector-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
)
_OF_NODES = (
    "deployment-controller",
    "node-lifecycle-controller",
    "replicaset-controller",
    "taint-eviction-controller",
)


class Cluster:
    """A control plane; ``programs`` is where ``build`` has put it, ``folder`` is its own.

    ``host`` is the address of its API server; all else listens on 127.0.0.1. ``nodes``: real ones
    join it, and so it has a scheduler, Deployments, and gives up what does not answer.
    """

    def __init__(
        self, programs: Path, folder: Path, *, host: str = HOST, nodes: bool = False
    ) -> None:
        self.programs = programs
        self.folder = folder
        self.host = host
        self._nodes = nodes
        self.authority = Authority(folder)
        self.port = free_ports(1, host)[0]
        self.url = f"https://{host}:{self.port}"
        self._etcd = f"http://{HOST}:{free_ports(1)[0]}"
        self._peers = f"http://{HOST}:{free_ports(1)[0]}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._server = self.authority.issue(
            "kube-apiserver", hosts=(host, "10.96.0.1", "localhost", "kubernetes.default.svc")
        )
        self._kubelets = self.authority.issue("kubelets", organisation="system:masters")
        self._tokens = self.authority.signing_key()
        self.kubeconfig = self.credentials("admin", organisation="system:masters")
        self._controllers = self.credentials("system:kube-controller-manager")

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all of it; return when the API server is ready."""
        self._run(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={self._etcd}",
            f"--advertise-client-urls={self._etcd}",
            f"--listen-peer-urls={self._peers}",
            f"--initial-advertise-peer-urls={self._peers}",
            f"--initial-cluster=default={self._peers}",
            "--unsafe-no-fsync",
            "--watch-progress-notify-interval=5s",
            "--log-level=warn",
        )
        self.start_server()
        self._run(
            "kube-controller-manager",
            *(f"--{kind}kubeconfig={self._controllers}" for kind in ("", "authentication-")),
            f"--authorization-kubeconfig={self._controllers}",
            f"--service-account-private-key-file={self._tokens}",
            f"--root-ca-file={self.authority.certificate}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            f"--bind-address={HOST}",
            f"--secure-port={free_ports(1)[0]}",
            f"--cert-dir={self.folder}",
            f"--controllers={','.join(_CONTROLLERS + (_OF_NODES if self._nodes else ()))}",
        )
        if self._nodes:
            scheduler = self.credentials("system:kube-scheduler")
            self._run(
                "kube-scheduler",
                *(f"--{kind}kubeconfig={scheduler}" for kind in ("", "authentication-")),
                f"--authorization-kubeconfig={scheduler}",
                "--leader-elect=false",
                f"--bind-address={HOST}",
                f"--secure-port={free_ports(1)[0]}",
                f"--cert-dir={self.folder}",
            )

    def start_server(self) -> None:
        """Start the API server, and wait until it is ready."""
        server, key = self._server
        kubelet, kubelet_key = self._kubelets
        self._run(
            "kube-apiserver",
            f"--etcd-servers={self._etcd}",
            f"--bind-address={self.host}",
            f"--advertise-address={self.host}",
            f"--secure-port={self.port}",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={self.folder}",
            f"--tls-cert-file={server}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self.authority.certificate}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={self._tokens}",
            f"--service-account-key-file={self._tokens}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-cluster-ip-range={SERVICES}",
            "--allow-privileged=true",
            f"--kubelet-client-certificate={kubelet}",
            f"--kubelet-client-key={kubelet_key}",
            "--kubelet-preferred-address-types=InternalIP",
        )
        self._await_ready()

    def stop_server(self) -> None:
        """Kill the API server."""
        process = self._processes.pop("kube-apiserver")
        process.kill()
        process.wait()

    @contextlib.contextmanager
    def frozen(self, program: str = "kube-apiserver") -> Iterator[None]:
        """A program takes connections meanwhile, and answers nothing."""
        process = self._processes[program]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End all of it."""
        for process in reversed(self._processes.values()):
            process.kill()
            process.wait()

    # -- access -------------------------------------------------------------------------------

    def credentials(self, name: str, *, organisation: str = "", seconds: float = 86400.0) -> Path:
        """A kubeconfig file of a client; its certificate is valid for ``seconds``."""
        certificate, key = self.authority.issue(name, organisation=organisation, seconds=seconds)
        user = {"client-certificate": str(certificate), "client-key": str(key)}
        return self._kubeconfig(name, user)

    def token_credentials(self, name: str, token: str) -> Path:
        """A kubeconfig file of a client with a token."""
        return self._kubeconfig(name, {"token": token})

    def api(self, namespace: str, kubeconfig: Path | None = None, **options: Any) -> KubernetesApi:
        """The API as the backend uses it; the administrator's, if not that of a kubeconfig file."""
        return KubernetesApi(Access(kubeconfig or self.kubeconfig, "", namespace), **options)

    def _kubeconfig(self, name: str, user: dict[str, str]) -> Path:
        path = self.folder / f"{name.replace(':', '-')}.kubeconfig"
        cluster = {"server": self.url, "certificate-authority": str(self.authority.certificate)}
        context = {"cluster": "tests", "user": "user"}
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "tests", "cluster": cluster}],
                    "users": [{"name": "user", "user": user}],
                    "contexts": [{"name": "tests", "context": context}],
                    "current-context": "tests",
                }
            )
        )
        return path

    def _run(self, program: str, *arguments: str) -> None:
        with (self.folder / f"{program}.log").open("ab") as log:
            self._processes[program] = subprocess.Popen(
                [str(self.programs / program), *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, "GOMAXPROCS": "2"},
                start_new_session=True,
            )

    def _await_ready(self) -> None:
        import ssl  # noqa: PLC0415

        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        admin = self.folder / "admin.crt", self.folder / "admin.private"
        context.load_cert_chain(*map(str, admin))
        deadline = time.monotonic() + _SECONDS
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}/readyz", context=context, timeout=5).close()
                return
            process = self._processes["kube-apiserver"]
            if process.poll() is not None or time.monotonic() > deadline:
                text = (self.folder / "kube-apiserver.log").read_text()
                raise RuntimeError(f"the API server did not start:\n{text[-4000:]}")
            time.sleep(0.1)
