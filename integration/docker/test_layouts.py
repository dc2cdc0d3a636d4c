"""Where the proxy can stand: on the host, in a container, and behind a Docker socket proxy."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pyarrow import flight

from integration.docker.conftest import Log, MakeDeployment, restarted_with
from integration.docker.engine import IMAGE, Engine
from integration.docker.socket_proxy import SocketProxy, socket_proxy
from pondflight.auth.tokens import Tokens
from pondflight.workers.backends.docker_api import DockerApi
from tests.flight import Client
from tests.serve.test_serve import Served
from tests.waiting import wait_until

SECRET = "kW8rX2vN5qT9zL4mB7cJ1hG6fD3sA0pY"

Start = Callable[..., Served]


def token(sub: str, **claims: bool) -> str:
    return Tokens(SECRET).mint(sub, timedelta(hours=1), **claims)


def client(served: Served, sub: str) -> Client:
    return Client(f"grpc://127.0.0.1:{served.ports['GRPC_PORT']}", token(sub))


def pondflight(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pondflight", *arguments],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(name="start")
def fixture_start(engine: Engine, fixture_no_containers: None, tmp_path: Path) -> Iterator[Start]:
    started: list[Served] = []

    def start(config: str = "{}", **environ: str) -> Served:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        (folder / "config.yaml").write_text(config)
        served = Served(
            folder,
            f"--config={folder / 'config.yaml'}",
            WORKER_BACKEND="docker",
            CONTAINER_CPU_LIMIT="2",
            **{"JWT_SECRET": SECRET, "DOCKER_HOST": engine.host} | environ,
        )
        started.append(served)
        served.wait_ready()
        return served

    yield start
    for served in started:
        if served.process.poll() is None:
            served.stop(signal.SIGKILL)


# on the host


def test_f9_proxy_that_is_killed_finds_its_workers_again(engine: Engine, start: Start) -> None:
    first = start()
    for n, sub in enumerate(("ann", "bob")):
        client(first, sub).rows(f"CREATE TABLE t AS SELECT {n} AS n")
    containers = engine.docker("ps", "--quiet")
    assert len(containers.split()) == 2
    reader = client(first, "ann").reader("SELECT * FROM range(1000000000)")
    reader.read_chunk()
    first.stop(signal.SIGKILL)
    with pytest.raises(flight.FlightError):  # the call in flight, and no other
        while True:
            reader.read_chunk()
    assert engine.docker("ps", "--quiet") == containers
    second = start()
    began = time.monotonic()
    for n, sub in enumerate(("ann", "bob")):
        assert client(second, sub).rows("SELECT n FROM t") == [(n,)]
    assert time.monotonic() - began < 5
    assert engine.docker("ps", "--quiet") == containers
    assert second.log().count('msg="Container adopted"') == 2
    assert second.stop() == 0
    assert engine.docker("ps", "--quiet") == containers  # they wait for the next proxy


def test_workers_are_listed_shown_and_stopped_from_the_command_line(
    engine: Engine, start: Start
) -> None:
    served = start()
    url = f"grpc://127.0.0.1:{served.ports['GRPC_PORT']}"
    reader = client(served, "ann").reader("SELECT * FROM range(1000000000)")
    reader.read_chunk()
    client(served, "bob").rows("SELECT 42")

    by_secret = {"PONDFLIGHT_URL": url, "JWT_SECRET": SECRET}
    listed = pondflight("workers", "list", **by_secret)
    assert listed.returncode == 0, listed.stderr
    header, first, second = listed.stdout.splitlines()
    assert header.split() == ["ID", "USER", "STATE", "AGE", "IDLE", "MEMORY", "CPU", "STATEMENTS"]
    assert first.split()[1:3] == ["ann", "busy"]
    assert second.split()[1:3] == ["bob", "idle"]

    wait_until(
        lambda: all(
            w["memory"]
            for w in json.loads(pondflight("workers", "list", "--json", **by_secret).stdout)
        )
    )
    ann, bob = json.loads(pondflight("workers", "list", "--json", **by_secret).stdout)
    assert (ann["running"], bob["running"]) == (1, 0)
    assert 0 < bob["age"] < 60
    assert 10 << 20 < bob["memory"] < 512 << 20
    assert engine.docker("inspect", "--format", "{{.Name}}", bob["id"]) == f"/{bob['name']}"

    shown = pondflight("workers", "show", "bob", **by_secret)
    assert f"name:      {bob['name']}" in shown.stdout

    busy = pondflight("workers", "stop", "ann", **by_secret)
    assert busy.returncode == 1
    assert "a statement is running on the worker" in busy.stderr
    assert pondflight("workers", "stop", "ann", "--force", **by_secret).returncode == 0
    with pytest.raises(flight.FlightUnavailableError):
        for _ in reader:
            pass
    stopped = pondflight("workers", "stop", bob["id"][:12], **by_secret)
    assert stopped.stdout == f"stopping {bob['id'][:12]} of bob\n"
    wait_until(lambda: engine.docker("ps", "--all", "--quiet") == "", 10)

    missing = pondflight("workers", "stop", "nobody", **by_secret)
    assert (missing.returncode, missing.stderr) == (
        1,
        "error: there is no such worker: `pondflight workers list` has all\n",
    )
    refused = pondflight("workers", "list", "--url", url, "--token", token("ann"))
    assert refused.returncode == 1
    assert "administrators" in refused.stderr
    admin = pondflight("workers", "list", "--url", url, "--token", token("root", admin=True))
    assert admin.returncode == 0


def test_doctor_finds_all_well_and_then_what_is_not(
    engine: Engine, start: Start, tmp_path: Path
) -> None:
    database = tmp_path / "shop.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE t (n)")
    connection.close()
    for path in (database, *database.parents):
        path.chmod(path.stat().st_mode | 0o5)
    config = tmp_path / "config.yaml"
    entry = f"{{alias: shop, type: sqlite, connection_string: {database}}}"
    config.write_text(f"duckdb: {{attached_databases: [{entry}]}}")
    served = start()
    environ = {"JWT_SECRET": SECRET, "WORKER_BACKEND": "docker", "DOCKER_HOST": engine.host}

    well = pondflight("doctor", "--config", str(config), "--json", **environ, **served.ports)
    found = json.loads(well.stdout)
    verdicts = {f"{row['check']}: {row['message']}": row["verdict"] for row in found["checks"]}
    assert well.returncode == 0, well.stdout
    assert found["ok"] is True
    assert [v for m, v in verdicts.items() if m.startswith("database shop")] == ["ok", "ok"]
    assert any(m.startswith("docker: Docker 20.10") for m in verdicts)
    assert sum("pondflight answers there" in m for m in verdicts) == 3
    assert any(m.startswith("worker on a container: ready after") for m in verdicts)
    assert engine.docker("ps", "--all", "--quiet") == ""

    entry = "{alias: far, type: postgres, connection_string: 'postgresql://u:pw99@127.0.0.1:1/d'}"
    config.write_text(f"duckdb: {{attached_databases: [{entry}]}}")
    ill = pondflight("doctor", "--config", str(config), **environ | {"CONTAINER_IMAGE": "nope:1"})
    assert ill.returncode == 1
    assert "failure  image: the Docker engine has no image nope:1" in ill.stdout
    assert "docker pull nope:1" in ill.stdout
    assert "failure  database far: from this host: 127.0.0.1:1 cannot be reached" in ill.stdout
    assert "pw99" not in ill.stdout + ill.stderr

    inside = pondflight("doctor", "--config", str(config), **environ)
    assert inside.returncode == 1
    assert "failure  database far: from a container" in inside.stdout
    assert "localhost is the container itself there" in inside.stdout


# with storage

PERSISTENT = "duckdb: {storage: persistent, storage_limit: 16m}"


@pytest.fixture(name="no_volumes")
def fixture_no_volumes(engine: Engine) -> Iterator[None]:
    """Volumes outlive their containers, which is what they are for."""
    yield
    for container in engine.docker("ps", "--all", "--quiet").split():
        engine.docker("rm", "--force", container)
    engine.docker("volume", "rm", *engine.docker("volume", "ls", "--quiet").split())


@pytest.mark.usefixtures("no_volumes")
def test_tables_outlive_the_container_in_a_volume_of_the_user(engine: Engine, start: Start) -> None:
    served = start(PERSISTENT)
    ann, bob = client(served, "ann"), client(served, "bob")
    ann.rows("CREATE TABLE t AS SELECT 42 AS n")
    with pytest.raises(Exception, match="does not exist"):
        bob.rows("FROM t")
    first = engine.docker("ps", "--quiet").split()
    assert len(first) == len(engine.docker("volume", "ls", "--quiet").split()) == 2
    for container in first:
        (found,) = json.loads(engine.docker("inspect", container))
        (mount,) = found["Mounts"]
        assert (mount["Type"], mount["Destination"], mount["RW"]) == ("volume", "/storage", True)
        assert found["HostConfig"]["ReadonlyRootfs"] is True
        volume = json.loads(engine.docker("volume", "inspect", mount["Name"]))[0]
        assert volume["Labels"]["pondflight.managed"] == "true"
        assert "ann" not in mount["Name"]

    engine.docker("rm", "--force", *first)  # not even told to end
    assert ann.rows("SELECT n FROM t") == [(42,)]
    assert not set(engine.docker("ps", "--quiet").split()) & set(first)

    with pytest.raises(Exception, match="your storage is full"):
        ann.rows("CREATE TABLE large AS SELECT random() AS x, random() AS y FROM range(9000000)")
    assert ann.rows("SELECT n FROM t") == [(42,)]
    assert bob.rows("SELECT 42") == [(42,)]


@pytest.mark.usefixtures("no_volumes")
@pytest.mark.parametrize(("instance", "kept"), [("", False), ("blue", True)])
def test_volumes_go_by_the_name_of_the_deployment_if_it_has_one(
    engine: Engine, start: Start, instance: str, kept: bool
) -> None:
    """Who has no name is known by the secret alone, and cannot see what another secret stored."""
    other = SECRET[::-1]
    for secret in (SECRET, other):
        served = start(
            f"{PERSISTENT}\nworkers: {{keep_on_exit: false, instance: '{instance}'}}",
            JWT_SECRET=secret,
        )
        uri = f"grpc://127.0.0.1:{served.ports['GRPC_PORT']}"
        user = Client(uri, Tokens(secret).mint("ann", timedelta(hours=1)))
        tables = user.rows("SELECT table_name FROM duckdb_tables()")
        assert tables == ([("t",)] if secret == other and kept else [])
        if secret == SECRET:
            user.rows("CREATE TABLE t AS SELECT 42 AS n")
        served.stop()


# behind a socket proxy


@pytest.fixture(name="gate")
def fixture_gate(engine: Engine) -> Iterator[SocketProxy]:
    with socket_proxy(engine) as gate:
        yield gate


def test_listed_calls_are_all_that_is_needed_and_all_are_needed(
    deploy: MakeDeployment, gate: SocketProxy
) -> None:
    network = f"pondflight-{secrets.token_hex(4)}"
    deployment = deploy(
        api=DockerApi(gate.url), layout={"network": network}, warm=1, idle_timeout=2.0
    )
    try:
        assert deployment.backend.check() == []
        wait_until(lambda: deployment.pool.counts()["states"]["ready"] == 1, 20)
        client = deployment.client("ann")
        assert client.rows("SELECT 42") == [(42,)]
        deployment.pool.worker_log("ann")
        wait_until(lambda: len(gate.seen) == len(gate.rules), 20)
    finally:
        names = deployment.containers()
        deployment.close()
        deployment.engine.docker("rm", "--force", *names)
        deployment.engine.docker("network", "rm", network)
    assert gate.refused == []


def test_call_that_is_refused_is_named_to_the_operator(
    deploy: MakeDeployment, gate: SocketProxy, log: Log
) -> None:
    gate.rules = [rule for rule in gate.rules if "create" not in rule[1].pattern]
    deployment = deploy(api=DockerApi(gate.url))
    with pytest.raises(flight.FlightUnavailableError, match="container engine"):
        deployment.client("ann").rows("SELECT 42")
    assert "refuses a call that is needed: POST /v1.41/containers/create" in log()


def test_engine_that_is_slow_makes_starts_slow_and_nothing_else(
    deploy: MakeDeployment, gate: SocketProxy
) -> None:
    gate.delay = 1.5
    deployment = deploy(api=DockerApi(gate.url))
    client = deployment.client("ann")
    began = time.monotonic()
    assert client.rows("SELECT 42") == [(42,)]
    assert time.monotonic() - began > 4
    began = time.monotonic()
    assert client.rows("SELECT 42") == [(42,)]
    assert time.monotonic() - began < 1
    assert deployment.pool.ready


# in a container


def test_proxy_in_a_container_reaches_workers_on_its_network(engine: Engine) -> None:
    network = f"pondflight-{secrets.token_hex(4)}"
    engine.docker("network", "create", network)
    group = str(engine.socket.stat().st_gid)
    try:
        engine.docker(
            *("run", "--detach", "--init", "--name", "the-proxy", "--network", network),
            *("--volume", f"{engine.socket}:/var/run/docker.sock", "--group-add", group),
            *("--env", f"JWT_SECRET={SECRET}", "--env", "WORKER_BACKEND=docker"),
            *("--env", f"CONTAINER_NETWORK={network}", "--env", "CONTAINER_CPU_LIMIT=2", IMAGE),
        )
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        address = engine.docker("inspect", "--format", template, "the-proxy")
        wait_until(lambda: 'msg="Ready"' in logs(engine), 30)
        client = Client(f"grpc://{address}:8081", token("ann"))
        assert client.rows("SELECT 42") == [(42,)]
        assert len(engine.docker("ps", "--quiet").split()) == 2
        answer = engine.docker(
            *("exec", "--env", f"JWT_SECRET={SECRET}", "the-proxy", "pondflight", "workers", "list")
        )
        assert answer.splitlines()[1].split()[1] == "ann"
        engine.docker("stop", "the-proxy")
        assert "Traceback" not in logs(engine)
    finally:
        engine.docker("rm", "--force", *engine.docker("ps", "--all", "--quiet").split())
        engine.docker("network", "rm", network)


def logs(engine: Engine) -> str:
    done = subprocess.run(
        ["/usr/bin/docker", "--host", engine.host, "logs", "the-proxy"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


def test_proxy_in_a_container_does_not_make_a_network_that_it_is_not_on(engine: Engine) -> None:
    engine.docker(
        *("run", "--detach", "--init", "--name", "the-proxy"),
        *("--volume", f"{engine.socket}:/var/run/docker.sock"),
        *("--group-add", str(engine.socket.stat().st_gid)),
        *("--env", f"JWT_SECRET={SECRET}", "--env", "WORKER_BACKEND=docker"),
        *("--env", "CONTAINER_NETWORK=nowhere", IMAGE),
    )
    wait_until(lambda: 'msg="Ready"' in logs(engine), 30)
    assert 'msg="Workers cannot start" check=network error="there is no network nowhere' in logs(
        engine
    )
    assert "nowhere" not in engine.docker("network", "ls", "--format", "{{.Name}}")


@pytest.mark.parametrize(
    ("entry", "why"),
    [("exit 7", "it ended with exit code 7"), ("sleep 100", "does not answer from here")],
    ids=["exits at once", "never ready"],
)
def test_doctor_tells_that_workers_do_not_start_and_leaves_none(
    engine: Engine, tmp_path: Path, entry: str, why: str
) -> None:
    image = f"broken-{secrets.token_hex(4)}"
    script = f'ENTRYPOINT ["sh", "-c", "echo what it wrote >&2; {entry}"]'
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\n{script}\n")
    engine.docker("build", "--tag", image, str(tmp_path), DOCKER_BUILDKIT="1")
    done = pondflight(
        *("doctor", "--json"),
        JWT_SECRET=SECRET,
        DOCKER_HOST=engine.host,
        WORKER_BACKEND="docker",
        WORKER_START_TIMEOUT="3s",
        CONTAINER_IMAGE=image,
    )
    assert done.returncode == 1, done.stderr
    found = {row["check"]: row for row in json.loads(done.stdout)["checks"]}
    assert why in found["worker on a container"]["message"]
    assert found["worker on a container"]["advice"] == "what it wrote"
    assert engine.docker("ps", "--all", "--quiet") == ""


def test_walls_that_the_engine_refuses_are_told_and_workers_go_on_without(
    engine: Engine, start: Start, tmp_path: Path
) -> None:
    profile = tmp_path / "seccomp.json"
    rule = {"names": ["landlock_restrict_self"], "action": "SCMP_ACT_ERRNO", "args": []}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    environ = {"JWT_SECRET": SECRET, "DOCKER_HOST": engine.host, "WORKER_BACKEND": "docker"}
    with restarted_with(engine, "--seccomp-profile", str(profile)):
        assert client(start(), "ann").rows("SELECT 42") == [(42,)]
        done = pondflight("doctor", "--json", **environ)
        found = {row["check"]: row for row in json.loads(done.stdout)["checks"]}
        assert found["confinement on a container"]["verdict"] == "warning"
        assert "no wall around files" in found["confinement on a container"]["message"]
        assert "seccomp profile" in found["confinement on a container"]["advice"]

        required = tmp_path / "required.yaml"
        required.write_text("workers: {confinement: required}")
        done = pondflight("doctor", "--config", str(required), "--json", **environ)
        found = {row["check"]: row for row in json.loads(done.stdout)["checks"]}
        assert found["worker on a container"]["verdict"] == "failure"
        assert "no wall around files" in found["worker on a container"]["advice"]


def test_doctor_tells_that_the_socket_may_not_be_used(engine: Engine) -> None:
    done = subprocess.run(
        [
            *("/usr/bin/docker", "--host", engine.host, "run", "--rm", "--init"),
            *("--cap-drop", "SETGID"),  # or the image joins the socket's group
            *("--volume", f"{engine.socket}:/var/run/docker.sock"),
            *("--env", f"JWT_SECRET={SECRET}", "--env", "WORKER_BACKEND=docker"),
            *(IMAGE, "doctor"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "may not be used by this user (id 1000): run pondflight in the socket's group" in (
        done.stdout
    )
