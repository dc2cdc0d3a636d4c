"""Builds the Kubernetes of the suites, from modules of the Go module proxy alone.

::

    python -m integration.kubernetes.build    # prints the directory

One program (``server/main.go``) has etcd, API server, controller manager, scheduler and kubelet. It
is kept in the user's cache directory by what it is made of, so a second run takes no time. A first
one takes seven minutes of two processors, four gigabytes of memory, five of disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SERVER = Path(__file__).parent / "server"
PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
)
# Tests need neither inlining nor debugging information: a third of the compiler's time.
_FLAGS = ("-trimpath", "-gcflags=all=-l -dwarf=false")
_SOURCES = ("go.mod", "go.sum", "main.go", "pause/main.go")


def directory() -> Path:
    """Where the programs are kept, or will be."""
    digest = hashlib.sha256(" ".join(_FLAGS).encode())
    for name in _SOURCES:
        digest.update((SERVER / name).read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pondflight"
    return cache / f"kubernetes-{digest.hexdigest()[:12]}"


def programs() -> Path | None:
    """Where the programs are: where PONDFLIGHT_KUBERNETES says, or kept; None: nowhere yet."""
    if given := os.environ.get("PONDFLIGHT_KUBERNETES"):
        return Path(given)
    folder = directory()
    return folder if (folder / "pause").exists() else None


def build() -> Path:
    """Build what is not there yet; the directory of the programs. Waits for another build."""
    if (there := programs()) is not None:
        return there
    folder = directory()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if programs() is None:
            _build(folder)
    return folder


def _build(folder: Path) -> None:
    go = shutil.which("go")
    if go is None:
        sys.exit(
            "Kubernetes is built by Go 1.26 or newer, as in .venv-integration (make does that)"
        )
    work = folder / "work"
    environ = os.environ | {
        # Caches of our own: the usual ones would keep three gigabytes for ever.
        "GOMODCACHE": str(work / "modules"),
        "GOCACHE": str(work / "cache"),
        "CGO_ENABLED": "0",
        "GOGC": "400",  # of memory there is enough; a twentieth of the compiler's time
        "GOFLAGS": "-buildvcs=false -modcacherw -mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    (work / "bin").mkdir(parents=True, exist_ok=True)
    for attempt in range(3):  # proxies fail now and then
        done = subprocess.run([go, "mod", "download"], cwd=SERVER, env=environ, check=False)
        if not done.returncode:
            break
        if attempt == 2:
            sys.exit("the modules of Kubernetes cannot be downloaded")
    subprocess.run(
        [
            *(go, "build", *_FLAGS, "-ldflags", _linker_flags(), "-o", f"{work / 'bin'}/"),
            *(".", "./pause"),
        ],
        cwd=SERVER,
        env=environ,
        check=True,
    )
    (work / "bin" / "kube").rename(folder / "kube")
    for name in PROGRAMS:
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to("kube")
    (work / "bin" / "pause").rename(folder / "pause")  # last: now it is built
    shutil.rmtree(work, ignore_errors=True)


def _linker_flags() -> str:
    """Without them the server calls itself v0.0.0-master, and clients stumble over that."""
    text = (SERVER / "go.mod").read_text("utf-8")
    found = re.search(r"k8s\.io/kubernetes v(1\.(\d+)\.\d+)", text)
    assert found is not None
    flags = ["-s", "-w"]
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        flags += [
            f"-X {package}.gitVersion=v{found[1]}",
            f"-X {package}.gitMajor=1",
            f"-X {package}.gitMinor={found[2]}",
            f"-X {package}.gitTreeState=clean",
        ]
    return " ".join(flags)


if __name__ == "__main__":
    print(build())
