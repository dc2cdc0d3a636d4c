from __future__ import annotations

import pytest
from falcon import testing

from pondflight.web.access import ClientAddress, HostCheck
from tests.stack import Stack


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8080",
        "a.localhost",
        "127.0.0.1:8080",
        "[::1]:8080",
        "[::ffff:10.0.0.1]",
        "pondflight",
        "query.example",
        "QUERY.example.:443",
        "a.wild.example",
        "a.b.wild.example",
    ],
)
def test_host_of_ours_is_answered(stack: Stack, host: str) -> None:
    assert stack.request("GET", "/health", host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "query.example.evil.example", "wild.example", "xwild.example", "1.2.3"]
)
def test_host_of_somebody_else_is_421(stack: Stack, host: str) -> None:
    answer = stack.request("GET", "/health", host=host)
    assert answer.status == 421
    assert "ALLOWED_HOSTS" in answer.json["detail"]
    assert host not in answer.body.decode()


@pytest.mark.parametrize(
    ("allowed", "demo", "answered"),
    [((), False, True), ((), True, False), (("x.example",), False, False), (("*",), True, True)],
)
def test_without_names_any_host_will_do_unless_strangers_get_tokens(
    allowed: tuple[str, ...], *, demo: bool, answered: bool
) -> None:
    check = HostCheck(allowed, tokens_for_strangers=demo)
    assert check._is_ours("query.example.com") == answered
    assert check._is_ours("localhost")


def test_page_of_a_configured_origin_may_call(stack: Stack) -> None:
    origin = "https://app.example"
    asked = stack.request(
        "OPTIONS",
        "/query",
        origin=origin,
        access_control_request_method="POST",
        access_control_request_headers="authorization,content-type",
    )
    assert asked.status == 200
    assert asked.headers["access-control-allow-origin"] == origin
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert "authorization" in asked.headers["access-control-allow-headers"]
    answer = stack.query("alice", "SELECT 1", origin=origin)
    assert answer.headers["access-control-allow-origin"] == origin
    assert "access-control-allow-credentials" not in answer.headers
    assert "Origin" in answer.headers["vary"]
    refused = stack.query("alice", "SELECT", origin=origin)
    assert refused.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://app.example.evil", "*"]
)
def test_page_of_another_origin_may_not(stack: Stack, origin: str) -> None:
    answer = stack.request("OPTIONS", "/query", origin=origin, access_control_request_method="POST")
    assert "access-control-allow-origin" not in answer.headers


def address(remote: str, forwarded: str | None, *trusted: str) -> str:
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    req = testing.create_asgi_req(headers=headers)
    req.scope["client"] = (remote, 4711) if remote else None
    return ClientAddress(trusted).of(req)


@pytest.mark.parametrize(
    ("remote", "forwarded", "trusted", "expected"),
    [
        ("9.9.9.9", None, ["10.0.0.0/8"], "9.9.9.9"),
        ("9.9.9.9", "1.2.3.4", ["10.0.0.0/8"], "9.9.9.9"),
        ("10.0.0.1", "1.2.3.4", [], "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4", ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", "1.2.3.4:5678", ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", "nonsense", ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4, nonsense", ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", "", ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", ["10.0.0.0/8"], "10.0.0.3"),
        ("::ffff:10.0.0.1", "1.2.3.4", ["10.0.0.0/8"], "1.2.3.4"),
        ("fd00::1", "2001:db8:1:2:3:4:5:6", ["fd00::/8"], "2001:db8:1:2::/64"),
        ("fd00::1", "[2001:db8:1:2::9]:443", ["fd00::/8"], "2001:db8:1:2::/64"),
        ("", None, [], "unknown"),
    ],
)
def test_address_is_what_a_trusted_proxy_saw(
    remote: str, forwarded: str | None, trusted: list[str], expected: str
) -> None:
    assert address(remote, forwarded, *trusted) == expected


def test_every_answer_forbids_guessing_and_storing(stack: Stack) -> None:
    for answer in (stack.request("GET", "/health"), stack.request("GET", "/nothing")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
