from __future__ import annotations

import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pondflight.proxy.databases import Database, Databases
from pondflight.proxy.rate_limits import Limits
from pondflight.telemetry import metrics
from tests.stack import Stack
from tests.waiting import wait_until


def test_health_is_as_documented(stack: Stack) -> None:
    answer = stack.request("GET", "/health")
    assert (answer.status, answer.json) == (200, {"status": "healthy"})
    assert stack.request("GET", "/live").json == {"live": True}
    head = stack.request("HEAD", "/health")
    assert (head.status, head.body) == (200, b"")


def test_ready_as_long_as_it_is_not_draining(stack: Stack) -> None:
    assert (stack.request("GET", "/ready").status, stack.request("GET", "/ready").json) == (
        200,
        {"ready": True},
    )
    stack.proxy.draining = True
    try:
        answer = stack.request("GET", "/ready")
        assert (answer.status, answer.json) == (503, {"ready": False})
        assert stack.request("GET", "/health/detailed").json["status"] == "degraded"
        refused = stack.query("alice", "SELECT 1")
        assert refused.status == 503
    finally:
        stack.proxy.draining = False


def test_detailed_health_has_the_parts_and_no_secret() -> None:
    stack = Stack(
        databases=Databases(
            [
                Database("there", "sqlite", __file__),
                Database("gone", "sqlite", "/nowhere/hunter2.db"),
                Database("shop", "postgres", "postgresql://u:hunter2@127.0.0.1:1/d"),
            ]
        ),
        web={"ai_providers": (("claude", True), ("openai", False))},
    )
    try:
        stack.query("alice", "SELECT 1")
        answer = stack.request("GET", "/health/detailed")
        strange = stack.request("GET", "/health/detailed", authorization="Basic eDp5")
        of_alice = stack.request(
            "GET", "/health/detailed", authorization=f"Bearer {stack.token('alice')}"
        )
        of_admin = stack.request(
            "GET", "/health/detailed", authorization=f"Bearer {stack.token('root', admin=True)}"
        )
    finally:
        stack.close()
    assert answer.status == 200
    health = answer.json
    assert health["containers"] == {"active": 1, "total_spawned": 1, "total_stopped": 0}
    assert isinstance(health["uptime_seconds"], int)
    assert health["status"] == "degraded"
    assert health["queue"] == {"starting": 0, "waiting": 0}
    assert health["components"]["proxy"] == {"status": "available"}
    assert health["components"]["backend"] == {"name": "process", "status": "available"}
    named = of_admin.json["components"]["databases"]
    statuses = {d["alias"]: d["status"] for d in named}
    assert statuses == {"there": "available", "gone": "unavailable", "shop": "unavailable"}
    unnamed = [{"type": d["type"], "status": d["status"]} for d in named]
    assert health["components"]["databases"] == unnamed
    assert of_alice.json["components"]["databases"] == unnamed
    assert strange.json["components"]["databases"] == unnamed
    assert health["components"]["ai"] == {
        "claude": {"status": "configured"},
        "openai": {"status": "not_configured"},
    }
    assert b"hunter2" not in answer.body
    assert b"127.0.0.1" not in answer.body


def test_a_database_that_is_silent_holds_up_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port: int = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(8)]
        for sock in waiting:  # from here on the kernel answers to no more of them
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        stack = Stack(
            databases=Databases([Database("mute", "postgres", f"postgresql://127.0.0.1:{port}/d")])
        )
        try:
            for _ in range(3):
                health = stack.request("GET", "/health/detailed").json
                assert health["status"] == "degraded"
                assert health["components"]["proxy"] == {"status": "available"}
                assert health["components"]["databases"][0]["status"] == "unavailable"
                assert stack.request("GET", "/ready").json == {"ready": True}
        finally:
            stack.close()
            for sock in waiting:
                sock.close()


