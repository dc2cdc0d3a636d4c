"""What a worker's container may do: next to nothing, and nothing to its neighbours."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from integration.docker.conftest import DockerDeployment, MakeDeployment
from integration.docker.engine import IMAGE, Engine
from pondflight.control import Walls
from pondflight.engine.guards.confinement import missing_walls
from pondflight.workers.policy import Shape
from tests.engine.sandbox_corpus import FILES, WALLS, lines
from tests.waiting import wait_until

SCRATCH = 64 << 20


def inspected(engine: Engine, container: str) -> dict[str, Any]:
    (found,) = json.loads(engine.docker("inspect", container))
    assert isinstance(found, dict)
    return found


def inside(deployment: DockerDeployment, sub: str, code: str) -> str:
    """Run Python in the container of a user, as the worker's own user."""
    container = deployment.container(sub)
    return deployment.engine.docker("exec", container, "/opt/pondflight/bin/python3", "-c", code)


def test_container_is_as_harmless_as_docker_can_make_it(
    engine: Engine, deploy: MakeDeployment
) -> None:
    deployment = deploy(memory_limit=300 << 20, cpu_limit=0.5, spec_hash="spec1")
    deployment.client("ann").rows("SELECT 1")
    found = inspected(engine, deployment.container("ann"))
    host, config = found["HostConfig"], found["Config"]

    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Privileged"] is False
    assert config["User"] == "1000:1000"
    assert host["ReadonlyRootfs"] is True
    assert host["Tmpfs"] == {"/scratch": f"rw,noexec,nosuid,nodev,size={SCRATCH},mode=1777"}
    assert host["Memory"] == host["MemorySwap"] == 300 << 20
    assert host["NanoCpus"] == 500_000_000
    assert host["PidsLimit"] == 512
    assert {u["Name"]: (u["Soft"], u["Hard"]) for u in host["Ulimits"]} == {
        "nofile": (4096, 4096),
        "core": (0, 0),
    }
    assert host["Init"] is True
    assert host["IpcMode"] == "private"
    assert host["PidMode"] == host["UTSMode"] == host["UsernsMode"] == ""
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}}
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["PublishAllPorts"] is False
    assert not host["PortBindings"]
    assert all(not bindings for bindings in found["NetworkSettings"]["Ports"].values())
    assert not host["Binds"]
    assert not host.get("Mounts")
    assert found["Mounts"] == []
    assert not host["Devices"]
    assert host["OomScoreAdj"] > 0

    labels = config["Labels"]
    assert labels["pondflight.managed"] == "true"
    assert labels["pondflight.instance"] == deployment.pool.settings.instance
    assert labels["pondflight.user"] == deployment.pool.key_of("ann")
    assert len(labels["pondflight.generation"]) == 16
    assert labels["pondflight.spec"] == "spec1"
    assert abs(float(labels["pondflight.created"]) - time.time()) < 60

    everything = json.dumps(found)
    for secret in (deployment.secret, deployment.token("ann"), "ann"):
        assert f'"{secret}"' not in everything
    generation = labels["pondflight.generation"]
    assert deployment.pool._naming.credential(generation) not in everything


def test_published_port_is_free_and_for_this_host_only(
    engine: Engine, deploy: MakeDeployment
) -> None:
    deployment = deploy(layout={"publish": True})
    assert deployment.client("ann").rows("SELECT 42") == [(42,)]
    found = inspected(engine, deployment.container("ann"))
    ((binding,),) = [b for b in found["NetworkSettings"]["Ports"].values() if b]
    assert binding["HostIp"] == "127.0.0.1"
    assert int(binding["HostPort"]) > 1024


