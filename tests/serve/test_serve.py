"""``pondflight serve`` as a person runs it: started, used, and ended without a trace."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pyarrow import flight

from pondflight.auth.tokens import Tokens
from pondflight.errors import ConfigError
from pondflight.serve.health import HealthServer
from pondflight.serve.run import _listening
from pondflight.settings.loading import load
from tests.ports import free_ports
from tests.waiting import wait_until

SQL = "SELECT count(*) AS ponds FROM sample.ponds"
SECRET = "aT3kYq8vNc5xWm2zRb9dJh6sLf4gPe7u"
PORTS = ("PORT", "GRPC_PORT", "HEALTH_PORT")


def family(pid: int) -> set[int]:
    """The processes that descend from ``pid``."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rsplit(")", 1)[1].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


class Served:
    """A running ``pondflight serve``."""

    def __init__(self, folder: Path, *arguments: str, **environ: str) -> None:
        self.ports = dict(zip(PORTS, map(str, free_ports(3)), strict=True))
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("JWT_", "CONTAINER_"))}
        self.out, self.err = folder / "out", folder / "err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pondflight", "serve", *arguments],
                env=clean
                | {
                    "HOST": "127.0.0.1",
                    "CADDY_PORT": "0",
                    "TMPDIR": str(folder),
                    "WORKER_WARM": "0",
                }
                | self.ports
                | environ,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        wait_until(lambda: 'msg="Ready"' in self.log(), 30)

    def log(self) -> str:
        return self.err.read_text()

    def get(self, path: str) -> tuple[int, dict[str, object]]:
        url = f"http://127.0.0.1:{self.ports['PORT']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def post(self, path: str, body: str = "", token: str = "") -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['PORT']}{path}",
            data=body.encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/sql"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def snippet(self) -> str:
        found = re.search(r"<<'END'\n(.*?)\nEND\n", self.out.read_text(), re.DOTALL)
        assert found is not None
        return found[1]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


Serve = Callable[..., Served]


@pytest.fixture(name="serve")
def fixture_serve(tmp_path: Path) -> Iterator[Serve]:
    started: list[Served] = []

    def serve(*arguments: str, **environ: str) -> Served:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Served(folder, *arguments, **environ))
        return started[-1]

    yield serve
    for served in started:
        if served.process.poll() is None:
            served.stop(signal.SIGKILL)


def test_a_first_user_finds_a_warm_worker(serve: Serve) -> None:
    served = serve("--no-caddy", WORKER_WARM="", JWT_SECRET=SECRET)
    served.wait_ready()
    wait_until(lambda: 'msg="Container warmed"' in served.log(), 30)
    assert served.post("/query", "SELECT 1 AS n", Tokens(SECRET).mint("ann", timedelta(hours=1)))
    assert 'msg="Container claimed" user_id=ann' in served.log()


@pytest.mark.parametrize("host", ["::1", "::"])
def test_it_listens_on_ipv6(serve: Serve, host: str) -> None:
    served = serve("--no-caddy", HOST=host)
    served.wait_ready()
    wait_until(lambda: "Ctrl-C stops everything." in served.out.read_text())
    done = subprocess.run(
        [sys.executable, "-c", served.snippet()], capture_output=True, text=True, check=True
    )
    assert len(done.stdout.splitlines()) == 6
    with urllib.request.urlopen(f"http://[::1]:{served.ports['PORT']}/ready", timeout=5) as answer:
        assert json.load(answer) == {"ready": True}
    address = f"[::1]:{served.ports['HEALTH_PORT']}"
    probe = [sys.executable, "-m", "pondflight", "probe", address]
    assert subprocess.run(probe, capture_output=True, text=True, check=True).stdout == "SERVING\n"


