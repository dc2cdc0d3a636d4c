from __future__ import annotations

import json
import re
import select
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from pondflight.web import connection
from tests.stack import Stack
from tests.waiting import wait_until

TOKEN = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2VjcmV0"


def problem_in(answer: bytes) -> Any:
    """The problem document of a raw answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    document = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {document['status']} ".encode())
    return document


def post(*headers: str, body: bytes = b"", path: str = "/query", host: str = "localhost") -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


CLOSE = "Connection: close"


def token_of(stack: Stack) -> str:
    """A header with a token that is valid."""
    return f"Authorization: Bearer {stack.token('alice')}"


def get(*headers: str) -> bytes:
    lines = ["GET /health HTTP/1.1", CLOSE, *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


MALFORMED = {
    "no request line": (b"hello\r\n\r\n", 400),
    "space before the colon": (post(f"Authorization : Bearer {TOKEN}"), 400),
    "folded header": (post(f"Authorization: Bearer\r\n {TOKEN}", CLOSE), 401),
    "NUL in a header": (post(f"X: {TOKEN}\0"), 400),
    "CR in a header": (post(f"X: a\rSet-Cookie: {TOKEN}"), 400),
    "underscore in a name": (post("x_forwarded_for: 1.2.3.4", CLOSE), 401),
    "two hosts": (post("Host: other"), 400),
    "no host": (get(), 400),
    "host with a space": (get("Host: a b"), 400),
    "host with a path": (get("Host: a/b"), 400),
    "address of somebody else": (
        b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        421,
    ),
    "host of somebody else": (get("Host: evil.example"), 421),
    "two lengths": (post("Content-Length: 1", "Content-Length: 2", body=b"xx"), 400),
    "length and chunks": (post("Content-Length: 1", "Transfer-Encoding: chunked", body=b"x"), 400),
    "length of letters": (post("Content-Length: many"), 400),
    "length negative": (post("Content-Length: -1"), 400),
    "length absurd": (post("Content-Length: " + "9" * 4000), 400),
    "chunk of letters": (post("Transfer-Encoding: chunked", body=b"xyz\r\n"), 400),
    "chunk without an end": (post("Transfer-Encoding: chunked", body=b"1\r\nabc"), 400),
    "chunk line that is too long": (
        post("Transfer-Encoding: chunked", body=b"1" * 300 + b"\r\n"),
        400,
    ),
    "trailer that is none": (post("Transfer-Encoding: chunked", body=b"0\r\na b\r\n\r\n"), 400),
    "two codings": (post("Transfer-Encoding: identity, chunked", body=b"0\r\n\r\n"), 400),
    "two codings apart": (
        post("Transfer-Encoding: identity", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        400,
    ),
    "packed and chunked": (post("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 400),
    "length in a list": (post("Content-Length: 1, 2", body=b"x"), 400),
    "unknown coding": (post("Transfer-Encoding: magic"), 400),
    "expectation": (post("Expect: miracles"), 417),
    "header too long": (post("X: " + "x" * 40_000), 431),
    "too many headers": (post(*[f"X{n}: 1" for n in range(5000)]), 431),
    "request line too long": (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
    "HTTP/3.0": (b"GET /health HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    "method of small letters": (
        b"get /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        400,
    ),
    "response splitting": (
        b"GET /%0d%0aX:%20y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        404,
    ),
    "proxy request": (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 404),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_request_is_a_problem_document(stack: Stack, case: str) -> None:
    request, status = MALFORMED[case]
    document = problem_in(stack.raw(request))
    assert document["status"] == status
    assert TOKEN not in json.dumps(document)
    assert stack.request("GET", "/health").status == 200


def test_malformed_request_logs_no_secret(capfd: pytest.CaptureFixture[str]) -> None:
    stack = Stack()
    try:
        for request, _ in MALFORMED.values():
            stack.raw(request)
        stack.query("alice", "SELECT 1", authorization=f"Bearer {TOKEN}")
        stack.query("alice", "SELECT 1", authorization=f"Bearer{TOKEN}")
    finally:
        stack.close()
    captured = capfd.readouterr()
    assert TOKEN[:20] not in captured.err + captured.out


@pytest.mark.parametrize(
    "framing",
    [
        ["Transfer-Encoding: identity, chunked"],
        ["Transfer-Encoding: identity", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 4"],
        ["Content-Length: 0", "Content-Length: 40"],
        ["Content-Length: 0, 40"],
    ],
)
def test_body_of_unclear_length_is_never_taken_for_a_request(
    stack: Stack, framing: list[str]
) -> None:
    hidden = b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n"
    body = b"%X\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden)
    for sent in (body, hidden):
        answer = stack.raw(post(*framing, path="/health", body=sent))
        assert answer.count(b"HTTP/1.1 ") == 1
        assert problem_in(answer)["status"] == 400


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize(
    "body",
    [
        ["Content-Length: 1", "Content-Type: application/json"],
        ["Content-Length: 1", "Content-Type: image/png"],
        ["Content-Length: 1", "Content-Encoding: gzip"],
        ["Content-Length: 1", "Accept: image/png"],
        ["Content-Length: 10000000", "Expect: 100-continue"],
    ],
)
@pytest.mark.parametrize("path", ["/query", "/mcp"])
def test_a_wrong_token_is_told_before_a_wrong_body(
    stack: Stack, path: str, body: list[str], token: str | None
) -> None:
    given = [] if token is None else [f"Authorization: Bearer {token}"]
    sent = b"" if "Expect" in body[-1] else b"{"
    answer = stack.raw(post(CLOSE, *given, *body, path=path, body=sent))
    assert problem_in(answer)["status"] == 401


@pytest.mark.parametrize("path", ["/query", "/ai/chat", "/v1/chat/completions", "/mcp"])
def test_nobody_without_a_token_has_a_body_read(stack: Stack, path: str) -> None:
    answer = stack.raw(post("Content-Length: 1000000", "Expect: 100-continue", CLOSE, path=path))
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_large_body_is_refused_before_it_is_sent(stack: Stack) -> None:
    request = post(
        token_of(stack), "Content-Length: 1073741824", "Expect: 100-continue", "Connection: close"
    )
    assert problem_in(stack.raw(request))["status"] == 413


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("megabytes", [5, 17, 200])
def test_large_body_is_refused_when_all_of_it_has_come(
    stack: Stack, megabytes: int, *, chunked: bool
) -> None:
    """Most clients do not look for an answer before that."""
    assert status_of_large_body(stack, 5, chunked=chunked) == 413  # all is loaded from now on
    before = memory_of(stack)
    assert status_of_large_body(stack, megabytes, chunked=chunked) == 413
    wait_until(lambda: memory_of(stack) - before < 16 << 20)


def status_of_large_body(stack: Stack, megabytes: int, *, chunked: bool) -> int:
    """Send a body of so many MiB to its end, and only then read the answer."""
    length = megabytes << 20
    piece = b"x" * (1 << 20)
    head = (token_of(stack), CLOSE)
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as sock:
        if chunked:
            sock.sendall(post(*head, "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n"))
        else:
            sock.sendall(post(*head, f"Content-Length: {length}"))
        for _ in range(megabytes):
            sock.sendall(b"%X\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            sock.sendall(b"0\r\nX-Trailer: y\r\n\r\n")
        sock.setblocking(True)
        answer = b""
        while data := sock.recv(65536):
            answer += data
    status = problem_in(answer)["status"]
    assert isinstance(status, int)
    return status


def memory_of(stack: Stack) -> int:
    """Bytes that the HTTP process and its child have for themselves."""
    children = Path(f"/proc/{stack.process.pid}/task/{stack.process.pid}/children").read_text()
    total = 0
    for pid in [stack.process.pid, *map(int, children.split())]:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))
    return total


def test_large_body_that_does_not_come_is_refused_all_the_same(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as sock:
        sock.sendall(post(token_of(stack), "Content-Length: 17000000", body=b"x" * 1000))
        answer = b""
        while data := sock.recv(65536):
            answer += data
    assert problem_in(answer)["status"] == 413


def test_body_beyond_measure_is_refused_before_all_of_it_is_sent(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as sock:
        sock.sendall(post(token_of(stack), "Content-Length: 1099511627776"))
        sent = 0
        try:
            while sent < 64 << 20:
                sent += sock.send(b"x" * 65536)
        except OSError:
            pass
        assert sent < 64 << 20
        assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_client_that_waits_to_continue_is_told_to(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as sock:
        token = f"Authorization: Bearer {stack.token('alice')}"
        sock.sendall(post(token, "Content-Length: 8", "Expect: 100-continue", "Connection: close"))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"SELECT 1")
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"100 Continue" not in answer


def test_chunked_body_is_put_together(stack: Stack) -> None:
    token = f"Authorization: Bearer {stack.token('alice')}"
    body = b"7;a=b\r\nSELECT \r\n7\r\n42 AS a\r\n0\r\nX: y\r\n\r\n"
    answer = stack.raw(post(token, "Transfer-Encoding: chunked", "Connection: close", body=body))
    assert b'{"a":42}' in answer


CHUNKED: list[tuple[str, dict[str, Any], int]] = [
    ("/query", {"sql": "SELECT 1"}, 200),
    ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, 200),
    ("/ai/chat", {"messages": [{"role": "user", "content": "Hello?"}]}, 503),  # there is no key
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello?"}]}, 503),
    ("/console/session", {"token": "no token"}, 401),
]


@pytest.mark.parametrize(("path", "body", "status"), CHUNKED)
def test_chunked_json_is_read_by_every_route(
    stack: Stack, path: str, body: dict[str, Any], status: int
) -> None:
    text = json.dumps(body).encode()
    chunks = b"".join(b"%X\r\n%s\r\n" % (len(c), c) for c in (text[:7], text[7:]))
    headers = [
        token_of(stack),
        "Transfer-Encoding: chunked",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream, */*",
        "MCP-Protocol-Version: 2025-06-18",
        CLOSE,
    ]
    answer = stack.raw(post(*headers, path=path, body=chunks + b"0\r\n\r\n"))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"not JSON" not in answer


def test_address_of_ours_in_the_request_line_stands_above_the_header(stack: Stack) -> None:
    line = b"GET http://localhost:8080/health HTTP/1.1\r\nHost: evil.example\r\n"
    answer = stack.raw(line + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


def test_what_the_loop_refuses_is_counted(stack: Stack) -> None:
    def refused() -> int:
        text = stack.request("GET", "/metrics").body.decode()
        found = re.findall(r'requests_total\{method="none",route="none",status="400"\} (\S+)', text)
        return int(float(found[0])) if found else 0

    before = refused()
    stack.raw(post("Content-Length: many"))
    stack.raw(b"hello\r\n\r\n")
    assert refused() == before + 2


def test_requests_may_come_all_at_once(stack: Stack) -> None:
    one = b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = stack.raw(one * 3 + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 4
    assert answer.endswith(b'{"status": "healthy"}')


def test_byte_by_byte_is_a_request_too(stack: Stack) -> None:
    request = b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            sock.send(bytes([byte]))
        assert sock.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_large_requests_that_linger_cost_small_ones_nothing(stack: Stack) -> None:
    """There is room for 48 MiB of requests that are not complete yet."""
    large = []
    try:
        for _ in range(16):
            sock = socket.create_connection(("127.0.0.1", stack.port), timeout=30)
            head = post(token_of(stack), "Content-Length: 4000000")
            sock.sendall(head + b"x" * 3_900_000)
            large.append(sock)
        refused, _, _ = select.select(large, [], [], 20)
        assert 0 < len(refused) < len(large)
        token = f"Authorization: Bearer {stack.token('alice')}"
        with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as small:
            small.sendall(post(token, "Content-Length: 8", "Connection: close", body=b"SELE"))
            time.sleep(0.2)
            small.sendall(b"CT 1")
            assert small.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
        document = problem_in(refused[0].recv(65536))
        assert document["status"] == 503
        assert document["retry_after"] == 1
    finally:
        for sock in large:
            sock.close()


def test_client_that_reads_none_of_its_answers_holds_up_nobody(stack: Stack) -> None:
    def answered() -> float:
        text = stack.request("GET", "/metrics").body.decode()
        (line,) = re.findall(
            r'http_requests_total\{method="GET",route="/live",.* (\S+)$', text, re.MULTILINE
        )
        return float(line)

    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", stack.port))
        deaf.sendall(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n" * 20_000)
        stack.request("GET", "/live")
        before, now = 0.0, answered()
        while before != now:  # until there is no room for another answer
            time.sleep(0.5)
            before, now = now, answered()
        assert now < 20_000
        began = time.monotonic()
        assert stack.request("GET", "/health").status == 200
        assert stack.request("GET", "/ready").status == 200
        assert time.monotonic() - began < 10


def test_slow_clients_cost_nobody_else_anything(stack: Stack) -> None:
    slow = []
    for number in range(300):
        sock = socket.create_connection(("127.0.0.1", stack.port), timeout=30)
        if number % 3 == 0:
            sock.sendall(b"POST /query HTTP/1.1\r\nHost: a\r\nX-Slow")
        elif number % 3 == 1:
            sock.sendall(post("Content-Length: 1000", body=b"SELECT"))
        slow.append(sock)
    began = time.monotonic()
    for _ in range(20):
        assert stack.request("GET", "/ready").status == 200
    assert stack.query("alice", "SELECT 1 AS a").rows == [{"a": 1}]
    assert time.monotonic() - began < 10
    for sock in slow:
        sock.close()


def test_more_connections_than_there_may_be_push_out_the_idle(stack: Stack) -> None:
    idle: list[socket.socket] = []
    try:
        while len(idle) < 1200:
            idle.append(socket.create_connection(("127.0.0.1", stack.port), timeout=30))
        assert stack.request("GET", "/health").status == 200
    finally:
        for sock in idle:
            sock.close()


def test_slow_head_is_408_in_time(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nX-Slow: ")
        began = time.monotonic()
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    assert problem_in(answer)["status"] == 408
    assert connection.HEAD_SECONDS - 1 < time.monotonic() - began < connection.HEAD_SECONDS + 4
