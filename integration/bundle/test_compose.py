"""docker-compose.yml on a real engine, by both Composes, with images that are built here.

It runs beside an engine of its own (integration/docker/engine.py): ``make integration-docker``.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from adbc_driver_flightsql import DatabaseOptions, dbapi
from adbc_driver_manager import Error

from integration.bundle.conftest import IN_ENGINE
from integration.bundle.front import ROOT, caddy
from integration.bundle.test_scenarios import expected
from integration.docker.engine import BASE_IMAGE, Engine
from integration.evidence import has_failed, keep_containers
from integration.tools import require, run
from pondflight.auth.tokens import Tokens
from pondflight.ops.probe import Target, check
from tests.ports import free_ports

pytestmark = pytest.mark.timeout(600)
needs_engine = pytest.mark.skipif(
    not IN_ENGINE, reason="no engine of our own: make integration-docker"
)
IMAGES = Path(__file__).parent / "images"
JOIN = """
SELECT country, count(*), sum(amount)
FROM shop.public.orders JOIN crm.customers ON customers.id = orders.customer_id
GROUP BY country ORDER BY country
"""
V2 = ROOT / ".venv-integration" / "bin" / "docker-compose"


@pytest.fixture(scope="module", name="engine")
def fixture_engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = Engine.current()
    build(engine, tmp_path_factory.mktemp("images"), "caddy", "haproxy", "postgres", "mariadb")
    return engine


def build(engine: Engine, context: Path, *targets: str) -> None:
    """Make images that stand for those of others, from files that are put into ``context``."""
    shutil.copytree(IMAGES, context, dirs_exist_ok=True)
    shutil.copy(caddy(), context / "caddy")
    for target in targets:
        engine.docker(
            *("build", "--network", "host", "--build-arg", f"BASE_IMAGE={BASE_IMAGE}"),
            *("--target", target, "--tag", f"pondflight-test-{target}", str(context)),
        )


class Compose:
    """The deployment, from a copy of the files that it is made of."""

    def __init__(self, program: str, engine: Engine, folder: Path, profiles: str) -> None:
        self._program = program
        self.engine = engine
        self.folder = folder
        self.secret = secrets.token_urlsafe(32)
        self.http_port, self.https_port = free_ports(2)
        for name in ("docker-compose.yml", "caddy", "deploy"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name)
            else:
                shutil.copy(source, folder)
        (folder / "secrets").mkdir()
        secret = folder / "secrets" / "jwt_secret"
        secret.write_text(self.secret)
        secret.chmod(0o400)
        os.chown(secret, 1000, 1000)
        settings = {
            "COMPOSE_PROJECT_NAME": "pondflight",
            "COMPOSE_PROFILES": profiles,
            "PONDFLIGHT_CONFIG": "./deploy/compose/dev.yaml",
            "DEV_PASSWORD": "p-ss-word-7",
            "HTTP_PORT": str(self.http_port),
            "HTTPS_PORT": str(self.https_port),
            "DOCKER_GID": str(engine.socket.stat().st_gid),
            "DOCKER_SOCKET": str(engine.socket),
            **{
                f"{name.upper()}_IMAGE": f"pondflight-test-{name}"
                for name in ("caddy", "haproxy", "postgres", "mariadb")
            },
        }
        if "hardened" in profiles:
            settings["PONDFLIGHT_DOCKER_HOST"] = "tcp://socket-filter:2375"
            settings["PONDFLIGHT_DOCKER_SOCKET"] = "/dev/null"
        else:
            settings["PONDFLIGHT_DOCKER_SOCKET"] = str(engine.socket)
        (folder / ".env").write_text("".join(f"{k}={v}\n" for k, v in settings.items()))

    def __call__(self, *arguments: str) -> str:
        """Run Compose."""
        return run(
            self._program,
            *arguments,
            cwd=self.folder,
            environ={"DOCKER_HOST": self.engine.host},
            seconds=300,
        )

    def up(self, *options: str) -> None:
        """Bring it up, and wait until it serves through Caddy."""
        self("up", "--detach", *options)
        deadline = time.monotonic() + 120
        while True:
            try:
                self.ca.write_text(
                    self.engine.docker(
                        "exec",
                        self.container("caddy"),
                        "cat",
                        "/data/caddy/pki/authorities/local/root.crt",
                    )
                )
                assert check(self.target, "", 5) == "SERVING"
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
            else:
                return

    @property
    def ca(self) -> Path:
        """The certificate of Caddy's authority."""
        return self.folder / "ca.pem"

    @property
    def target(self) -> Target:
        """GRPC health, through Caddy."""
        return Target(f"localhost:{self.https_port}", tls=True, ca=self.ca)

    def container(self, service: str) -> str:
        """The id of a service's container."""
        return self.engine.docker(
            "ps", "-q", "--filter", f"label=com.docker.compose.service={service}"
        )

    def connect(self, sub: str = "ada") -> dbapi.Connection:
        """An ADBC connection."""
        token = Tokens(self.secret).mint(sub, timedelta(hours=1))
        return dbapi.connect(
            f"grpc+tls://localhost:{self.https_port}",
            db_kwargs={
                DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}",
                DatabaseOptions.TLS_ROOT_CERTS.value: self.ca.read_text(),
            },
            autocommit=True,
        )


@pytest.fixture(name="compose", params=["1.29, dev", "2, dev,hardened"])
def fixture_compose(
    request: pytest.FixtureRequest, engine: Engine, tmp_path: Path
) -> Iterator[Compose]:
    version, _, profiles = request.param.partition(", ")
    program = str(V2)
    if version == "1.29":
        program = require("/usr/bin/docker-compose", "apt-get install docker-compose")
    compose = Compose(program, engine, tmp_path, profiles)
    try:
        try:
            compose.up()
        except BaseException:
            keep_containers(engine.host, tmp_path, request.node.name)
            raise
        yield compose
        if has_failed(request.node):
            keep_containers(engine.host, tmp_path, request.node.name)
    finally:
        compose("down", "--volumes")


@needs_engine
def test_it_comes_up_and_goes_down_without_a_trace(compose: Compose, engine: Engine) -> None:
    codes = {"AT": "Austria", "DE": "Germany", "FI": "Finland", "NL": "Netherlands", "SE": "Sweden"}
    with compose.connect() as connection, connection.cursor() as cursor:
        deadline = time.monotonic() + 60
        while True:  # the databases may take longer than the proxy
            try:
                cursor.execute(JOIN)
                rows = cursor.fetchall()
                break
            except Error:
                if time.monotonic() > deadline:
                    raise
                time.sleep(2)
    found = sorted((codes[code], n, round(total * 100)) for code, n, total in rows)
    assert found == expected()
    names = engine.docker("ps", "--format", "{{.Names}}").splitlines()
    assert len(names) >= 5  # proxy, Caddy, two databases, a worker
    health = engine.docker(
        "inspect", "--format", "{{.State.Health.Status}}", compose.container("proxy")
    )
    assert health == "healthy"
    compose("down", "--volumes")
    assert engine.docker("ps", "--all", "--quiet") == ""
    assert "pondflight-workers" not in engine.docker("network", "ls", "--format", "{{.Name}}")


def test_both_composes_accept_it() -> None:
    for program in (require("/usr/bin/docker-compose", "apt-get install docker-compose"), V2):
        for profile in ((), ("--profile", "dev", "--profile", "hardened")):
            output = run(
                program,
                *("--file", ROOT / "docker-compose.yml", "--env-file", ROOT / ".env.example"),
                *profile,
                "config",
                cwd=ROOT,
            )
            assert "socket-filter" in output or not profile
