"""A node that runs pods: kubelet, and Debian's containerd and runc.

It is made for the namespaces of ``integration.docker.engine``, whose network is its own. Both
programs have a mount namespace besides, where what they keep below /run and /var is in memory. So
nothing is left on the host but what ``close`` removes.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from integration.docker.engine import IMAGE, Engine
from integration.kubernetes.cluster import Cluster

ADDRESS = "10.88.0.1"
NAME = "n1"
_SUBNET = "10.88.0.0/24"
_BRIDGE = "pods0"
_PAUSE = "pondflight-pause:1"
_CGROUPS = Path("/sys/fs/cgroup")
_IN_MEMORY = ("/run", "/var/lib", "/var/log")
_SECONDS = 60.0


def make_bridge() -> None:
    """Give the node its address, in the network that its pods will be in."""
    for command in (
        f"link add {_BRIDGE} type bridge",
        f"addr add {ADDRESS}/24 dev {_BRIDGE}",
        f"link set {_BRIDGE} up",
    ):
        subprocess.run(["ip", *command.split()], check=True)


class RealNode:
    """One node of ``cluster``, in ``folder``: the path has to be short, for sockets are in it."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._socket = folder / "containerd.sock"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._cgroup = f"pondflight-{secrets.token_hex(4)}"
        folder.mkdir(parents=True, exist_ok=True)
        script = " && ".join(f"mount -t tmpfs tmpfs {path}" for path in _IN_MEMORY)
        self._holder = subprocess.Popen(
            [
                *("unshare", "--mount", "--propagation", "private"),
                *("sh", "-c", f"{script} && echo && exec sleep infinity"),
            ],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()

    def start(self, engine: Engine) -> None:
        """Start both, with the images that ``engine`` has; return when the node is ready."""
        self._start_containerd()
        self._import(engine)
        self.start_kubelet()
        api = self._cluster.api("default")
        with contextlib.closing(api):
            _wait("the node is not ready", lambda: _is_ready(api.find(f"/api/v1/nodes/{NAME}")))

    def close(self) -> None:
        """End it, and whatever runs there."""
        for name in ("kubelet", "containerd"):
            self.kill(name)
        for pid, command in _commands():
            if b"containerd-shim" in command and str(self._socket).encode() in command:
                _kill(pid)
        for folder in _cgroups(self._cgroup):
            _remove_cgroup(folder)
        with self._holder:
            self._holder.kill()
        subprocess.run(["ip", "link", "delete", _BRIDGE], check=False)

    def kill(self, name: str) -> None:
        """Kill ``kubelet`` or ``containerd``; the pods go on."""
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def log(self, name: str) -> str:
        """What a program has written."""
        return (self._folder / f"{name}.log").read_text("utf-8", "replace")

    # -- programs -----------------------------------------------------------------------------

    def start_kubelet(self) -> None:
        """Start kubelet, with a certificate that the node authorizer knows."""
        kubeconfig = self._cluster.credentials(f"system:node:{NAME}", organisation="system:nodes")
        config = self._folder / "kubelet.yaml"
        config.write_text(yaml.safe_dump(self._kubelet_configuration()))
        for folder in _cgroups(self._cgroup):
            _make_cgroup(folder)
        self._run(
            "kubelet",
            str(self._cluster.programs / "kubelet"),
            f"--config={config}",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={self._folder / 'kubelet'}",
            f"--cert-dir={self._folder / 'certificates'}",
            f"--node-ip={ADDRESS}",
            f"--hostname-override={NAME}",
        )

    def _kubelet_configuration(self) -> dict[str, Any]:
        authority = str(self._cluster.authority.certificate)
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": authority},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._cgroup}",
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "enforceNodeAllocatable": [],
            # How full the host's disk is does not matter here.
            "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "failCgroupV1": False,
            "healthzPort": 0,
            "imagePullCredentialsVerificationPolicy": "NeverVerify",
            "makeIPTablesUtilChains": False,
            "oomScoreAdj": 0,
            "podLogsDir": str(self._folder / "logs"),
            "resolvConf": "",
        }

    def _start_containerd(self) -> None:
        networks = self._folder / "networks"
        networks.mkdir()
        (networks / "pods.conflist").write_text(json.dumps(self._network()))
        config = self._folder / "containerd.toml"
        config.write_text(_CONTAINERD.format(folder=self._folder, pause=_PAUSE))
        self._run("containerd", "containerd", "--config", str(config), "--log-level", "warn")
        _wait("containerd does not answer", lambda: self._ctr("version").returncode == 0)

    def _network(self) -> dict[str, Any]:
        addresses = {
            "type": "host-local",
            "dataDir": str(self._folder / "addresses"),
            "ranges": [[{"subnet": _SUBNET, "gateway": ADDRESS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        bridge = {
            "type": "bridge",
            "bridge": _BRIDGE,
            "isGateway": True,
            "hairpinMode": True,
            "ipMasq": False,
            "ipam": addresses,
        }
        return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}

    def _import(self, engine: Engine) -> None:
        """Give containerd the project's image, and the one that holds a pod's namespaces."""
        archive = self._folder / "pause.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(self._cluster.programs / "pause", "pause")
        engine.docker("import", "--change", 'ENTRYPOINT ["/pause"]', str(archive), _PAUSE)
        save = ["/usr/bin/docker", "--host", engine.host, "save", IMAGE, _PAUSE]
        with subprocess.Popen(save, stdout=subprocess.PIPE) as saved:
            done = self._ctr("--namespace", "k8s.io", "images", "import", "-", given=saved.stdout)
        if saved.returncode or done.returncode:
            raise RuntimeError(f"the images cannot be imported: {done.stderr!r}")

    def _ctr(self, *arguments: str, given: Any = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self._inside(), "ctr", "--address", str(self._socket), *arguments],
            stdin=given,
            capture_output=True,
            check=False,
        )

    def _inside(self) -> tuple[str, ...]:
        return ("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--")

    def _run(self, name: str, *command: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*self._inside(), *command], stdout=log, stderr=log, start_new_session=True
            )


_CONTAINERD = """
version = 2
root = "{folder}/containerd"
state = "{folder}/state"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/{pause}"
  # Whoever runs the tests may not lower it.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/networks"
"""


def workers() -> dict[int, str]:
    """The workers that run in pods here: process id, and the command line."""
    found = {}
    for pid, command in _commands():
        if b"\0worker\0" in command and b"--listen=" in command:
            found[pid] = command.replace(b"\0", b" ").decode()
    return found


def _commands() -> Iterator[tuple[int, bytes]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            yield int(path.parent.name), path.read_bytes()


def _is_ready(node: dict[str, Any] | None) -> bool:
    conditions = (node or {}).get("status", {}).get("conditions", [])
    tainted = (node or {}).get("spec", {}).get("taints")
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and not tainted


def _wait(what: str, condition: Any) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(what)
        time.sleep(0.05)


def _cgroups(name: str) -> list[Path]:
    """A node's cgroup in each hierarchy."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS / name]
    return [path / name for path in _CGROUPS.iterdir() if path.is_dir()]


def _make_cgroup(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("cpuset.cpus", "cpuset.mems"):  # empty in a new one, which then runs nothing
        if (folder.parent / name).exists():
            (folder / name).write_text((folder.parent / name).read_text())


def _remove_cgroup(folder: Path) -> None:
    """End what still runs in a cgroup, and remove it with all that are in it."""
    deadline = time.monotonic() + _SECONDS
    while folder.exists() and time.monotonic() < deadline:
        for path in sorted(folder.rglob("cgroup.procs"), key=lambda one: -len(one.parts)):
            with contextlib.suppress(OSError):
                for pid in path.read_text().split():
                    if pid != "0":  # of another namespace
                        _kill(int(pid))
                path.parent.rmdir()
        time.sleep(0.05)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
