"""The packages that a release publishes: reproducible, complete, and useful without a checkout."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from integration.tools import run
from tests.ports import free_ports
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[2]


def build(folder: Path) -> dict[str, Path]:
    """Wheel and sdist of the checkout, by their suffix."""
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT)
    return {path.suffix: path for path in folder.iterdir()}


@pytest.fixture(scope="module", name="packages")
def fixture_packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(tmp_path_factory.mktemp("dist"))


def test_a_second_build_is_the_same_to_the_byte(packages: dict[str, Path], tmp_path: Path) -> None:
    again = build(tmp_path)
    assert sorted(again) == [".gz", ".whl"]
    for suffix, path in packages.items():
        assert _digest(path) == _digest(again[suffix]), path.name


def test_they_hold_what_is_needed_and_nothing_else(packages: dict[str, Path]) -> None:
    with zipfile.ZipFile(packages[".whl"]) as wheel:
        names = wheel.namelist()
    assert "pondflight/py.typed" in names
    assert "pondflight/web/static/index.html" in names
    assert "pondflight/caddy/files/Caddyfile" in names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"pondflight", next(top for top in tops if top.endswith(".dist-info"))}
    with tarfile.open(packages[".gz"]) as sdist:
        inside = {member.name.partition("/")[2] for member in sdist.getmembers()}
    assert {"pyproject.toml", "web/build.py", "CHANGELOG.md", "README.md"} <= inside
    assert not [name for name in inside if "node_modules" in name or name.startswith("tests/")]


@pytest.fixture(scope="module", name="python")
def fixture_python(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel and its locked dependencies."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip: list[str | Path] = [
        python,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
        "install",
    ]
    locked = ROOT / "requirements" / "image.txt"
    run(*pip, "--require-hashes", "--only-binary=:all:", "-r", locked, cwd=folder)
    run(*pip, "--no-deps", "--no-index", packages[".whl"], cwd=folder)
    return python


def test_the_demonstration_runs_and_its_snippet_prints_rows(python: Path, tmp_path: Path) -> None:
    ports = dict(zip(("PORT", "GRPC_PORT", "HEALTH_PORT"), free_ports(3), strict=True))
    environ = {"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "TMPDIR": str(tmp_path)}
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            [python.with_name("pondflight"), "serve", "--demo"],
            env=environ | {name: str(port) for name, port in ports.items()},
            cwd=tmp_path,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: "Ctrl-C stops" in (tmp_path / "out").read_text(), 60)
            text = (tmp_path / "out").read_text()
            found = re.search(r"<<'END'\n(.*?)\nEND\n", text, re.DOTALL)
            assert found is not None
            rows = run(python, "-c", found[1], cwd=tmp_path)
            assert len(rows.splitlines()) == 6
            with urllib.request.urlopen(f"http://127.0.0.1:{ports['PORT']}/", timeout=10) as page:
                assert b"<script" in page.read()
        finally:
            process.terminate()
            process.wait(60)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
