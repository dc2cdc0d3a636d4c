"""Caddy in front, as ``make run`` has it: TLS on one port, and nothing left behind."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from adbc_driver_flightsql import DatabaseOptions, dbapi

from pondflight.caddy import journal
from pondflight.caddy.process import find
from tests.certificates import Authority
from tests.ports import free_ports
from tests.serve.test_serve import Serve, Served, family, fixture_serve
from tests.waiting import wait_until

__all__ = ["fixture_serve"]

SECRET = "Vq9x2mKzR7tYp4WnB8cLd3HfJ6gSa5eU"
CADDYFILES = Path(__file__).parents[1] / "caddy"


def rows(served: Served, token: str) -> list[tuple[int]]:
    match = re.search(r"(grpc\+tls://\S+)[\s\S]*to trust +(\S+)", served.out.read_text())
    assert match is not None
    options = {
        DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}",
        DatabaseOptions.TLS_ROOT_CERTS.value: Path(match[2]).read_text(),
    }
    with dbapi.connect(match[1], db_kwargs=options) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 42")
            return cursor.fetchall()


def demo_token(served: Served) -> str:
    wait_until(lambda: "Ctrl-C stops everything." in served.out.read_text())
    match = re.search(r"\n(eyJ\S+)\n", served.out.read_text())
    assert match is not None
    return match[1]


def test_one_port_with_tls_for_everything(serve: Serve) -> None:
    (port,) = free_ports(1)
    served = serve(CADDY_PORT=str(port), TEST_SECRET=SECRET)
    served.wait_ready()
    assert rows(served, demo_token(served)) == [(42,)]
    (folder,) = (path for path in served.out.parent.iterdir() if "caddy" in path.name)
    ca = folder / "ca.pem"
    context = ssl.create_default_context(cafile=str(ca))
    with urllib.request.urlopen(f"https://localhost:{port}/ready", context=context) as answer:
        assert json.load(answer) == {"ready": True}
    for service in ("", "arrow.flight.protocol.FlightService"):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pondflight", "probe", f"grpc+tls://localhost:{port}"),
                *("--ca", str(ca), "--service", service),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "SERVING\n")

    processes = family(served.process.pid)
    for pid in processes:
        assert SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    assert served.stop(signal.SIGINT) == 0
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes))
    assert sorted(path.name for path in served.out.parent.iterdir()) == ["err", "out"]
    assert "caddy" not in served.log()


@pytest.mark.parametrize("whom", ["serve", "supervisor", "caddy"])
def test_when_one_is_killed_nothing_stays_behind(serve: Serve, whom: str) -> None:
    served = serve(CADDY_PORT="0")
    served.wait_ready()
    demo_token(served)
    processes = family(served.process.pid)
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes}
    (caddy,) = (pid for pid, line in commands.items() if b"caddyfile\0" in line)
    (supervisor,) = (pid for pid, line in commands.items() if line.endswith(b"pondflight.caddy\0"))
    victim = {"serve": served.process.pid, "supervisor": supervisor, "caddy": caddy}[whom]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in (caddy, supervisor)))
    if whom == "serve":
        served.process.wait(30)
    else:
        assert served.process.wait(30) == 1
        assert 'level=error msg="Caddy ended unasked"' in served.log()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes))
    assert not [path for path in served.out.parent.iterdir() if "caddy" in path.name]


def test_it_can_be_left_out(serve: Serve) -> None:
    served = serve("--no-caddy")
    served.wait_ready()
    demo_token(served)
    assert "grpc+tls://" not in served.out.read_text()
    assert served.stop() == 0


def test_with_a_configuration_it_has_to_be_asked_for(serve: Serve) -> None:
    served = serve(JWT_SECRET=SECRET)
    served.wait_ready()
    names = [path.name for path in served.out.parent.iterdir()]
    assert not [name for name in names if "caddy" in name]
    assert served.stop() == 0
    served = serve("--caddy", JWT_SECRET=SECRET, CADDY_PORT="0")
    served.wait_ready()
    (folder,) = (path for path in served.out.parent.iterdir() if "caddy" in path.name)
    assert (folder / "ca.pem").read_text().startswith("-----BEGIN CERTIFICATE-----")
    for pid in family(served.process.pid):
        assert SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    assert served.stop() == 0


def test_its_port_is_checked_as_ours_are(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        served = serve(CADDY_PORT=port)
        assert served.process.wait(30) == 2
    assert f"caddy.port: cannot listen on 127.0.0.1:{port}" in served.log()


@pytest.mark.parametrize("path", sorted(CADDYFILES.glob("Caddyfile*")), ids=lambda path: path.name)
def test_caddyfiles_are_valid(path: Path, tmp_path: Path) -> None:
    program = find()
    assert program is not None
    done = subprocess.run(
        [program, "validate", "--adapter", "caddyfile", "--config", str(path)],
        env={
            "HOME": str(tmp_path),
            "PONDFLIGHT_HOST": "proxy.example.com",
            "PONDFLIGHT_CLIENT_CA": str(Authority(tmp_path).cert),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Valid configuration" in done.stdout


@pytest.mark.parametrize(
    "path", sorted(path for path in CADDYFILES.rglob("*") if path.is_file()), ids=lambda p: p.name
)
def test_caddyfiles_are_formatted(path: Path) -> None:
    program = find()
    assert program is not None
    done = subprocess.run([program, "fmt", str(path)], capture_output=True, text=True, check=False)
    assert done.stdout == path.read_text()


def relayed(caplog: pytest.LogCaptureFixture, *entries: object, ending: bool = False) -> list[str]:
    event = threading.Event()
    if ending:
        event.set()
    lines = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in entries]
    with caplog.at_level(logging.INFO):
        journal.relay(io.BytesIO(b"\n".join(lines)), event)
    return [f"{record.levelname} {record.name} {record.message}" for record in caplog.records]


START = {"level": "info", "msg": "serving initial configuration"}
REQUEST = {"method": "POST", "host": "h", "uri": "/x", "remote_ip": "10.0.0.1"}


def test_the_journal_tells_what_went_wrong_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    handled = {"level": "info", "logger": "http.log", "msg": "handled request", "request": REQUEST}
    assert relayed(
        caplog,
        {"level": "warn", "msg": "admin endpoint disabled"},
        START,
        {"level": "info", "msg": "something"},
        handled | {"status": 200},
        handled | {"status": 415},
        handled | {"status": 200, "cause": "connection refused"},
        {"level": "debug", "logger": "http.stdlib", "msg": "TLS handshake error"},
        {"level": "error", "logger": "tls", "msg": "obtain", "error": "no disk"},
    ) == [
        "WARNING caddy.http.log POST h/x from 10.0.0.1: 415",
        "WARNING caddy.http.log POST h/x from 10.0.0.1: connection refused",
        "WARNING caddy.http.stdlib TLS handshake error",
        "ERROR caddy.tls obtain: no disk",
    ]


def test_the_journal_passes_on_what_is_no_json(caplog: pytest.LogCaptureFixture) -> None:
    assert relayed(caplog, b"Error: cannot read it", b"[1]", b'{"level": 5') == [
        "ERROR caddy.caddy Error: cannot read it",
        "ERROR caddy.caddy [1]",
        'ERROR caddy.caddy {"level": 5',
    ]


def test_the_journal_goes_on_after_a_line_that_makes_no_sense(
    caplog: pytest.LogCaptureFixture,
) -> None:
    odd = {"level": "info", "request": REQUEST, "status": "teapot"}
    *_, last = relayed(caplog, START, odd, {"level": "error", "logger": "tls", "msg": "obtain"})
    assert last == "ERROR caddy.tls obtain"


def test_the_journal_is_quiet_about_an_end_that_was_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert relayed(caplog, START, {"level": "warn", "msg": "exiting"}, ending=True) == []
