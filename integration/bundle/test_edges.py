"""Caddy: reloads, certificates, and what is wrong on the way in. A clear answer, and one line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest
from adbc_driver_flightsql import DatabaseOptions
from adbc_driver_manager import Error, InternalError, OperationalError
from pyarrow import flight

from integration.bundle.clients import ROOTS, connect, curl, headers, pyarrow_client, query, read
from integration.bundle.conftest import Start
from integration.bundle.front import NAME, Caddy, Front
from integration.deployment import Deployment
from tests.certificates import DAY, Authority
from tests.waiting import wait_until

CONFIG = {
    "server": {"trusted_proxies": ["127.0.0.1"], "drain_timeout": "2s"},
    "security": {"rate_limit": {"requests_per_minute": 100000, "burst_size": 100000}},
}
GET = "/arrow.flight.protocol.FlightService/GetFlightInfo"


class Lines:
    """The lines that a front logs while the block runs."""

    def __init__(self, front: Front, pattern: str) -> None:
        self._front = front
        self._pattern = re.compile(pattern)

    def __enter__(self) -> Self:
        self._before = len(self._front.log().splitlines())
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            wait_until(lambda: self.found() != [], 5)

    def found(self) -> list[str]:
        """Give those that have the pattern, so far."""
        new = self._front.log().splitlines()[self._before :]
        return [line for line in new if self._pattern.search(line)]


# -- reloads and certificates ------------------------------------------------------------------


def test_a_reload_cuts_no_stream_and_waits_for_none(start: Start, deployment: Deployment) -> None:
    front = start(Caddy, deployment, PONDFLIGHT_GRACE_PERIOD="1s")
    assert isinstance(front, Caddy)
    with pyarrow_client(front) as client:
        stream = read(client, "SELECT i FROM range(30000000) t(i)", headers(front))
        rows = 0
        for number, chunk in enumerate(stream):
            rows += chunk.data.num_rows
            if number in {5, 10, 15}:
                front.reload()
                assert query(front, "SELECT 42") == [(42,)]
                time.sleep(1.5)  # longer than the grace period
    assert rows == 30_000_000


def test_a_shutdown_lets_streams_end(start: Start, deployment: Deployment) -> None:
    front = start(Caddy, deployment)
    with pyarrow_client(front) as client:
        stream = read(client, "SELECT i FROM range(20000000) t(i)", headers(front))
        rows = stream.read_chunk().data.num_rows
        stopper = threading.Thread(target=front.stop)
        stopper.start()
        time.sleep(1)
        rows += sum(chunk.data.num_rows for chunk in stream)
    stopper.join()
    assert rows == 20_000_000


def test_a_certificate_is_rotated_under_a_stream(start: Start, deployment: Deployment) -> None:
    front = start(Caddy, deployment)
    assert isinstance(front, Caddy)
    old = front.ca
    with pyarrow_client(front) as client:
        stream = read(client, "SELECT i FROM range(20000000) t(i)", headers(front))
        rows = stream.read_chunk().data.num_rows
        front.authority = Authority(front.folder, "second")
        front.authority.issue(NAME, "127.0.0.1", file="server")
        front.reload()
        assert query(front, "SELECT 42") == [(42,)]
        with pytest.raises(OperationalError, match="unknown authority"):
            query(front, "SELECT 42", db_kwargs={ROOTS: old})
        rows += sum(chunk.data.num_rows for chunk in stream)
    assert rows == 20_000_000


def test_a_broken_caddyfile_leaves_the_old_one_running(
    start: Start, deployment: Deployment
) -> None:
    front = start(Caddy, deployment)
    front.certificate.cert.write_text("nonsense")
    os.kill(front.pid, signal.SIGUSR1)
    wait_until(lambda: "failed to reload" in front.log(), 10)
    assert query(front, "SELECT 42") == [(42,)]


def test_client_certificates(start: Start, deployment: Deployment, tmp_path: Path) -> None:
    clients, strangers = Authority(tmp_path, "clients"), Authority(tmp_path, "strangers")
    front = start(
        Caddy, deployment, caddyfile="Caddyfile.mtls", PONDFLIGHT_CLIENT_CA=str(clients.cert)
    )

    def options(authority: Authority, ends: timedelta = DAY) -> dict[str, str]:
        pair = authority.issue("ada.example.com", ends=ends)
        return {
            DatabaseOptions.MTLS_CERT_CHAIN.value: pair.cert.read_text(),
            DatabaseOptions.MTLS_PRIVATE_KEY.value: pair.key.read_text(),
        }

    good = options(clients)
    assert query(front, "SELECT 42", db_kwargs=good) == [(42,)]
    pair = clients.issue("ada.example.com")
    with pyarrow_client(
        front, cert_chain=pair.cert.read_text(), private_key=pair.key.read_text()
    ) as client:
        assert read(client, "SELECT 42 AS x", headers(front)).read_all()["x"].to_pylist() == [42]
    for bad, line in (
        ({}, "client didn't provide a certificate"),
        (options(strangers), "client didn.t provide a certificate"),
        (options(clients, ends=-DAY), "certificate has expired"),
    ):
        with Lines(front, line), pytest.raises(OperationalError):
            query(front, "SELECT 42", db_kwargs=bad)
    # A client that dials an address names no host in the handshake.
    address = f"grpc+tls://127.0.0.1:{front.port}"
    assert query(front, "SELECT 42", uri=address, db_kwargs=good) == [(42,)]
    with pytest.raises(OperationalError):
        query(front, "SELECT 42", uri=address)
    # Nobody gets in without a certificate, whatever name is in the handshake.
    for name in ("other.example.com", "127.0.0.1"):
        done = subprocess.run(
            [
                *("curl", "-sS", "-k", "-o", "/dev/null", "-w", "%{http_code}"),
                *("--connect-to", f"{name}:443:127.0.0.1:{front.port}"),
                *("-H", f"Host: {NAME}:{front.port}", f"https://{name}/health"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "000", done


def test_two_host_names(start: Start, deployment: Deployment) -> None:
    front = start(
        Caddy,
        deployment,
        caddyfile="Caddyfile.two-hosts",
        PONDFLIGHT_HOST="127.0.0.1",
        PONDFLIGHT_ALIASES="",
        PONDFLIGHT_GRPC_HOST=NAME,
    )
    assert query(front, "SELECT 42") == [(42,)]
    assert curl(front, f"https://127.0.0.1:{front.port}/health")[0] == 200
    status, _, body = curl(front, "/health")
    assert (status, body) == (404, "only gRPC here: HTTP is at 127.0.0.1")


# -- what is wrong on the way in -----------------------------------------------------------------


def test_plain_text_on_the_tls_port(caddy: Front) -> None:
    with Lines(caddy, "client sent an HTTP request to an HTTPS server") as lines:
        status, _, body = curl(caddy, f"http://127.0.0.1:{caddy.port}/health")
    assert (status, body.strip()) == (400, "Client sent an HTTP request to an HTTPS server.")
    assert len(lines.found()) == 1
    with Lines(caddy, "first record does not look like a TLS handshake"):
        with pytest.raises(OperationalError, match="error reading server preface"):
            query(caddy, "SELECT 1", uri=f"grpc://127.0.0.1:{caddy.port}")


def test_tls_on_the_plain_port(caddy: Front, deployment: Deployment) -> None:
    for port in (deployment.flight_port, deployment.health_port, deployment.http_port):
        with pytest.raises(OperationalError, match="first record does not look like a TLS"):
            query(caddy, "SELECT 1", uri=f"grpc+tls://127.0.0.1:{port}")


def test_a_name_that_the_certificate_does_not_have(caddy: Front) -> None:
    override = "adbc.flight.sql.client_option.tls_override_hostname"
    with Lines(caddy, "TLS handshake error") as lines:
        with pytest.raises(OperationalError, match=r"valid for localhost, not other\.example"):
            query(caddy, "SELECT 1", db_kwargs={override: "other.example.com"})
    assert len(lines.found()) == 1
    with pyarrow_client(caddy, override_hostname="other.example.com") as client:
        with pytest.raises(flight.FlightUnavailableError, match="not in peer certificate"):
            read(client, "SELECT 1", headers(caddy))


def test_a_host_that_is_not_here(caddy: Front) -> None:
    with Lines(caddy, '"host":"evil.example.com"') as lines:
        status, _, body = curl(caddy, "/health", "-H", "Host: evil.example.com")
    assert (status, body) == (421, "there is no such host here")
    assert len(lines.found()) == 1


def test_an_authority_that_has_expired(start: Start, deployment: Deployment) -> None:
    class Expired(Caddy):
        def __init__(self, deployment: Deployment, folder: Path) -> None:
            super().__init__(deployment, folder)
            self.authority = Authority(folder, "expired", ends=-DAY)
            self.certificate = self.authority.issue(NAME, file="expired-server")

    front = start(Expired, deployment)
    with Lines(front, "bad certificate|expired") as lines:
        with pytest.raises(OperationalError, match="certificate has expired"):
            query(front, "SELECT 1")
    assert len(lines.found()) >= 1


def test_http_1_on_the_path_of_grpc(caddy: Front) -> None:
    with Lines(caddy, '"status":415') as lines:
        status, _, body = curl(caddy, GET, "--http1.1", "-X", "POST", "-d", "{}")
    assert status == 415
    assert "use a Flight SQL client" in body
    assert len(lines.found()) == 1


def test_grpc_web(caddy: Front) -> None:
    with Lines(caddy, '"status":415') as lines:
        status, answer, body = curl(
            caddy, GET, "-X", "POST", "-H", "content-type: application/grpc-web+proto", "-d", ""
        )
    assert (status, answer["grpc-status"]) == (415, "12")
    assert (
        body == answer["grpc-message"] == "gRPC-Web is not offered: use a gRPC client over HTTP/2"
    )
    assert len(lines.found()) == 1


def test_headers_that_are_too_large(caddy: Front) -> None:
    large = {f"adbc.flight.sql.rpc.call_header.x-{n}": "a" * 1000 for n in range(40)}
    with Lines(caddy, "request header list larger") as lines:
        with pytest.raises(InternalError, match="larger than 16 KiB: send a shorter token"):
            query(caddy, "SELECT 1", db_kwargs=large)
    assert len(lines.found()) >= 1
    with pyarrow_client(caddy) as client:
        read(client, "SELECT 1", headers(caddy)).read_all()
        more = {f"x-{n}": "a" * 1000 for n in range(40)}
        with pytest.raises(Exception, match="larger than 16 KiB"):
            read(client, "SELECT 1", headers(caddy, **more))
    status, _, _ = curl(caddy, "/health", "--http1.1", "-H", "x: " + "a" * 40_000)
    assert status == 431


def test_a_missing_upstream(start: Start, deployment: Deployment) -> None:
    nowhere = {
        f"PONDFLIGHT_{name}": "127.0.0.1:9" for name in ("HTTP", "FLIGHT", "HEALTH")
    }  # discard: nothing listens there
    front = start(Caddy, deployment, **nowhere)
    with Lines(front, "connection refused") as lines, pyarrow_client(front) as client:
        with pytest.raises(flight.FlightUnavailableError, match="pondflight cannot be reached"):
            read(client, "SELECT 1", headers(front))
    assert len(lines.found()) == 1
    with pytest.raises(Error, match="pondflight cannot be reached"):
        query(front, "SELECT 1")
    with Lines(front, '"status":502.*connection refused') as lines:
        status, _, body = curl(front, "/health")
    assert status == 502
    assert body.startswith("pondflight cannot be reached")
    assert "127.0.0.1" not in body
    assert len(lines.found()) == 1


# -- logs, headers, addresses ------------------------------------------------------------------


def test_no_token_is_in_any_log(caddy: Front, deployment: Deployment) -> None:
    token = deployment.token("grace")
    authorization = f"Authorization: Bearer {token}"
    for path in ("/health", "/nowhere", GET):
        curl(caddy, f"{path}?token={token}", "-H", authorization, "-H", f"Cookie: a={token}")
    with connect(caddy, "grace") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    wait_until(lambda: caddy.log().count(GET) > 1, 5)
    for text in (caddy.log(), deployment.log()):
        assert token not in text
        assert token.rpartition(".")[2] not in text
        assert "eyJ" not in text
    handled = [json.loads(line) for line in caddy.log().splitlines() if "handled request" in line]
    assert handled
    assert not [entry for entry in handled if "headers" in entry["request"] or "?" in str(entry)]


def test_security_headers(caddy: Front) -> None:
    _, answer, _ = curl(caddy, "/health")
    assert answer["x-content-type-options"] == "nosniff"
    assert answer["x-frame-options"] == "DENY"
    assert answer["referrer-policy"] == "no-referrer"
    assert "default-src" in answer["content-security-policy"]
    assert "server" not in answer
    assert "strict-transport-security" not in answer  # localhost belongs to others as well


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("how", ["Expect: 100-continue", "Expect:", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("megabytes", [5, 17, 200])
def test_a_body_that_is_too_large(
    caddy: Front, deployment: Deployment, tmp_path: Path, version: str, how: str, megabytes: int
) -> None:
    with (tmp_path / "body").open("wb") as body:
        body.truncate(megabytes << 20)
    token = f"Authorization: Bearer {deployment.token('grace')}"  # without one it is 401 first
    sent = ["-T", f"{tmp_path / 'body'}", "-X", "POST", "-H", how, "-H", token]
    status, answer, text = curl(caddy, "/query", version, *sent)
    assert status == 413
    assert answer["content-type"] == "application/problem+json"
    assert json.loads(text)["detail"] == "the body is over the limit of 4 MiB"


def test_addresses_that_a_client_makes_up_do_not_count(start: Start, deploy: object) -> None:
    assert callable(deploy)
    deployment = deploy(
        {
            "server": {"trusted_proxies": ["127.0.0.1"]},
            "auth": {"demo": {"enabled": True, "tokens_per_hour": 3}},
        }
    )
    front = start(Caddy, deployment)
    statuses = [
        curl(front, "/auth/demo-token", "-X", "POST", "-H", f"X-Forwarded-For: 198.51.100.{n}")[0]
        for n in range(5)
    ]
    assert statuses == [200, 200, 200, 429, 429]
    # Another address of this machine is another client: Caddy's word for it is taken.
    other = curl(front, "/auth/demo-token", "-X", "POST", "--interface", "127.0.0.2")[0]
    assert other in {200, 201}
    for word in ("Demo token given", "Rate limit exceeded"):
        lines = [line for line in deployment.log().splitlines() if word in line]
        assert all("address=127.0.0." in line for line in lines)
        assert lines


def test_the_log_has_the_address_of_who_asks_too_much_by_flight_sql(
    start: Start, deploy: object
) -> None:
    assert callable(deploy)
    deployment = deploy(
        {
            "server": {"trusted_proxies": ["127.0.0.1"]},
            "security": {"rate_limit": {"requests_per_minute": 1, "burst_size": 1}},
        }
    )
    front = start(Caddy, deployment)
    forged = {"adbc.flight.sql.rpc.call_header.x-forwarded-for": "198.51.100.7"}
    with pytest.raises(Error, match="a minute are allowed"):
        for _ in range(5):
            query(front, "SELECT 42", db_kwargs=forged)
    assert 'msg="Rate limit exceeded" user_id=ada address=127.0.0.1' in deployment.log()
    curl(front, "/query", "-X", "POST", "-H", "X-Forwarded-For: 198.51.100.7", "--data", "{}")
    wait_until(
        lambda: 'msg="Authentication failed" address=127.0.0.1' in deployment.log(),
    )
    assert "198.51.100" not in deployment.log()
