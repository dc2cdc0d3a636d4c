"""A Docker engine of our own, for as long as one command runs.

::

    python -m integration.docker.engine -- pytest integration/docker

It needs root and Debian's packages (``--install`` gets them), and neither touches nor needs another
engine on the machine: dockerd runs in network, mount and process namespaces of its own, with its
own data root and socket, and the command runs in there with it. Nothing of it is left afterwards,
not even a firewall rule. The way out is slirp4netns, which needs no rule on the host either.

No registry is asked: the base image is made by debootstrap (and kept in the cache directory of the
user), ours by the Dockerfile.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pondflight import __version__

ROOT = Path(__file__).parents[2]
IMAGE = f"pondflight:{__version__}"
BASE_IMAGE = "pondflight-base:bookworm"
VARIABLE = "PONDFLIGHT_TEST_ENGINE"
"""Names the directory of the engine, inside."""

PACKAGES = (
    *("docker.io", "slirp4netns", "debootstrap", "iptables", "iproute2", "ca-certificates"),
    "containernetworking-plugins",  # for integration/pods
)
_PROGRAMS = (
    *("dockerd", "/usr/bin/docker", "slirp4netns", "debootstrap", "iptables", "ip"),
    "/usr/lib/cni/bridge",
)
_BASE = ("bookworm", "python3,python3-venv,ca-certificates,curl")
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_RESOLVER = "10.0.2.3"
_SECONDS = 60.0
_daemons: list[subprocess.Popen[bytes]] = []


class Engine:
    """The engine, for use from inside: the suite's commands run in its namespaces."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "docker.sock"
        self.host = f"unix://{self.socket}"
        self.log = folder / "dockerd.log"

    @classmethod
    def current(cls) -> Engine:
        """Return the engine beside which this process was started."""
        folder = os.environ.get(VARIABLE)
        if not folder:
            sys.exit("this needs an engine: python -m integration.docker.engine -- COMMAND")
        return cls(Path(folder))

    @property
    def pid(self) -> int:
        """Return the process id of dockerd."""
        return int((self.folder / "dockerd.pid").read_text())

    def docker(self, *arguments: str, **environ: str) -> str:
        """Run Docker's own client; return its output."""
        done = subprocess.run(
            ["/usr/bin/docker", "--host", self.host, *arguments],
            env=os.environ | environ,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def start(self, *options: str) -> None:
        """Start dockerd and wait until it answers."""
        with self.log.open("ab") as log:
            daemon = subprocess.Popen(
                [
                    *("dockerd", "--host", self.host, "--storage-driver", "overlay2"),
                    *("--data-root", str(self.folder / "data")),
                    *("--exec-root", str(self.folder / "exec")),
                    *("--pidfile", str(self.folder / "dockerd.pid")),
                    *options,
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _daemons.append(daemon)  # it may outlive this object, which does not wait for it
        deadline = time.monotonic() + _SECONDS
        while not self.answers():
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.1)

    def answers(self) -> bool:
        """Return whether dockerd answers."""
        with contextlib.suppress(RuntimeError):
            return bool(self.docker("version", "--format", "{{.Server.Version}}"))
        return False

    def signal(self, number: int) -> None:
        """Send a signal to dockerd."""
        os.kill(self.pid, number)

    def stop(self) -> None:
        """End dockerd, and wait until it has ended."""
        pid = self.pid
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _SECONDS
        while _lives(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def build(self, base: Path) -> None:
        """Build our image from the base and the Dockerfile, unless it exists."""
        if not self.docker("images", "--quiet", BASE_IMAGE):
            self.docker("import", "--change", "ENV LANG=C.UTF-8", str(base), BASE_IMAGE)
        bundle = next((b for b in (os.environ.get("SSL_CERT_FILE"), *_BUNDLES) if _is_file(b)), "")
        secret = [f"--secret=id=ca,src={bundle}"] if bundle else []
        self.docker(
            *("build", "--network", "host", "--build-arg", f"BASE_IMAGE={BASE_IMAGE}"),
            *(*secret, "--tag", IMAGE, str(ROOT)),
            DOCKER_BUILDKIT="1",
        )


def _lives(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _is_file(name: str | None) -> bool:
    return bool(name) and Path(name or "").is_file()


# -- outside ----------------------------------------------------------------------------------


def run(command: Sequence[str], *, root: Path | None = None) -> int:
    """Run ``command`` beside an engine; return its exit code.

    ``root`` keeps images between runs; without it, everything is made anew and removed.
    """
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        sys.exit(
            f"a Docker engine of our own needs root and {', '.join(missing) or 'nothing else'}: "
            f"apt-get install {' '.join(PACKAGES)}"
        )
    base = base_image()
    with _folder(root) as folder:
        inner = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"),
                *("--mount-proc", "--propagation", "private"),
                *(sys.executable, "-m", "integration.docker.engine", "--inside"),
                *(str(folder), str(base), *command),
            ],
            env=os.environ | {VARIABLE: str(folder)},
        )
        network = _connect(inner)
        try:
            return inner.wait()
        except KeyboardInterrupt:
            return inner.wait(_SECONDS)
        finally:
            inner.kill()
            inner.wait()
            network.kill()
            network.wait()


def base_image() -> Path:
    """Return an archive of a small Debian with Python; debootstrap makes it when first needed."""
    suite, packages = _BASE
    name = hashlib.sha256(" ".join(_BASE).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pondflight"
    archive = cache / f"base-{name}.tar"
    if archive.exists():
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        tree, made = Path(folder) / "tree", Path(folder) / "base.tar"
        for attempt in range(3):  # mirrors fail now and then
            shutil.rmtree(tree, ignore_errors=True)
            done = subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(tree)],
                capture_output=True,
                text=True,
                check=False,
            )
            if not done.returncode:
                break
            time.sleep(5 * attempt)
        else:
            sys.exit(f"debootstrap failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        for path in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc"):
            shutil.rmtree(tree / path, ignore_errors=True)
        with tarfile.open(made, "w") as tar:
            tar.add(tree, arcname=".")
        made.rename(archive)
    return archive


@contextlib.contextmanager
def _folder(root: Path | None) -> Iterator[Path]:
    if root is not None:
        root.mkdir(parents=True, exist_ok=True)
        yield root
        return
    # Short: a socket's name has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="pf-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _connect(inner: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """Give the network namespace of ``inner`` a way out."""
    ours = Path("/proc/self/ns/net").readlink()
    theirs = Path(f"/proc/{inner.pid}/ns/net")
    deadline = time.monotonic() + _SECONDS
    while inner.poll() is None and theirs.readlink() == ours and time.monotonic() < deadline:
        time.sleep(0.01)
    return subprocess.Popen(
        ["slirp4netns", "--configure", "--mtu=65520", str(inner.pid), "tap0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


# -- inside -----------------------------------------------------------------------------------


def _inside(folder: Path, base: Path, command: Sequence[str]) -> int:
    """Run as the first process of the namespaces, with which all others end."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    deadline = time.monotonic() + _SECONDS
    while not Path("/sys/class/net/tap0").exists() and not _has_link("tap0"):
        if time.monotonic() > deadline:
            sys.exit("slirp4netns did not come up")
        time.sleep(0.05)
    resolver = folder / "resolv.conf"
    resolver.write_text(f"nameserver {_RESOLVER}\n")
    subprocess.run(["mount", "--bind", str(resolver), "/etc/resolv.conf"], check=True)
    engine = Engine(folder)
    for left in (folder / "dockerd.pid", engine.socket, engine.log):
        left.unlink(missing_ok=True)
    shutil.rmtree(folder / "exec", ignore_errors=True)  # process ids of another namespace
    engine.start()
    engine.build(base)
    child = subprocess.Popen(command, env=os.environ | {"DOCKER_HOST": engine.host})
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            pid, status = os.wait()  # the first process of a namespace reaps orphans
            if pid == child.pid:
                return os.waitstatus_to_exitcode(status)


def _has_link(name: str) -> bool:
    done = subprocess.run(["ip", "-json", "link"], capture_output=True, check=True)
    return any(link["ifname"] == name for link in json.loads(done.stdout))


def install() -> None:
    """Install what is missing, by apt."""
    if all(shutil.which(name) for name in _PROGRAMS):
        return
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for attempt in range(3):
        done = [
            subprocess.run(["apt-get", *step], env=environ, check=False).returncode
            for step in (
                ["update", "-qq"],
                ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES],
            )
        ]
        if not any(done):
            return
        time.sleep(5 * (attempt + 1))
    sys.exit("apt-get failed")


def main(arguments: Sequence[str]) -> int:
    """``[--install] [--root DIR] -- COMMAND...``."""
    if arguments[:1] == ["--inside"]:
        folder, base, *command = arguments[1:]
        return _inside(Path(folder), Path(base), command)
    options, _, command = _split(arguments)
    if "--install" in options:
        install()
    root = Path(options[options.index("--root") + 1]) if "--root" in options else None
    return run(command, root=root) if command else 0


def _split(arguments: Sequence[str]) -> tuple[list[str], str, list[str]]:
    if "--" not in arguments:
        sys.exit(f"usage: python -m integration.docker.engine {main.__doc__}")
    at = list(arguments).index("--")
    return list(arguments[:at]), "--", list(arguments[at + 1 :])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
