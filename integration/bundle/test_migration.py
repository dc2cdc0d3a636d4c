"""A deployment of PondPilot Proxy that changes only the name of the image.

Users have two Compose files (the socket, a network of the file's own, ``/config.yaml``, a health
check by curl; no ``WORKER_BACKEND``, no ``group_add``), TLS in front (nginx and Caddy, each with
two host names), and commands to look at it. The files are in ``migration/``.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from adbc_driver_flightsql import DatabaseOptions, dbapi
from adbc_driver_manager import Error

from integration.bundle.front import caddy
from integration.bundle.test_compose import V2, build, needs_engine
from integration.docker.engine import IMAGE, Engine
from integration.tools import require, run
from pondflight.auth.tokens import Tokens
from tests.certificates import Authority

pytestmark = [pytest.mark.timeout(300), needs_engine]

FILES = Path(__file__).parent / "migration"
SECRET = "kW8rX2vN5qT9zL4mB7cJ1hG6fD3sA0pY"
HTTP, GRPC = "proxy.example.com", "grpc.proxy.example.com"
WORKERS = ("--filter", "label=pondflight.managed=true")
GROUP = 998
POSTGRES = "pondflight-test-postgres"
CONFIG = """
containers: {memory_limit: 300m, idle_timeout: 1m}
duckdb:
  extensions: [arrow, postgres, mysql]
"""
DATABASE = """
  attached_databases:
    - {alias: analytics, type: postgres, connection_string: "${DATABASE_URL}"}
"""


class Project:
    """A Compose file in a folder of its own, with `.env` and `config.yaml`."""

    def __init__(self, folder: Path, engine: Engine, file: str, config: str) -> None:
        self.folder, self.engine = folder, engine
        folder.chmod(0o755)
        text = (FILES / file).read_text()
        for theirs, ours in {
            "ghcr.io/pondpilot/proxy:latest": IMAGE,
            "postgres:16": POSTGRES,
            "/var/run/docker.sock:": f"{engine.socket}:",
        }.items():
            text = text.replace(theirs, ours)
        (folder / "docker-compose.yml").write_text(text)
        (folder / ".env").write_text(f"JWT_SECRET={SECRET}\n")
        (folder / "config.yaml").write_text(config)
        (folder / "config.yaml").chmod(0o644)

    def compose(self, *arguments: str) -> str:
        """Run Compose; return its output."""
        environ = {"DOCKER_HOST": self.engine.host, "COMPOSE_PROJECT_NAME": "seed"}
        return run(str(V2), *arguments, cwd=self.folder, environ=environ, seconds=200)

    def up(self) -> None:
        """Start it, and wait until it is ready."""
        self.compose("up", "--detach")
        eventually(lambda: get("http://localhost:8080/ready") == {"ready": True}, self.log)

    def log(self) -> str:
        """Return the proxy's log."""
        return self.compose("logs", "proxy")

    def proxy(self) -> dict[str, Any]:
        """Return the engine's description of the proxy's container."""
        return inspect(self.engine, self.compose("ps", "--quiet", "proxy").strip())

    def down(self) -> None:
        """Remove all of it."""
        for worker in self.engine.docker("ps", "-aq", *WORKERS).split():
            self.engine.docker("rm", "--force", worker)
        self.compose("down", "--volumes")


Start = Callable[..., Project]


@pytest.fixture(name="engine")
def fixture_engine() -> Iterator[Engine]:
    """Return the engine, whose socket is open to a group alone, as Debian has it."""
    engine = Engine.current()
    before = engine.socket.stat()
    os.chown(engine.socket, 0, GROUP)
    engine.socket.chmod(0o660)
    yield engine
    os.chown(engine.socket, 0, before.st_gid)
    engine.socket.chmod(before.st_mode & 0o777)