def test_nothing_is_imported_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("limits", "jwt", "falcon", "duckdb"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported by mistake')")
    monkeypatch.chdir(tmp_path)
    stack = Stack()
    try:
        assert stack.query("alice", "SELECT 1 AS a").rows == [{"a": 1}]
    finally:
        stack.close()


def test_without_the_proxy_it_is_alive_and_not_ready() -> None:
    stack = Stack()
    try:
        stack.proxy.close()
        assert stack.request("GET", "/health").status == 200
        assert stack.request("GET", "/ready").status == 503
        assert stack.request("GET", "/health/detailed").json["status"] == "unhealthy"
        answer = stack.query("alice", "SELECT 1")
        assert answer.status == 503
        assert "127.0.0.1" not in answer.body.decode()
        metrics = stack.request("GET", "/metrics")
        assert "pondflight_proxy_up 0.0" in metrics.body.decode()
    finally:
        stack.close()


def test_demo_token_opens_a_worker_for_an_hour(stack: Stack) -> None:
    answer = stack.request("POST", "/auth/demo-token", x_forwarded_for="203.0.113.1")
    assert answer.status == 200
    assert set(answer.json) == {"token", "expires_at"}
    expires = datetime.fromisoformat(answer.json["expires_at"])
    left = (expires - datetime.now(UTC)).total_seconds()
    assert 3590 < left <= 3600
    identity = stack.tokens.verify(answer.json["token"])
    assert identity.demo
    assert not identity.admin
    assert identity.expires_at == pytest.approx(expires.timestamp(), abs=2)
    token = f"Bearer {answer.json['token']}"
    assert stack.query("unused", "SELECT 1 AS a", authorization=token).rows == [{"a": 1}]
    another = stack.request("POST", "/auth/demo-token", x_forwarded_for="203.0.113.1")
    assert stack.tokens.verify(another.json["token"]).sub != identity.sub


def test_demo_tokens_of_one_address_are_limited(stack: Stack) -> None:
    here, there = "203.0.113.7", "203.0.113.8"
    for _ in range(3):
        assert stack.request("POST", "/auth/demo-token", x_forwarded_for=here).status == 200
    refused = stack.request("POST", "/auth/demo-token", x_forwarded_for=f"9.9.9.9, {here}")
    assert refused.status == 429
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert stack.request("POST", "/auth/demo-token", x_forwarded_for=there).status == 200


def test_without_a_trusted_proxy_the_address_cannot_be_invented() -> None:
    stack = Stack(web={"demo": True, "demo_tokens_per_hour": 2})
    try:
        statuses = [
            stack.request("POST", "/auth/demo-token", x_forwarded_for=f"1.1.1.{n}").status
            for n in range(3)
        ]
    finally:
        stack.close()
    assert statuses == [200, 200, 429]


def test_demo_users_have_limits_of_their_own() -> None:
    stack = Stack(demo_limits=Limits(1, 2), demo_seconds=4)
    demo = f"Bearer {stack.token('d', demo=True)}"
    try:
        slow = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(1000000) b"
        began = time.monotonic()
        answer = stack.query("unused", slow, authorization=demo)
        assert answer.status == 504
        assert time.monotonic() - began < 20
        assert stack.query("unused", "SELECT 1", authorization=demo).status == 200
        refused = stack.query("unused", "SELECT 1", authorization=demo)
        assert refused.status == 429
        assert stack.query("alice", "SELECT 1").status == 200
        limits = stack.query("unused", "SELECT 1", authorization=demo)
        assert limits.status == 429
    finally:
        stack.close()


def test_demo_tokens_are_switched_off_unless_wanted() -> None:
    stack = Stack()
    try:
        answer = stack.request("POST", "/auth/demo-token")
        metrics = stack.request("GET", "/metrics")
    finally:
        stack.close()
    assert answer.status == 404
    assert "auth.demo.enabled" in answer.json["detail"]
    assert metrics.status == 200


def test_metrics_of_both_processes_stand_together(stack: Stack) -> None:
    stack.query("secret-user", "SELECT 1")
    stack.request("GET", "/invented/path")
    answer = stack.request("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = answer.body.decode()
    assert 'pondflight_http_requests_total{method="POST",route="/query",status="200"}' in text
    assert 'pondflight_statements_total{kind="query",outcome="ok"}' in text
    assert "pondflight_worker_start_seconds_bucket" in text
    assert 'pondflight_workers{state="idle"}' in text
    assert "pondflight_build_info" in text
    assert "pondflight_proxy_up 1.0" in text
    assert "secret-user" not in text
    assert "invented" not in text


def test_statement_is_counted_once_with_what_became_of_it(stack: Stack) -> None:
    def counted() -> list[float]:
        labels = [("query", "ok"), ("query", "error"), ("update", "ok"), ("update", "error")]
        return [metrics.STATEMENTS.labels(*pair)._value.get() for pair in labels]

    def rises(by: list[int]) -> None:
        expected = [was + more for was, more in zip(before, by, strict=True)]
        wait_until(lambda: counted() == expected)

    stack.query("counted", "CREATE TABLE t (a INT)")
    for body, by in (
        ("SELECT * FROM range(100000)", [1, 0, 0, 0]),
        ("SELECT nothing", [0, 1, 0, 0]),
        ({"sql": "SELECT ?", "parameters": [1]}, [1, 0, 0, 0]),
        ({"sql": "SELECT nothing, ?", "parameters": [1]}, [0, 1, 0, 0]),
        ({"sql": "SELECT ?::INT", "parameters": ["x"]}, [0, 1, 0, 0]),
        ("SELECT (range || 'x')::INT FROM range(9)", [0, 1, 0, 0]),
        ({"sql": "INSERT INTO t VALUES (?)", "parameters": [1]}, [0, 0, 1, 0]),
    ):
        before = counted()
        stack.query("counted", body)
        rises(by)


def test_metrics_may_be_kept_for_administrators() -> None:
    stack = Stack(web={"metrics_public": False})
    try:
        nobody = stack.request("GET", "/metrics")
        user = stack.request("GET", "/metrics", authorization=f"Bearer {stack.token('a')}")
        admin = f"Bearer {stack.token('a', admin=True)}"
        allowed = stack.request("GET", "/metrics", authorization=admin)
    finally:
        stack.close()
    assert (nobody.status, user.status, allowed.status) == (401, 403, 200)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nosuch", 404),
        ("GET", "/query", 405),
        ("PUT", "/health", 405),
        ("GET", "/auth/demo-token", 405),
        ("BREW", "/health", 400),
        ("GET", "/health/", 404),
    ],
)
def test_what_there_is_not_is_a_problem_document(
    stack: Stack, method: str, path: str, status: int
) -> None:
    answer = stack.request(method, path)
    assert answer.status == answer.json["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    if status == 405:
        assert answer.headers["allow"]
