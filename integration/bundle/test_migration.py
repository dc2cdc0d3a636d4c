"""A Compose file as users of PondPilot Proxy have it: the image's name is all that they change.

The socket, a network of the file's own, ``/config.yaml``, a health check by curl; no
``WORKER_BACKEND``, no ``--config``. Everybody has a container of their own, with the limits of the
file.
"""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path

import pytest
from adbc_driver_flightsql import DatabaseOptions, dbapi

from integration.bundle.test_compose import V2, needs_engine
from integration.docker.engine import Engine
from integration.tools import run
from pondflight import __version__
from pondflight.auth.tokens import Tokens
from tests.ports import free_ports

pytestmark = [pytest.mark.timeout(300), needs_engine]

SECRET = "kW8rX2vN5qT9zL4mB7cJ1hG6fD3sA0pY"
WORKERS = ("--filter", "label=pondflight.managed=true")
COMPOSE = """
services:
  proxy:
    image: {image}
    ports: ["127.0.0.1:{http}:8080", "127.0.0.1:{grpc}:8081"]
    environment: [JWT_SECRET={secret}, CONTAINER_NETWORK=pondpilot]
    volumes: ["{socket}:/var/run/docker.sock", "./config.yaml:/config.yaml"]
    networks: [pondpilot]
    restart: unless-stopped
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost:8080/health"]
      interval: 2s
{more}
networks:
  pondpilot:
"""


@pytest.fixture(name="folder")
def fixture_folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("containers: {memory_limit: 300m, idle_timeout: 1m}\n")
    (tmp_path / "config.yaml").chmod(0o644)
    tmp_path.chmod(0o755)
    return tmp_path


def write(folder: Path, engine: Engine, more: str, ports: list[int]) -> None:
    image = f"pondflight:{__version__}"
    (folder / "docker-compose.yml").write_text(
        COMPOSE.format(
            image=image,
            http=ports[0],
            grpc=ports[1],
            secret=SECRET,
            socket=engine.socket,
            more=more,
        )
    )


def compose(folder: Path, engine: Engine, *arguments: str) -> str:
    environ = {"DOCKER_HOST": engine.host, "COMPOSE_PROJECT_NAME": "seed"}
    return run(str(V2), *arguments, cwd=folder, environ=environ, seconds=200)


def test_each_user_has_a_container_with_the_limits_of_the_file(folder: Path) -> None:
    engine, ports = Engine.current(), free_ports(2)
    group = engine.socket.stat().st_gid
    write(folder, engine, f'    group_add: ["{group}"]', ports)
    try:
        compose(folder, engine, "up", "--detach")
        (proxy,) = engine.docker("ps", "-q", "--filter", "name=seed").split()
        deadline = time.monotonic() + 60
        while _state(engine, proxy)["Health"]["Status"] != "healthy":
            assert time.monotonic() < deadline, _log(engine, proxy)
            time.sleep(0.5)
        token = Tokens(SECRET).mint("ann", timedelta(hours=1))
        options = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}"}
        with (
            dbapi.connect(f"grpc://127.0.0.1:{ports[1]}", db_kwargs=options) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT 42")
            assert cursor.fetchall() == [(42,)]
        (worker,) = engine.docker("ps", "-q", *WORKERS).split()
        (found,) = json.loads(engine.docker("inspect", worker))
        assert found["HostConfig"]["Memory"] == 300 << 20
        assert list(found["NetworkSettings"]["Networks"]) == ["seed_pondpilot"]
        log = _log(engine, proxy)
        assert "backend=docker" in log
        assert "config=/config.yaml" in log
        assert "grpc" in log.lower()
    finally:
        for worker in engine.docker(
            "ps", "-aq", "--filter", "label=pondflight.managed=true"
        ).split():
            engine.docker("rm", "--force", worker)
        compose(folder, engine, "down")


def test_without_the_sockets_group_it_says_which_line_is_missing(folder: Path) -> None:
    engine = Engine.current()
    write(folder, engine, "", free_ports(2))
    mode = engine.socket.stat().st_mode
    engine.socket.chmod(0o660)
    try:
        compose(folder, engine, "up", "--detach")
        deadline = time.monotonic() + 30
        wanted = f'group_add: ["{engine.socket.stat().st_gid}"]'
        while True:
            (proxy, *_) = engine.docker("ps", "-aq", "--filter", "name=seed").split()
            if wanted in _log(engine, proxy):
                break
            assert time.monotonic() < deadline, _log(engine, proxy)
            time.sleep(0.5)
    finally:
        engine.socket.chmod(mode & 0o777)
        compose(folder, engine, "down")


def _log(engine: Engine, container: str) -> str:
    return run("sh", "-c", f"docker --host {engine.host} logs {container} 2>&1", cwd=Path("/"))


def _state(engine: Engine, container: str) -> dict[str, dict[str, str]]:
    (found,) = json.loads(engine.docker("inspect", container))
    state: dict[str, dict[str, str]] = found["State"]
    return state