@pytest.fixture(name="start")
def fixture_start(engine: Engine, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a Compose file: ``start("basic.yaml")``."""
    started: list[Project] = []

    def start(file: str, config: str = CONFIG) -> Project:
        started.append(Project(tmp_path, engine, file, config))
        started[-1].up()
        return started[-1]

    yield start
    for project in started:
        project.down()


def test_each_user_has_a_container_with_the_limits_of_the_file(start: Start) -> None:
    project = start("basic.yaml")
    with connect("grpc://localhost:8081") as connection:
        assert rows(connection, "SELECT 42") == [(42,)]
    (worker,) = project.engine.docker("ps", "-q", *WORKERS).split()
    found = inspect(project.engine, worker)
    assert found["HostConfig"]["Memory"] == 300 << 20
    assert list(found["NetworkSettings"]["Networks"]) == ["seed_pondpilot"]
    assert "config=/config.yaml" in project.log()
    eventually(lambda: project.proxy()["State"]["Health"]["Status"] == "healthy", project.log)
    look(project)


def look(project: Project) -> None:
    """Run the commands with which users look at it."""
    assert get("http://localhost:8080/health") == {"status": "healthy"}
    detailed = get("http://localhost:8080/health/detailed")
    assert detailed["containers"]["active"] == detailed["containers"]["total_spawned"] == 1
    assert isinstance(detailed["uptime_seconds"], int | float)
    log = project.log()
    assert [line for line in log.splitlines() if "grpc" in line.lower()]
    assert [line for line in log.splitlines() if 'msg="Container spawned" user_id=' in line]
    run("bash", "-c", "exec 3<>/dev/tcp/localhost/8081", cwd=project.folder)  # nc -z
    assert "300MiB" in project.engine.docker("stats", "--no-stream", "--format", "{{.MemUsage}}")
    assert project.engine.docker("info")
    assert "Docker" in project.compose("exec", "-T", "proxy", "pondflight", "doctor")


def test_a_database_beside_it_is_attached(start: Start, engine: Engine, tmp_path: Path) -> None:
    build(engine, tmp_path / "images", "postgres")
    project = start("databases.yaml", CONFIG + DATABASE)
    wanted = "SELECT count(*) FROM analytics.pg_catalog.pg_database"
    with connect("grpc://localhost:8081") as connection:
        eventually(lambda: rows(connection, wanted) >= [(1,)], project.log)
    url = "postgresql://postgres:postgres@postgres:5432/analytics"
    psql = ("run", "--rm", "--network", "seed_pondpilot", "--entrypoint", "psql", POSTGRES)
    assert project.engine.docker(*psql, url, "-Atc", "SELECT 1") == "1"


@pytest.fixture(name="names")
def fixture_names(tmp_path: Path) -> Iterator[None]:
    """Make both host names lead here, only in the namespace of the engine."""
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {HTTP} {GRPC}\n")
    run("mount", "--bind", str(hosts), "/etc/hosts", cwd=tmp_path)
    yield
    run("umount", "/etc/hosts", cwd=tmp_path)


@pytest.mark.usefixtures("names")
def test_their_front_files(start: Start, tmp_path: Path) -> None:
    start("basic.yaml")
    for front in (nginx, their_caddy):
        folder = tmp_path / front.__name__
        folder.mkdir()
        with front(folder) as ca:
            eventually(partial(get, f"https://{HTTP}/health", ca))
            assert get(f"https://{HTTP}/ready", ca) == {"ready": True}
            with connect(f"grpc+tls://{GRPC}:443", ca) as connection:
                assert rows(connection, "SELECT sum(range) FROM range(5000000)") == [
                    (12499997500000,)
                ]
                assert len(rows(connection, "FROM range(300000)")) == 300_000


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[Path]:
    """Run Debian's nginx with the users' file; yield the certificate of its authority."""
    require("/usr/sbin/nginx", "apt-get install nginx")
    authority = Authority(folder)
    pair = authority.issue(HTTP, GRPC, file="server")
    text = (FILES / "nginx.conf").read_text()
    text = text.replace("/etc/ssl/certs/proxy.crt", str(pair.cert))
    text = text.replace("/etc/ssl/private/proxy.key", str(pair.key))
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}\n{text}\n}}\n"
    )
    command = ["/usr/sbin/nginx", "-e", "stderr", "-p", str(folder), "-c", f"{folder}/nginx.conf"]
    with running(command):
        yield authority.cert


@contextlib.contextmanager
def their_caddy(folder: Path) -> Iterator[Path]:
    """Run Caddy with the users' file, and own certificates in place of a public authority's."""
    options = "{\n\tlocal_certs\n\tskip_install_trust\n\tadmin off\n}\n"
    (folder / "Caddyfile").write_text(options + (FILES / "Caddyfile").read_text())
    command = [caddy(), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    ca = folder / "caddy/pki/authorities/local/root.crt"
    with running(command, XDG_DATA_HOME=str(folder), XDG_CONFIG_HOME=str(folder)):
        eventually(ca.exists)
        yield ca


@contextlib.contextmanager
def running(command: list[str], **environ: str) -> Iterator[None]:
    """Run a program for as long as it is needed."""
    with subprocess.Popen(command, env=os.environ | environ) as process:
        try:
            yield
        finally:
            process.terminate()


def test_without_the_capability_it_says_which_line_is_missing(
    engine: Engine, tmp_path: Path
) -> None:
    project = Project(tmp_path, engine, "basic.yaml", CONFIG)
    file = tmp_path / "docker-compose.yml"
    file.write_text(file.read_text().replace("    restart:", "    cap_drop: [ALL]\n    restart:"))
    try:
        project.compose("up", "--detach")
        eventually(lambda: f'group_add: ["{GROUP}"]' in project.log(), project.log)
    finally:
        project.down()


def get(url: str, ca: Path | None = None) -> Any:
    """Return the JSON at ``url``."""
    context = ssl.create_default_context(cafile=str(ca)) if ca else None
    with urllib.request.urlopen(url, timeout=10, context=context) as response:
        return json.load(response)


def connect(uri: str, ca: Path | None = None) -> dbapi.Connection:
    """Return an ADBC connection of the user ann."""
    token = Tokens(SECRET).mint("ann", timedelta(hours=1))
    options = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}"}
    if ca is not None:
        options[DatabaseOptions.TLS_ROOT_CERTS.value] = ca.read_text()
    return dbapi.connect(uri, db_kwargs=options, autocommit=True)


def rows(connection: dbapi.Connection, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def inspect(engine: Engine, container: str) -> dict[str, Any]:
    """Return the engine's description of a container."""
    found: list[dict[str, Any]] = json.loads(engine.docker("inspect", container))
    return found[0]


def eventually(
    condition: Callable[[], object], evidence: Callable[[], str] = str, seconds: float = 60.0
) -> None:
    """Wait until ``condition`` holds; fail with the evidence otherwise."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, Error):
            if condition():
                return
        assert time.monotonic() < deadline, evidence()
        time.sleep(0.3)
