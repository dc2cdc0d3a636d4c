"""``pondflight probe`` against the health service that `serve` has."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from pondflight.errors import ConfigError, Unavailable
from pondflight.ops.probe import Target, check, watch
from pondflight.serve.health import HealthServer
from tests.certificates import Authority

FLIGHT = "arrow.flight.protocol.FlightService"


@pytest.fixture(name="server")
def fixture_server() -> Iterator[HealthServer]:
    with closing(HealthServer("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture(name="free_port")
def fixture_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def probe(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pondflight", "probe", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("service", ["", FLIGHT])
def test_exit_code_and_output_follow_the_status(server: HealthServer, service: str) -> None:
    address = f"127.0.0.1:{server.port}"
    done = probe(address, "--service", service)
    assert (done.returncode, done.stdout, done.stderr) == (1, "NOT_SERVING\n", "")
    server.set_serving(serving=True)
    done = probe(f"grpc://{address}", "--service", service)
    assert (done.returncode, done.stdout, done.stderr) == (0, "SERVING\n", "")


def test_without_an_address_it_asks_its_own_machine(server: HealthServer) -> None:
    server.set_serving(serving=True)
    done = probe(HEALTH_PORT=str(server.port), JWT_SECRET="other settings do not matter here")
    assert (done.returncode, done.stdout) == (0, "SERVING\n")


def test_an_unknown_service_is_a_failure(server: HealthServer) -> None:
    with pytest.raises(Unavailable, match="NOT_FOUND"):
        check(Target(f"127.0.0.1:{server.port}"), "no.such.Service", 5)


def test_nobody_there(free_port: int) -> None:
    done = probe(f"127.0.0.1:{free_port}", "--timeout", "2s")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: 127.0.0.1:{free_port}: ")
    assert "Traceback" not in done.stderr
    with pytest.raises(Unavailable, match="refused"):
        next(watch(Target(f"127.0.0.1:{free_port}"), "", 1))


def test_watch_tells_every_change(server: HealthServer) -> None:
    answers = watch(Target(f"127.0.0.1:{server.port}"), FLIGHT, 5)
    assert next(answers) == "NOT_SERVING"
    server.set_serving(serving=True)
    assert next(answers) == "SERVING"
    server.set_serving(serving=False)
    assert next(answers) == "NOT_SERVING"


@pytest.mark.parametrize("address", ["a", "a:", ":8082", "http://a:1", "a:b", "a:1/x"])
def test_what_is_no_address_is_said_so(address: str) -> None:
    with pytest.raises(ConfigError, match="accepted: host:port"):
        Target.parse(address)


def test_certificates_without_tls_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="certificates are for TLS: use grpc\\+tls://a:1"):
        Target.parse("a:1", ca=tmp_path)


def test_files_that_are_no_certificates_are_a_mistake(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, other = authority.issue("ada"), authority.issue("bob", file="bob")
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense")
    for files, said in (
        (("--ca", nonsense), f"--ca: {nonsense} holds no certificate in PEM"),
        (("--cert", pair.cert), "--cert and --key are given together"),
        (("--key", pair.key), "--cert and --key are given together"),
        (("--cert", pair.cert, "--key", other.key), "do not fit"),
        (("--cert", nonsense, "--key", nonsense), "do not fit"),
    ):
        done = probe("grpc+tls://127.0.0.1:1", *map(str, files))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: --")
        assert said in done.stderr


@pytest.mark.parametrize("more", [(), ("--watch",)])
def test_a_failed_handshake_is_one_line_with_its_cause(
    server: HealthServer, more: tuple[str, ...]
) -> None:
    done = probe(f"grpc+tls://127.0.0.1:{server.port}", "--timeout", "2s", *more)
    assert (done.returncode, done.stdout) == (1, "")
    assert "WRONG_VERSION_NUMBER" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_server_without_the_service() -> None:
    bare = grpc.server(ThreadPoolExecutor(1))
    port = bare.add_insecure_port("127.0.0.1:0")
    bare.start()
    try:
        with pytest.raises(Unavailable, match="no health service"):
            check(Target(f"127.0.0.1:{port}"), "", 5)
    finally:
        bare.stop(None).wait()
