"""``workers.backend: auto``: what it stands for and why, and settings without effect."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pondflight.settings import backend
from pondflight.settings.loading import Loaded, read

SIGNED = {"JWT_SECRET": "x7Lr2Qe9Wm4Zt6Bv8Yk1Pn3Hs5Jd0FgA"}


@pytest.fixture(name="in_container", autouse=True)
def fixture_in_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The signs of a container, and the place of Docker's socket: nothing is there yet."""
    monkeypatch.setattr(backend, "_SIGNS_OF_A_CONTAINER", (tmp_path / "dockerenv",))
    monkeypatch.setattr(backend, "_SOCKET", tmp_path / "docker.sock")
    return tmp_path


@pytest.fixture(name="mounted")
def fixture_mounted(in_container: Path) -> Iterator[None]:
    (in_container / "dockerenv").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(in_container / "docker.sock"))
        yield


def loaded(tmp_path: Path, text: str, environ: dict[str, str]) -> Loaded:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    return read(config, environ)


@pytest.mark.parametrize(
    ("text", "environ", "why"),
    [
        ("containers: {network: ponds}", {}, "containers.network is set"),
        ("{}", {"CONTAINER_NETWORK": "ponds"}, "containers.network is set"),
        ("{}", {"CONTAINER_IMAGE": "ghcr.io/somebody/duck:1"}, "containers.image is set"),
        ("containers: {pids_limit: 99}", {}, "containers.pids_limit is set"),
    ],
)
def test_a_setting_that_only_containers_have_means_docker(
    tmp_path: Path, text: str, environ: dict[str, str], why: str
) -> None:
    result = loaded(tmp_path, text, SIGNED | environ)
    assert result.settings.workers.backend == "docker"
    assert result.backend == backend.Choice("docker", why)
    assert result.ignored == ()


@pytest.mark.usefixtures("mounted")
def test_an_engine_that_this_container_was_given_means_docker(tmp_path: Path) -> None:
    result = loaded(tmp_path, "{}", SIGNED)
    assert result.settings.workers.backend == "docker"
    assert result.backend is not None
    assert result.backend.why == f"{tmp_path / 'docker.sock'} is mounted into this container"


def test_the_address_of_an_engine_means_docker_in_a_container_alone(tmp_path: Path) -> None:
    environ = SIGNED | {"DOCKER_HOST": "tcp://socket-filter:2375"}
    assert loaded(tmp_path, "{}", environ).settings.workers.backend == "process"
    (tmp_path / "dockerenv").touch()
    assert loaded(tmp_path, "{}", environ).settings.workers.backend == "docker"


@pytest.mark.usefixtures("mounted")
def test_the_demonstration_uses_no_engine_that_happens_to_be_there() -> None:
    assert read(None, {}).settings.workers.backend == "process"


@pytest.mark.parametrize(
    "text",
    ["{}", "containers: {memory_limit: 1g, cpu_limit: 2, idle_timeout: 1m}"],
)
def test_limits_that_subprocesses_have_too_mean_nothing(tmp_path: Path, text: str) -> None:
    result = loaded(tmp_path, text, SIGNED)
    assert result.settings.workers.backend == "process"
    assert result.ignored == ()


@pytest.mark.usefixtures("mounted")
def test_a_backend_that_is_named_stands_and_what_it_ignores_is_told(tmp_path: Path) -> None:
    text = "workers: {backend: process}\ncontainers: {network: ponds, image: x, memory_limit: 1g}"
    result = loaded(tmp_path, text, SIGNED)
    assert result.settings.workers.backend == "process"
    assert result.backend is None
    assert result.ignored == ("containers.image", "containers.network")


def test_what_only_another_backend_has_is_ignored_and_told(tmp_path: Path) -> None:
    text = (
        "workers: {backend: fly}\nfly: {app: a, token: t}\nkubernetes: {context: c}\n"
        "containers: {scratch: disk, pids_limit: 99, image: x}"
    )
    assert loaded(tmp_path, text, SIGNED).ignored == (
        "containers.pids_limit",
        "containers.scratch",
        "kubernetes.context",
    )
    ignored = loaded(tmp_path, "workers: {backend: docker}\nfly: {app: a}", SIGNED).ignored
    assert ignored == ("fly.app",)


def test_docker_ignores_the_directory_of_subprocesses(tmp_path: Path) -> None:
    text = f"workers: {{backend: docker}}\nduckdb: {{storage_directory: {tmp_path}}}"
    assert loaded(tmp_path, text, SIGNED).ignored == ("duckdb.storage_directory",)


@pytest.mark.parametrize(
    ("image", "engine"),
    [
        ("ghcr.io/pondpilot/sqlflite:latest", "sqlflite"),
        ("gizmodata/GizmoSQL:1", "gizmosql"),
        ("registry.example.com/pondflight:0.1.0", "pondflight"),
    ],
)
def test_an_image_tells_its_engine(tmp_path: Path, image: str, engine: str) -> None:
    result = loaded(tmp_path, "{}", SIGNED | {"CONTAINER_IMAGE": image})
    assert result.settings.containers.engine == engine
