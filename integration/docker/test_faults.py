"""What goes wrong, and what exactly happens then. The numbers are those of the list of faults."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pytest
from pyarrow import flight

from integration.docker.conftest import DockerDeployment, Log, MakeDeployment, restarted_with
from integration.docker.engine import BASE_IMAGE, Engine
from pondflight.workers.backends.docker_api import DockerApi
from pondflight.workers.engines import PondflightEngine
from pondflight.workers.spec import WorkerSpec
from pondflight.workers.states import Reason
from tests.waiting import wait_until

QUIET = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE hash(a.range, b.range) = 3"
"""Sends nothing for a long time."""

LINES = "for i in $(seq 1 30); do echo line $i >&2; done"


def stopped(deployment: DockerDeployment, reason: Reason) -> int:
    count: int = deployment.pool.counts()["stopped"][reason]
    return count


@contextmanager
def streaming(deployment: DockerDeployment, sub: str) -> Iterator[flight.FlightStreamReader]:
    """A result without end, half way through."""
    reader = deployment.client(sub).reader("SELECT * FROM range(100000000000)")
    reader.read_chunk()
    yield reader
    reader.cancel()


def drain(reader: flight.FlightStreamReader) -> None:
    for _ in reader:
        pass


# the worker


def test_f1_worker_killed_mid_stream(deploy: MakeDeployment, log: Log) -> None:
    deployment = deploy()
    bob = deployment.client("bob")
    bob.rows("SELECT 1")
    with streaming(deployment, "ann") as reader:
        first = deployment.container("ann")
        deployment.engine.docker("kill", first)
        killed = time.monotonic()
        with pytest.raises(flight.FlightUnavailableError, match="your worker ended"):
            drain(reader)
        assert time.monotonic() - killed < 2
    assert bob.rows("SELECT 42") == [(42,)]
    assert deployment.client("ann").rows("SELECT 42") == [(42,)]
    assert deployment.container("ann") != first
    assert stopped(deployment, Reason.CRASHED) == 1
    assert "reason=crashed" in log().replace("'", "")


def test_f1_worker_that_crashed_while_idle_is_replaced_on_the_next_call(
    deploy: MakeDeployment,
) -> None:
    deployment = deploy()
    client = deployment.client("ann")
    for pause in (0.0, 0.1, 0.5):
        client.rows("SELECT 1")
        deployment.engine.docker("kill", deployment.container("ann"))
        time.sleep(pause)
        assert client.rows("SELECT 42") == [(42,)]


def test_f1_worker_that_crashed_while_idle_is_noticed_without_a_call(
    deploy: MakeDeployment,
) -> None:
    deployment = deploy()
    deployment.client("ann").rows("SELECT 1")
    deployment.engine.docker("kill", deployment.container("ann"))
    # Four intervals of health checks, as nobody waits for it.
    wait_until(lambda: stopped(deployment, Reason.CRASHED) == 1, 25)
    assert deployment.containers() == []


def test_worker_that_somebody_restarts_is_replaced_and_never_serves_without_its_sandbox(
    deploy: MakeDeployment,
) -> None:
    deployment = deploy(configuration=lambda _: {"sandbox": {"allow_network": False}})
    client = deployment.client("ann")
    client.rows("CREATE TABLE t AS SELECT 42 AS n")
    container = deployment.container("ann")
    deployment.engine.docker("restart", "--time", "0", container)
    deadline = time.monotonic() + 20
    while True:
        with pytest.raises((pa.ArrowInvalid, flight.FlightUnavailableError)) as caught:
            client.rows("SELECT * FROM read_text('/etc/hostname')")
        if "Permission Error" in str(caught.value):
            break
        assert time.monotonic() < deadline
    assert deployment.container("ann") != container
    assert stopped(deployment, Reason.CRASHED) == 1
    assert len(deployment.containers()) == 1


HOARD = """
hoard = []
while True:
    hoard.append(bytearray(1 << 20))
