"""The operators' side: who gets in, what they see, and what they can end."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from tests.stack import Answer, Stack
from tests.waiting import wait_until

ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(1000000) b"


def sign_in(stack: Stack, token: str, **headers: str) -> Answer:
    body = json.dumps({"token": token})
    headers = {"content_type": "application/json"} | headers
    return stack.request("POST", "/console/session", body, **headers)


@pytest.fixture(name="cookie")
def fixture_cookie(stack: Stack) -> str:
    answer = sign_in(stack, stack.token("root", admin=True))
    assert answer.status == 204
    return answer.headers["set-cookie"].split(";")[0]


def change(stack: Stack, path: str, body: Any, **headers: str) -> Answer:
    headers = {"content_type": "application/json"} | headers
    return stack.request("POST", path, json.dumps(body), **headers)


def status(stack: Stack, cookie: str) -> Any:
    answer = stack.request("GET", "/console/status", cookie=cookie)
    assert answer.status == 200
    return answer.json


def running(stack: Stack, cookie: str, user: str) -> list[Any]:
    found = status(stack, cookie)["statements"]
    return [s for s in found if s["user"] == user and s["state"] == "running"]


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(stack: Stack) -> None:
    answer = sign_in(stack, stack.token("root", admin=True))
    attributes = answer.headers["set-cookie"].lower().split("; ")
    assert {"httponly", "samesite=strict", "path=/console"} <= set(attributes)
    assert "secure" not in attributes
    by_tls = sign_in(stack, stack.token("root", admin=True), x_forwarded_proto="https")
    assert "secure" in by_tls.headers["set-cookie"].lower().split("; ")


def test_a_statement_whose_client_leaves_half_way_is_seen_as_cancelled(
    stack: Stack, cookie: str
) -> None:
    connection = stack.connect()
    headers = {"Authorization": f"Bearer {stack.token('leaver')}"}
    connection.request("POST", "/query", "FROM range(1000000000000)", headers)
    connection.getresponse().read(1 << 20)
    (entry,) = running(stack, cookie, "leaver")
    connection.close()
    wait_until(lambda: not running(stack, cookie, "leaver"))
    (found,) = [s for s in status(stack, cookie)["statements"] if s["id"] == entry["id"]]
    assert found["state"] == "cancelled"


def test_only_administrators_get_in(stack: Stack) -> None:
    assert sign_in(stack, stack.token("ann")).status == 403
    assert sign_in(stack, "nonsense").status == 401
    assert stack.request("GET", "/console/status").status == 401


def test_a_token_is_no_cookie_and_a_cookie_is_no_token(stack: Stack, cookie: str) -> None:
    token = stack.token("root", admin=True)
    forged = [f"pondflight_console={token}", "pondflight_console=", "pondflight_console=a.b.c"]
    forged.append(cookie[:-2] + ("aa" if cookie[-2:] != "aa" else "bb"))
    forged.append(f"{cookie}; {cookie}x")
    for value in forged:
        assert stack.request("GET", "/console/status", cookie=value).status == 401
    value = cookie.partition("=")[2]
    assert stack.query("root", "SELECT 1", authorization=f"Bearer {value}").status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"content_type": "text/plain"},
        {"content_type": "application/x-www-form-urlencoded"},
    ],
)
def test_what_another_site_sends_is_refused(
    stack: Stack, cookie: str, headers: dict[str, str]
) -> None:
    stack.query("victim", "SELECT 1")
    for path, body in (
        ("/console/workers/stop", {"worker": "victim"}),
        ("/console/statements/cancel", {"worker": "victim", "statement": "x"}),
        ("/console/session", {"token": stack.token("root", admin=True)}),
    ):
        answer = change(stack, path, body, cookie=cookie, **headers)
        assert answer.status in (403, 415)
        assert "set-cookie" not in answer.headers
    assert any(worker["user"] == "victim" for worker in status(stack, cookie)["workers"])


def test_another_site_cannot_sign_an_operator_out(stack: Stack, cookie: str) -> None:
    answer = stack.request(
        "DELETE", "/console/session", cookie=cookie, origin="https://evil.example"
    )
    assert answer.status == 403
    assert "set-cookie" not in answer.headers


def test_our_own_page_may(stack: Stack, cookie: str) -> None:
    stack.query("mine", "SELECT 1")
    host = f"127.0.0.1:{stack.port}"
    answer = change(
        stack,
        "/console/workers/stop",
        {"worker": "mine"},
        cookie=cookie,
        origin=f"http://{host}",
        sec_fetch_site="same-origin",
    )
    assert answer.status == 200
    wait_until(lambda: all(w["user"] != "mine" for w in status(stack, cookie)["workers"]))


def test_statements_are_seen_without_their_values(stack: Stack, cookie: str) -> None:
    stack.query("ann", "SELECT 'hunter2' AS password, 42 AS n -- hunter2")
    stack.query("ann", "SELECT 'hunter2'::INT")
    stack.query("ann", "SELECT * FROM range(1234)")
    found = [s for s in status(stack, cookie)["statements"] if s["user"] == "ann"]
    assert "hunter2" not in json.dumps(found)
    texts = {s["text"]: s for s in found}
    done = texts["SELECT ? AS password, ? AS n"]
    assert (done["state"], done["rows"], done["kind"]) == ("done", 1, "SELECT")
    assert texts["SELECT * FROM range(?)"]["rows"] == 1234


def test_a_statement_is_cancelled_and_its_user_is_told(stack: Stack, cookie: str) -> None:
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(stack.query("slow", ENDLESS)))
    thread.start()
    wait_until(lambda: len(running(stack, cookie, "slow")) == 1, 30)
    (statement,) = running(stack, cookie, "slow")
    body = {"worker": statement["worker"], "statement": statement["id"]}
    assert change(stack, "/console/statements/cancel", body, cookie=cookie).status == 200
    thread.join(20)
    assert answers[0].status == 503
    assert answers[0].json["type"].endswith(":cancelled")
    found = [s for s in status(stack, cookie)["statements"] if s["id"] == statement["id"]]
    assert found[0]["state"] == "cancelled"
    again = change(stack, "/console/statements/cancel", body, cookie=cookie)
    assert again.status == 404


def test_a_busy_worker_is_stopped_and_its_user_is_told(stack: Stack, cookie: str) -> None:
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(stack.query("busy", ENDLESS)))
    thread.start()
    wait_until(lambda: len(running(stack, cookie, "busy")) == 1, 30)
    (worker,) = [w for w in status(stack, cookie)["workers"] if w["user"] == "busy"]
    assert worker["state"] == "busy"
    assert worker["memory"] > 10_000_000
    answer = change(stack, "/console/workers/stop", {"worker": worker["id"]}, cookie=cookie)
    assert answer.status == 200
    thread.join(20)
    assert answers[0].status == 503
    assert stack.query("busy", "SELECT 1 AS n").rows == [{"n": 1}]  # in a new worker


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/console/workers/stop", {"worker": "nobody"}, 404),
        ("/console/workers/stop", {}, 400),
        ("/console/workers/stop", {"worker": 5}, 400),
        ("/console/workers/stop", {"worker": "x", "more": 1}, 400),
        ("/console/workers/stop", [], 400),
        ("/console/statements/cancel", {"worker": "nobody", "statement": "x"}, 404),
    ],
)
def test_a_wrong_request_is_a_problem_document(
    stack: Stack, cookie: str, path: str, body: Any, code: int
) -> None:
    answer = change(stack, path, body, cookie=cookie)
    assert answer.status == code
    assert answer.headers["content-type"] == "application/problem+json"


def test_signing_out_takes_the_cookie_away(stack: Stack, cookie: str) -> None:
    answer = stack.request(
        "DELETE", "/console/session", cookie=cookie, content_type="application/json"
    )
    assert answer.status == 204
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith('pondflight_console=""; expires=')
    assert "path=/console" in cookie


def test_a_copy_of_the_cookie_ends_with_the_signing_out(stack: Stack, cookie: str) -> None:
    other = sign_in(stack, stack.token("root", admin=True)).headers["set-cookie"].split(";")[0]
    for _ in range(2):
        stack.request("DELETE", "/console/session", cookie=cookie, content_type="application/json")
        assert stack.request("GET", "/console/status", cookie=cookie).status == 401
    assert status(stack, other)["ready"] is True
