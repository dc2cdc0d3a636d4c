from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pondflight.engine.guards.confinement import missing_walls
from tests.ports import free_ports
from tests.workers.fly_api import FlyApiFake

SECRET = "kW8rX2vN5qT9zL4mB7cJ1hG6fD3sA0pY"


def doctor(tmp_path: Path, config: str, **environ: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Its exit code, and what it found: check and place by verdict, message and advice."""
    path = tmp_path / "config.yaml"
    path.write_text(config)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("JWT_", "DOCKER_", "AWS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pondflight", "doctor", "--config", str(path), "--json"],
        env=clean | {"JWT_SECRET": SECRET} | ports() | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0)
    assert "hunter2" not in done.stdout + done.stderr
    return done.returncode, {row["check"]: row for row in report["checks"]}


def ports() -> dict[str, str]:
    found = map(str, free_ports(3))
    return dict(zip(("PORT", "GRPC_PORT", "HEALTH_PORT"), found, strict=True))


def test_when_all_is_well_it_says_so_and_ends_with_0(tmp_path: Path) -> None:
    database = tmp_path / "shop.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE t (n)")
    connection.commit()
    connection.close()
    entry = f"{{alias: shop, type: sqlite, connection_string: {database}}}"
    code, found = doctor(tmp_path, f"duckdb: {{attached_databases: [{entry}]}}")
    assert code == 0
    assert found["JWT_SECRET"]["verdict"] == "ok"
    assert found["database shop"] == {
        "check": "database shop",
        "verdict": "ok",
        "message": "from this host: attached",
        "advice": "",
    }
    assert found["worker on this host"]["message"].startswith("ready after ")
    missing = "; ".join(missing_walls())
    assert found["confinement"]["verdict"] == ("warning" if missing else "ok")
    assert missing in found["confinement"]["message"]


def test_walls_that_are_off_are_told(tmp_path: Path) -> None:
    _, found = doctor(tmp_path, "workers: {confinement: off}")
    assert found["confinement"]["verdict"] == "warning"


def test_each_thing_that_is_wrong_is_told_with_what_to_do(tmp_path: Path) -> None:
    config = (
        "workers: {backend: docker}\n"
        "containers: {docker_host: 'unix:///nowhere/docker.sock', memory_limit: 900g}\n"
        "duckdb:\n  attached_databases:\n"
        "    - {alias: a, type: postgres, connection_string: 'postgresql://u:hunter2@127.0.0.1:1/d'}\n"
        "    - {alias: b, type: mysql, connection_string: 'mysql://u:hunter2@no-such.invalid/d'}\n"
        "    - {alias: c, type: sqlite, connection_string: /nowhere/c.db}\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, found = doctor(tmp_path, config, GRPC_PORT=port)
    assert code == 1
    failures = {check: row for check, row in found.items() if row["verdict"] == "failure"}
    assert {
        check: row["message"].removeprefix("from this host: ") for check, row in failures.items()
    } == {
        f"port {port}": "Flight SQL is to listen there, but another program does, or pondflight is "
        "not ready",
        "memory": found["memory"]["message"],
        "database a": "127.0.0.1:1 cannot be reached (Connection refused)",
        "database b": "the host name no-such.invalid is not known",
        "database c": "there is no such file",
        "docker": "there is no Docker socket at /nowhere/docker.sock: is Docker installed and "
        "running?",
    }
    assert all(row["advice"] for row in failures.values())
    assert "room for 0 workers of 900g" in found["memory"]["message"]


def test_workers_elsewhere_are_tried_there_and_this_host_is_left_aside(tmp_path: Path) -> None:
    database = (
        "{alias: far, type: postgres, connection_string: 'postgresql://u:hunter2@127.0.0.1:1/d'}"
    )
    with closing(FlyApiFake(tmp_path)) as fake:
        config = (
            f"workers: {{backend: fly}}\nfly: {{app: ponds, url: '{fake.url}'}}\n"
            f"duckdb: {{attached_databases: [{database}]}}\n"
        )
        code, found = doctor(tmp_path, config, FLY_API_TOKEN=fake.token)
        assert found["fly"]["verdict"] == "ok"
        assert found["worker on a Machine"]["message"].startswith("ready after ")
        assert found["database far"]["message"] == "from a Machine: it cannot be attached"
        assert code == 1
        assert not {"memory", "confinement", "worker on this host"} & found.keys()
        assert sum(call.startswith("DELETE ") for call in fake.calls) == 2  # nothing is left

        code, found = doctor(tmp_path, config, FLY_API_TOKEN="wrong")
        assert code == 1
        assert found["fly"]["verdict"] == "failure"
        assert "fly.token" in found["fly"]["advice"]
        assert found["workers"]["verdict"] == "skipped"


def test_credentials_of_a_cloud_that_are_missing_are_told(tmp_path: Path) -> None:
    config = (
        "workers: {backend: ecs}\n"
        "ecs: {region: eu-central-1, cluster: c, task_definition: 't:1', table: t, "
        "subnets: [subnet-0a], security_groups: [sg-0a]}\n"
    )
    nothing = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    code, found = doctor(tmp_path, config, **nothing)
    assert code == 1
    assert found["aws"]["message"] == "AWS: Unable to locate credentials"
    assert "credentials" in found["aws"]["advice"]


def test_port_at_which_nothing_answers_may_be_taken_all_the_same(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, found = doctor(tmp_path, "{}", PORT=port)
    assert code == 1
    assert "cannot listen there either: Address already in use" in found[f"port {port}"]["message"]
    code, found = doctor(tmp_path, "server: {host: 192.0.2.1}")
    assert code == 1
    assert [row["verdict"] for check, row in found.items() if "port" in check] == ["failure"] * 3


def test_wrong_configuration_ends_with_2(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("server: {prot: 1}")
    done = subprocess.run(
        [sys.executable, "-m", "pondflight", "doctor", "--config", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "did you mean server.port" in done.stderr


@pytest.mark.parametrize("command", ["doctor", "workers"])
def test_help_is_there(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pondflight", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Usage: pondflight" in done.stdout