def test_without_any_configuration_the_printed_snippet_returns_rows(serve: Serve) -> None:
    served = serve()
    served.wait_ready()
    wait_until(lambda: "Ctrl-C stops everything." in served.out.read_text())
    done = subprocess.run(
        [sys.executable, "-c", served.snippet()], capture_output=True, text=True, check=True
    )
    header, *rows = done.stdout.splitlines()
    assert header == "['species', 'sightings', 'birds']"
    assert len(rows) == 5
    assert served.get("/health") == (200, {"status": "healthy"})
    assert served.get("/ready") == (200, {"ready": True})
    assert "JWT secret generated for this run" in served.log()
    counted = served.post("/query", SQL, served.post("/auth/demo-token")["token"])
    assert counted == {"ponds": 40}

    processes = family(served.process.pid)
    assert len(processes) >= 3  # gunicorn's two, and a worker
    folder = served.out.parent
    assert served.stop(signal.SIGINT) == 0
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes))
    assert sorted(path.name for path in folder.iterdir()) == ["err", "out"]
    assert 'msg="Container stopped" user_id=demo reason=shutdown' in served.log()
    assert "Traceback" not in served.log()


def test_when_it_is_killed_nothing_stays_behind(serve: Serve) -> None:
    served = serve()
    served.wait_ready()
    wait_until(lambda: "Ctrl-C stops everything." in served.out.read_text())
    subprocess.run([sys.executable, "-c", served.snippet()], capture_output=True, check=True)
    processes = family(served.process.pid)
    served.stop(signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes))


@pytest.mark.parametrize("service", ["", "arrow.flight.protocol.FlightService"])
def test_grpc_health_check_and_watch(serve: Serve, service: str) -> None:
    served = serve(JWT_SECRET="Vq9x2mKzR7tYp4WnB8cLd3HfJ6gSa5eU")
    seen: list[int] = []
    answers = health_pb2.HealthCheckResponse
    with grpc.insecure_channel(f"127.0.0.1:{served.ports['HEALTH_PORT']}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        for answer in stub.Watch(request, wait_for_ready=True, timeout=60):
            seen.append(answer.status)
            if answer.status == answers.SERVING:
                assert stub.Check(request).status == answers.SERVING
                served.process.send_signal(signal.SIGTERM)
            elif answers.SERVING in seen:
                break
    assert seen[-2:] == [answers.SERVING, answers.NOT_SERVING]
    assert served.process.wait(30) == 0


def test_a_port_that_is_taken_is_named(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        served = serve(GRPC_PORT=port)
        assert served.process.wait(30) == 2
    assert f"server.grpc_port: cannot listen on 127.0.0.1:{port}" in served.log()
    assert "Traceback" not in served.log()


def test_a_weak_secret_refuses_to_start(serve: Serve) -> None:
    served = serve(JWT_SECRET="hunter2")
    assert served.process.wait(30) == 2
    assert "JWT_SECRET" in served.log()
    assert "32" in served.log()
    assert "hunter2" not in served.log()


def test_the_secret_is_in_no_other_process(serve: Serve) -> None:
    secret = "Vq9x2mKzR7tYp4WnB8cLd3HfJ6gSa5eU"
    served = serve(JWT_SECRET=secret)
    served.wait_ready()
    for pid in family(served.process.pid):
        for name in ("environ", "cmdline"):
            assert secret.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    assert served.stop() == 0


@pytest.mark.parametrize(
    ("key", "start"),
    [
        ("grpc_port", lambda port: flight.FlightServerBase(f"grpc://127.0.0.1:{port}")),
        ("health_port", lambda port: HealthServer("127.0.0.1", port)),
    ],
)
def test_a_port_that_is_taken_just_after_it_was_found_free_is_named(
    key: str, start: Callable[[int], object]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = load(None, {"HOST": "127.0.0.1", key.upper(): str(port)})
        named = f"server.{key}: cannot listen on 127.0.0.1:{port}"
        with pytest.raises(ConfigError, match=named), _listening(key, settings):
            start(port)


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(30)
        served = serve("--no-caddy", NOTIFY_SOCKET=str(path))
        assert systemd.recv(100) == b"READY=1"
        assert served.get("/ready") == (200, {"ready": True})
        assert served.stop() == 0
        assert systemd.recv(100) == b"STOPPING=1"
        systemd.setblocking(False)
        with pytest.raises(BlockingIOError):  # nor has any child said anything
            systemd.recv(100)