"""


def test_f2_worker_out_of_memory(deploy: MakeDeployment) -> None:
    deployment = deploy(memory_limit=300 << 20)
    client = deployment.client("ann")
    client.rows("CREATE TABLE t AS SELECT range AS n, hash(range) AS h FROM range(9000000)")
    with streaming(deployment, "ann") as reader, ThreadPoolExecutor() as executor:
        container = deployment.container("ann")
        executor.submit(
            deployment.engine.docker, "exec", container, "/opt/pondflight/bin/python3", "-c", HOARD
        )
        with pytest.raises(flight.FlightUnavailableError, match="memory limit of 300m"):
            drain(reader)
    assert client.rows("SELECT 42") == [(42,)]
    assert stopped(deployment, Reason.OUT_OF_MEMORY) + stopped(deployment, Reason.CRASHED) == 1


@pytest.mark.parametrize("how", ["stop", "pause"])
def test_f3_worker_that_hangs_is_killed_and_replaced(deploy: MakeDeployment, how: str) -> None:
    deployment = deploy()
    bob = deployment.client("bob")
    bob.rows("SELECT 1")
    with streaming(deployment, "ann") as reader:
        container = deployment.container("ann")
        if how == "pause":
            deployment.engine.docker("pause", container)
        else:
            deployment.engine.docker("kill", "--signal", "STOP", container)
            for pid in deployment.engine.docker("top", container, "-eo", "pid").split()[1:]:
                os.kill(int(pid), signal.SIGSTOP)
        hung = time.monotonic()
        with ThreadPoolExecutor() as executor:
            ended = executor.submit(drain, reader)
            while not ended.done():
                assert time.monotonic() - hung < 20
                assert bob.rows("SELECT 42") == [(42,)]
                time.sleep(0.1)
        assert isinstance(ended.exception(), flight.FlightUnavailableError)
    assert deployment.client("ann").rows("SELECT 42") == [(42,)]
    assert stopped(deployment, Reason.UNRESPONSIVE) == 1
    assert deployment.container("ann") != container


@dataclass(frozen=True, slots=True)
class Script(PondflightEngine):
    """Runs a shell script where a worker should be."""

    script: str = ""

    def arguments(self, spec: WorkerSpec, *, scratch: str, memory: int) -> list[str] | None:
        return ["sh", "-c", self.script]


def failing(deploy: MakeDeployment, script: str, image: str = BASE_IMAGE) -> DockerDeployment:
    engine = Script(script=script)
    return deploy(layout={"image": image, "engine": engine}, engine=engine, start_timeout=4.0)


@pytest.mark.parametrize(
    ("script", "why", "seconds"),
    [
        (f"{LINES}; sleep 60", "was not ready within 4 s", 4),
        (f"{LINES}; exit 3", "ended with exit code 3", 0),
        ("head -c 1000000 /dev/urandom; sleep 60", "was not ready within 4 s", 4),
    ],
    ids=["never ready", "exits at once", "garbage"],
)
def test_f5_f30_worker_that_does_not_start(
    deploy: MakeDeployment,
    log: Log,
    script: str,
    why: str,
    seconds: float,
) -> None:
    deployment = failing(deploy, script)
    clients = [deployment.client("ann") for _ in range(20)]
    errors: list[str] = []

    def call(client: object) -> None:
        try:
            client.rows("SELECT 1")  # type: ignore[attr-defined]
        except flight.FlightUnavailableError as error:
            errors.append(str(error))

    began = time.monotonic()
    with ThreadPoolExecutor(20) as executor:
        list(executor.map(call, clients))
    assert seconds <= time.monotonic() - began < seconds + 6
    assert len(errors) == 20
    assert len(set(errors)) == 1
    assert "your worker could not be started" in errors[0]
    assert deployment.containers() == []
    assert deployment.pool.stats()["total_spawned"] == 1
    told = log()
    reference = errors[0].split("reference ")[1][:8]
    assert why in told
    if "line" in script:
        assert 'line="line 11"' in told
        assert 'line="line 30"' in told
        assert 'line="line 10"' not in told
    assert told.count(reference) >= 2
    # For a while the same answer, without another container.
    call(clients[0])
    assert errors[-1] == errors[0]
    assert deployment.pool.stats()["total_spawned"] == 1


def test_f30_image_that_is_missing_is_named(deploy: MakeDeployment, log: Log) -> None:
    deployment = failing(deploy, "true", image="no-such-image:1")
    (problem,) = deployment.backend.check()
    assert (problem.check, "no-such-image:1" in problem.message) == ("image", True)
    for _ in range(5):
        with pytest.raises(flight.FlightUnavailableError, match="no-such-image:1 is not there"):
            deployment.client("ann").rows("SELECT 1")
    assert log().count("Container spawn failed") == 1
    assert deployment.containers() == []


def test_f30_network_that_is_missing_is_made_again(engine: Engine, deploy: MakeDeployment) -> None:
    deployment = deploy(layout={"network": "pondflight-lost"})
    try:
        deployment.client("ann").rows("SELECT 1")
        engine.docker("rm", "--force", *deployment.containers())
        engine.docker("network", "rm", "pondflight-lost")
        with pytest.raises(flight.FlightUnavailableError, match="network of the workers"):
            deployment.client("bob").rows("SELECT 1")
        time.sleep(1)  # the back-off
        assert deployment.client("bob").rows("SELECT 42") == [(42,)]
    finally:
        engine.docker("rm", "--force", *deployment.containers())
        engine.docker("network", "rm", "pondflight-lost")


def test_name_that_a_strangers_container_has_is_told_to_the_operator(
    engine: Engine, deploy: MakeDeployment, log: Log
) -> None:
    deployment = deploy()
    name = f"pondflight-{deployment.pool.settings.instance}-{deployment.pool.key_of('ann')}"
    engine.docker("create", "--name", name, "--entrypoint", "sleep", BASE_IMAGE, "1000")
    with pytest.raises(flight.FlightUnavailableError, match="could not be started"):
        deployment.client("ann").rows("SELECT 1")
    assert f"the name {name} is taken" in log()
    assert deployment.client("bob").rows("SELECT 42") == [(42,)]
    assert name in engine.docker("ps", "--all", "--format", "{{.Names}}")


def test_worker_that_hangs_since_before_the_proxy_was_started_is_replaced(
    deploy: MakeDeployment,
) -> None:
    secret = "the secret that both proxies have, 32 characters and more"
    before = deploy(secret=secret)
    before.client("ann").rows("SELECT 1")
    container = before.container("ann")
    before.close()
    before.engine.docker("pause", container)
    after = deploy(secret=secret, start_timeout=6.0)
    time.sleep(6)  # it is old by then
    assert after.client("ann").rows("SELECT 42") == [(42,)]
    assert after.container("ann") != container


# the engine


def test_f6_engine_that_restarts_and_takes_the_containers_along(
    engine: Engine, deploy: MakeDeployment
) -> None:
    with restarted_with(engine):
        deployment = deploy(sweep_interval=1.0)
        client = deployment.client("ann")
        client.rows("SELECT 1")
        with streaming(deployment, "ann") as reader:
            engine.stop()
            refuses_at_once(deployment)
            with pytest.raises(flight.FlightUnavailableError):
                drain(reader)
        wait_until(lambda: not deployment.pool.ready, 20)
        engine.start()
        wait_until(lambda: deployment.pool.ready, 30)
        assert client.rows("SELECT 42") == [(42,)]
        wait_until(lambda: served(deployment, "new"), 10)
        wait_until(lambda: len(deployment.containers()) == 2, 10)


def test_f6_engine_that_restarts_and_leaves_the_containers_alone(
    engine: Engine, deploy: MakeDeployment
) -> None:
    with restarted_with(engine, "--live-restore"):
        deployment = deploy(sweep_interval=1.0)
        client = deployment.client("ann")
        client.rows("CREATE TABLE t AS SELECT 42 AS n")
        container = deployment.container("ann")
        with streaming(deployment, "ann") as reader:
            engine.stop()
            refuses_at_once(deployment)
            assert client.rows("SELECT n FROM t") == [(42,)]
            reader.read_chunk()
            wait_until(lambda: not deployment.pool.ready, 20)
            engine.start("--live-restore")
            wait_until(lambda: deployment.pool.ready, 30)
            reader.read_chunk()
        assert client.rows("SELECT n FROM t") == [(42,)]
        assert deployment.container("ann") == container
        wait_until(lambda: served(deployment, "new"), 10)
        assert len(deployment.containers()) == 2


def refuses_at_once(deployment: DockerDeployment) -> None:
    began = time.monotonic()
    with pytest.raises(flight.FlightUnavailableError, match="container engine does not answer"):
        deployment.client("new").rows("SELECT 1")
    assert time.monotonic() - began < 5


def test_f7_engine_that_hangs(engine: Engine, deploy: MakeDeployment) -> None:
    deployment = deploy(api=DockerApi(engine.host, timeout=1.0), sweep_interval=1.0)
    client = deployment.client("ann")
    client.rows("SELECT 1")
    engine.signal(signal.SIGSTOP)
    try:
        for _ in range(4):
            assert client.rows("SELECT 42") == [(42,)]
            began = time.monotonic()
            with pytest.raises(flight.FlightUnavailableError, match="engine does not answer"):
                deployment.client("new").rows("SELECT 1")
            assert time.monotonic() - began < 5
        assert not deployment.pool.ready
        began = time.monotonic()
        with pytest.raises(flight.FlightUnavailableError, match="engine does not answer"):
            deployment.client("new").rows("SELECT 1")
        assert time.monotonic() - began < 1.5  # the circuit is open
        assert client.rows("SELECT 42") == [(42,)]
    finally:
        engine.signal(signal.SIGCONT)
    wait_until(lambda: deployment.pool.ready, 30)
    wait_until(lambda: served(deployment, "new"), 10)
    deployment.pool.sweep()
    assert len(deployment.containers()) == 2


def served(deployment: DockerDeployment, sub: str) -> bool:
    try:
        return deployment.client(sub).rows("SELECT 42") == [(42,)]
    except flight.FlightUnavailableError:
        return False


def test_engine_that_may_not_be_used_is_explained(engine: Engine) -> None:
    api = DockerApi("unix:///proc/1/nothing.sock")
    with pytest.raises(Exception, match=r"no Docker socket at /proc/1/nothing\.sock"):
        api.call(lambda client: client.version())
    api = DockerApi("unix:///etc/hostname")
    with pytest.raises(Exception, match="is not a socket"):
        api.call(lambda client: client.version())
    assert DockerApi(engine.host).call(lambda client: client.version())["ApiVersion"]


# the network


@contextmanager
def dropped(address: str) -> Iterator[None]:
    """Packets from and to a container vanish, without a word."""
    rules = (["INPUT", "--source", address], ["OUTPUT", "--destination", address])
    for rule in rules:
        subprocess.run(["iptables", "--insert", *rule, "--jump", "DROP"], check=True)
    try:
        yield
    finally:
        for rule in rules:
            subprocess.run(["iptables", "--delete", *rule, "--jump", "DROP"], check=True)


def test_f17_network_that_swallows_everything(deploy: MakeDeployment) -> None:
    deployment = deploy()
    bob, ann = deployment.client("bob"), deployment.client("ann")
    bob.rows("SELECT 1")
    ann.rows("SELECT 1")
    address = deployment.inspect(
        deployment.container("ann"), "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    )
    with ThreadPoolExecutor() as executor:
        running = executor.submit(ann.rows, QUIET)
        time.sleep(1)
        with dropped(address):
            began = time.monotonic()
            while not running.done():
                assert time.monotonic() - began < 30
                assert bob.rows("SELECT 42") == [(42,)]
                time.sleep(0.2)
    assert isinstance(running.exception(), flight.FlightUnavailableError)
    wait_until(lambda: len(deployment.proxy.calls) == 0, 5)
    wait_until(lambda: served(deployment, "ann"), 20)


def test_f17_quiet_statement_is_not_cut_off_by_too_many_pings(deploy: MakeDeployment) -> None:
    """Pyarrow's server ends connections with too many pings; 45 s would be more than enough."""
    deployment = deploy()
    client = deployment.client("ann")
    ticket = client.info(QUIET).endpoints[0].ticket
    began = time.monotonic()
    with pytest.raises(flight.FlightTimedOutError):
        client.flight.do_get(ticket, client.options(45)).read_all()
    assert time.monotonic() - began > 44
    assert client.rows("SELECT 42") == [(42,)]


def test_engine_that_is_away_is_logged_once(deploy: MakeDeployment, log: Log) -> None:
    deployment = deploy(api=DockerApi("unix:///proc/1/nothing.sock"), sweep_interval=0.2)
    for _ in range(5):
        deployment.pool.sweep()
    assert log().count("Container engine unreachable") == 1
    assert not deployment.pool.ready