def test_the_process_inside_has_nothing_to_gain(deploy: MakeDeployment) -> None:
    deployment = deploy()
    deployment.client("ann").rows("SELECT 1")
    status = inside(deployment, "ann", "print(open('/proc/self/status').read())")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["1000"] * 4
    assert {fields[f"Cap{kind}"].strip() for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {
        "0000000000000000"
    }
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["Seccomp"].strip() == "2"
    for path in ("/", "/etc", "/tmp", "/opt/pondflight", "/home"):
        with pytest.raises(RuntimeError, match=r"Read-only file system|Permission denied"):
            inside(deployment, "ann", f"open('{path}/x', 'w')")
    inside(deployment, "ann", "open('/scratch/x', 'w').write('x')")


def test_no_secret_is_in_the_environment_or_the_command_line(deploy: MakeDeployment) -> None:
    deployment = deploy()
    deployment.client("ann").rows("SELECT 1")
    container = deployment.container("ann")
    pids = deployment.engine.docker("top", container, "-eo", "pid").split()[1:]
    seen = "".join(
        Path(f"/proc/{pid}/{what}").read_text() for pid in pids for what in ("environ", "cmdline")
    )
    generation = deployment.inspect(container, '{{index .Config.Labels "pondflight.generation"}}')
    assert "credential-sha256" in seen
    assert deployment.pool._naming.credential(generation) not in seen
    assert deployment.secret not in seen


def test_the_worker_is_not_looked_into_by_its_own_account(deploy: MakeDeployment) -> None:
    deployment = deploy()
    deployment.client("ann").rows("SELECT 1")
    code = (
        "from pathlib import Path\n"
        "for process in Path('/proc').glob('[0-9]*'):\n"
        "    words = (process / 'cmdline').read_bytes().split(b'\\0')\n"
        "    if words[2:3] == [b'worker']:\n"
        "        (process / 'environ').read_bytes()\n"
    )
    with pytest.raises(RuntimeError, match="PermissionError"):
        inside(deployment, "ann", code)


@pytest.mark.skipif(bool(list(missing_walls())), reason="this kernel has not all walls")
def test_all_walls_hold_in_a_container(deploy: MakeDeployment) -> None:
    shape = Shape(512 << 20, 2.0, walls=Walls(mode="required"))
    client = deploy(shape=lambda _: shape).client("ann")
    assert client.rows("SELECT 42") == [(42,)]
    for sql in ("FROM read_text('/etc/hostname')", "FROM read_text('/proc/1/cmdline')"):
        with pytest.raises(pa.ArrowException, match="Permission denied"):
            client.rows(sql)


@pytest.mark.skipif(bool(list(missing_walls())), reason="this kernel has not all walls")
def test_no_known_way_leads_out_of_a_container_without_the_layer_of_sql(
    deploy: MakeDeployment,
) -> None:
    shape = Shape(512 << 20, 2.0, walls=Walls(mode="required"))
    deployment = deploy(shape=lambda _: shape)
    client = deployment.client("ann")
    client.rows("SELECT 1")
    host = inside(deployment, "ann", "print(open('/etc/hostname').read())").strip()
    secret = "/etc/hostname"
    places = {"outside": secret, "name": "x", "files": ".", "shop": secret, "arch": secret}
    places |= {"secret": secret, "port": "1"}
    for sql in (*lines(FILES), *lines(WALLS)):
        try:
            told = str(client.rows(sql.format(**places)))
        except (ValueError, pa.ArrowException, flight.FlightError, OSError) as error:
            told = f"ERROR {error}"
        assert host not in told, sql
        assert "root:" not in told, sql


CONNECT = """
import socket, sys
try:
    s = socket.create_connection(("{address}", 8815), 3)
except OSError as error:
    print("refused", error)
else:
    print("connected")
"""

ASK = """
from pyarrow import flight
client = flight.FlightClient("grpc://{address}:8815")
for header in ({headers}):
    options = flight.FlightCallOptions(timeout=5, headers=header)
    try:
        print(client.get_flight_info(flight.FlightDescriptor.for_command(b"SELECT 1"), options))
    except Exception as error:
        print(type(error).__name__)
"""


def address(deployment: DockerDeployment, sub: str) -> str:
    return deployment.inspect(
        deployment.container(sub), "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    )


def test_on_our_own_network_users_cannot_reach_each_other(
    engine: Engine, deploy: MakeDeployment
) -> None:
    deployment = deploy(layout={"network": "pondflight-own"})
    try:
        for sub in ("ann", "bob"):
            assert deployment.client(sub).rows("SELECT 42") == [(42,)]
        other = address(deployment, "bob")
        assert inside(deployment, "ann", CONNECT.format(address=other)).startswith("refused")
        own = address(deployment, "ann")
        assert inside(deployment, "ann", CONNECT.format(address=own)) == "connected"
        option = "com.docker.network.bridge.enable_icc"
        assert engine.docker(
            "network", "inspect", "pondflight-own", "--format", "{{.Options}}"
        ) == (f"map[{option}:false]")
    finally:
        engine.docker("rm", "--force", *deployment.containers())
        engine.docker("network", "rm", "pondflight-own")


def test_on_a_shared_network_a_neighbour_is_refused_whatever_it_says(
    deploy: MakeDeployment,
) -> None:
    deployment = deploy()
    for sub in ("ann", "bob"):
        deployment.client(sub).rows("SELECT 1")
    digest = deployment.inspect(deployment.container("bob"), '{{join .Config.Cmd " "}}')
    digest = digest.split("--credential-sha256=")[1].split()[0]
    headers = ", ".join(
        f"[(b'authorization', b'{value}')]"
        for value in ("", "Bearer ", f"Bearer {digest}", f"Bearer {deployment.token('bob')}")
    )
    code = ASK.format(address=address(deployment, "bob"), headers=headers)
    assert inside(deployment, "ann", code).split() == ["FlightUnauthenticatedError"] * 4


def test_disk_that_is_full_fails_the_statement_and_not_the_worker(deploy: MakeDeployment) -> None:
    deployment = deploy(memory_limit=512 << 20)
    client = deployment.client("ann")
    client.rows("SELECT 1")
    inside(deployment, "ann", "open('/scratch/fill', 'wb').write(b'x' * (63 << 20))")
    with pytest.raises(Exception, match=r"(?i)disk|space|memory|temp") as caught:
        client.rows(
            "SELECT count(*) FROM (SELECT DISTINCT md5(range::VARCHAR) FROM range(40000000))"
        )
    assert not isinstance(caught.value, flight.FlightUnavailableError)
    assert client.rows("SELECT 42") == [(42,)]


def test_fork_bomb_stays_inside(deploy: MakeDeployment) -> None:
    deployment = deploy(layout={"pids_limit": 128})
    bob = deployment.client("bob")
    bob.rows("SELECT 1")
    deployment.client("ann").rows("SELECT 1")
    bomb = (
        "import threading, time\n"
        "n = 0\n"
        "try:\n"
        "    while n < 100000:\n"
        "        threading.Thread(target=time.sleep, args=(5,), daemon=True).start(); n += 1\n"
        "except RuntimeError:\n"
        "    print(n)\n"
    )
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(int(inside(deployment, "ann", bomb))))
    thread.start()
    while thread.is_alive():
        assert bob.rows("SELECT 42") == [(42,)]
    assert 0 < counts[0] < 128


def test_worker_that_prints_a_lot_fills_no_disk_and_no_memory(
    engine: Engine, deploy: MakeDeployment
) -> None:
    deployment = deploy()
    deployment.client("ann").rows("SELECT 1")
    container = deployment.container("ann")
    pid = deployment.inspect(container, "{{.State.Pid}}")
    line = b"x" * 1023 + b"\n"
    with open(f"/proc/{pid}/fd/2", "wb") as stderr:  # noqa: PTH123
        stderr.writelines(line for _ in range(100 << 10))  # 100 MB
    folder = engine.folder / "data" / "containers" / container
    written = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    assert written < 3 << 20
    (handle,) = deployment.backend.list_workers()
    lines = deployment.backend.logs(handle)
    assert 0 < len(lines) <= 20
    assert deployment.client("ann").rows("SELECT 42") == [(42,)]


def test_image_is_small_and_runs_as_nobody_in_particular(engine: Engine) -> None:
    (image,) = json.loads(engine.docker("image", "inspect", IMAGE))
    (base,) = json.loads(engine.docker("image", "inspect", "pondflight-base:bookworm"))
    assert image["Size"] - base["Size"] < 500_000_000
    assert image["Config"]["User"] == "1000:1000"
    assert image["Config"]["Entrypoint"] == ["pondflight"]
    assert not image["Config"]["Cmd"]  # the entry point serves, or says what is missing
    history = engine.docker("history", "--no-trunc", IMAGE)
    assert "BEGIN CERTIFICATE" not in history


def test_sql_cannot_break_out(deploy: MakeDeployment) -> None:
    deployment = deploy()
    client = deployment.client("ann")
    for sql in (
        "COPY (SELECT 1) TO '/etc/x'",
        "COPY (SELECT 1) TO '/opt/pondflight/x'",
        "ATTACH '/etc/x.db' AS x",
    ):
        with pytest.raises((pa.ArrowException, flight.FlightError)):
            client.rows(sql)
    assert client.rows("SELECT 42") == [(42,)]


def test_idle_worker_is_small(engine: Engine, deploy: MakeDeployment) -> None:
    deployment = deploy(cpu_limit=0.5)
    deployment.client("ann").rows("SELECT 42")
    container = deployment.container("ann")

    def used() -> float:
        text = engine.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", container)
        number, unit = text.split("/")[0].strip()[:-3], text.split("/")[0].strip()[-3:]
        return float(number) * {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}[unit]

    wait_until(lambda: used() < 80)
