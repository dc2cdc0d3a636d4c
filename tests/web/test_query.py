from __future__ import annotations

import io
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from pondflight.telemetry import metrics
from pondflight.web.query import RESULTS_OF_ONE_USER
from tests.stack import Stack
from tests.waiting import wait_until

ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
JSON_LINES = "application/x-ndjson"

READ: dict[str, Callable[[bytes], pa.Table]] = {
    ARROW: lambda body: pa.ipc.open_stream(body).read_all(),
    PARQUET: lambda body: parquet.read_table(io.BytesIO(body)),
    "text/csv": lambda body: csv.read_csv(io.BytesIO(body)),
    JSON_LINES: lambda body: pa.Table.from_pylist([json.loads(x) for x in body.splitlines()]),
}

ENDLESS = "SELECT range AS a, range * 2 AS b FROM range(100000000000)"
ENDLESS_WITHOUT_ROWS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(1000000) b"


@pytest.mark.parametrize("form", READ)
def test_result_comes_in_the_form_that_was_asked_for(stack: Stack, form: str) -> None:
    answer = stack.query(
        "alice", "SELECT range AS n, 'é' || range AS t FROM range(300000)", accept=form
    )
    assert (answer.status, answer.headers["content-type"]) == (200, form)
    table = READ[form](answer.body)
    assert table.num_rows == 300_000
    assert table.slice(299_999).to_pylist() == [{"n": 299_999, "t": "é299999"}]


@pytest.mark.parametrize("form", READ)
def test_result_without_rows_has_its_columns(stack: Stack, form: str) -> None:
    answer = stack.query("alice", "SELECT 1 AS n WHERE false", accept=form)
    assert answer.status == 200
    if form != JSON_LINES:
        assert READ[form](answer.body).column_names == ["n"]
        assert READ[form](answer.body).num_rows == 0
    else:
        assert answer.body == b""


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON_LINES),
        ("*/*", JSON_LINES),
        ("text/*", "text/csv"),
        ("text/csv;q=0.1, application/parquet;q=0.2", PARQUET),
        (f"application/json, {ARROW}", ARROW),
        (f"{JSON_LINES};q=0, */*", ARROW),
        (f"{JSON_LINES};q=0, {ARROW};q=0, */*;q=0.5", "text/csv"),
        (f"{JSON_LINES};q=0.3, application/jsonl;q=0.9, {ARROW};q=0.5", JSON_LINES),
        ("text/csv;q=0.2, text/*;q=0.9, application/parquet;q=0.3", PARQUET),
        (ARROW.upper(), ARROW),
        (", text/csv, ,", "text/csv"),
        (",", JSON_LINES),
    ],
)
def test_accept_decides_the_form(stack: Stack, accept: str, expected: str) -> None:
    answer = stack.query("alice", "SELECT 1", accept=accept)
    assert answer.headers["content-type"] == expected
    assert "accept" in answer.headers["vary"].lower()


@pytest.mark.parametrize(
    "accept", ["application/json", "image/png", "nonsense", ";;;", "text/csv;q=0"]
)
def test_form_that_there_is_not_is_406(stack: Stack, accept: str) -> None:
    answer = stack.query("alice", "SELECT 1", accept=accept)
    assert answer.status == 406
    assert answer.headers["content-type"] == "application/problem+json"
    assert ARROW in answer.json["detail"]


@pytest.mark.parametrize(
    "kind",
    [
        "application/sql",
        "text/plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "TEXT/PLAIN",
    ],
)
def test_sql_is_the_body_itself(stack: Stack, kind: str) -> None:
    assert stack.query("alice", "SELECT 'a=b&c' AS x", content_type=kind).rows == [{"x": "a=b&c"}]


def test_parameters_by_position_and_by_name(stack: Stack) -> None:
    answer = stack.query(
        "alice",
        {
            "sql": "SELECT ? + 1 AS a, ? AS b, ?::DATE AS c, ? AS d",
            "parameters": [1, "x", "2024-02-03", None],
        },
    )
    assert answer.rows == [{"a": 2, "b": "x", "c": "2024-02-03", "d": None}]
    answer = stack.query(
        "alice",
        {"sql": "SELECT ?::DATE + ? AS day, ? AS b", "parameters": ["2026-01-31", 1, 2**31]},
    )
    assert answer.rows == [{"day": "2026-02-01", "b": 2**31}]
    answer = stack.query("alice", {"sql": "SELECT $who AS a", "parameters": {"who": "x'; --"}})
    assert answer.rows == [{"a": "x'; --"}]


def test_parameters_by_name_are_those_of_the_statement(stack: Stack) -> None:
    both = {"sql": "SELECT $a AS a, $b AS b"}
    swapped = stack.query("alice", both | {"parameters": {"b": 2, "a": 1}})
    assert swapped.rows == [{"a": 1, "b": 2}]
    numbered = {"sql": "SELECT $1 AS a, $2 AS b", "parameters": {"2": "y", "1": "x"}}
    assert stack.query("alice", numbered).rows == [{"a": "x", "b": "y"}]
    for names in ({"x": 1, "y": 2}, {"a": 1, "x": 2}, {"1": 1, "2": 2}):
        refused = stack.query("alice", both | {"parameters": names})
        assert (refused.status, refused.json["status"]) == (400, 400)
        assert "no value was bound for the parameter $" in refused.json["detail"]
    unnamed = stack.query("alice", {"sql": "SELECT ?", "parameters": {"a": 1}})
    assert unnamed.status == 400


def test_whole_numbers_have_all_their_digits(stack: Stack) -> None:
    numbers = [2**31 - 1, -(2**31), 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**37 + 1]
    columns = ", ".join(f"? AS c{n}" for n in range(len(numbers)))
    answer = stack.query("alice", {"sql": f"SELECT {columns}", "parameters": numbers})
    assert list(answer.rows[0].values()) == numbers
    too_large = stack.query("alice", {"sql": "SELECT ?", "parameters": [10**38]})
    assert too_large.status == 400


def test_statement_for_effect_gives_its_count(stack: Stack) -> None:
    assert stack.query("counter", "CREATE OR REPLACE TABLE t (a INT)").status == 200
    answer = stack.query("counter", {"sql": "INSERT INTO t VALUES (?), (2)", "parameters": [1]})
    assert answer.rows == [{"Count": 2}]
    assert stack.query("counter", "INSERT INTO t VALUES (3)").rows == [{"Count": 1}]
    assert stack.query("counter", "SELECT sum(a) AS s FROM t").rows == [{"s": 6}]


def test_http_and_flight_are_the_same_worker(stack: Stack) -> None:
    stack.query("both", "CREATE OR REPLACE TABLE t AS SELECT 7 AS a")
    client = stack.flight("both")
    assert client.rows("SELECT a FROM t") == [(7,)]
    client.close()
    assert stack.query("another", "SELECT * FROM t").status == 400


def test_mistake_in_the_sql_has_its_position(stack: Stack) -> None:
    sql = "SELECT 1,\n  'é', nothing\nFROM range(3)"
    answer = stack.query("alice", sql)
    problem = answer.json
    assert answer.status == problem["status"] == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "urn:pondflight:problem:sql"
    assert problem["position"] == {"line": 2, "column": 8, "offset": sql.index("nothing")}
    assert "nothing" in problem["detail"]


def test_mistake_that_shows_with_the_rows_is_an_answer_too(stack: Stack) -> None:
    answer = stack.query("alice", "SELECT (range || 'x')::INT AS a FROM range(10)")
    assert answer.status == 400
    assert "Conversion Error" in answer.json["detail"]


def test_mistake_after_the_first_rows_is_an_answer_where_none_are_sent(stack: Stack) -> None:
    """Parquet is sent by the row group, so its first bytes come late."""
    sql = "SELECT CASE WHEN range = 100000 THEN ('x' || range)::INT END AS a FROM range(200000)"
    answer = stack.query("alice", sql, accept=PARQUET)
    assert answer.status == 400
    assert answer.json["type"] == "urn:pondflight:problem:sql"


BODIES = {
    "not JSON": ("{", "the body is not JSON"),
    "not an object": ("[1]", "must be a JSON object"),
    "NaN": ('{"sql": "SELECT ?", "parameters": [NaN]}', "NaN is not a JSON value"),
    "unknown field": ('{"sql": "SELECT 1", "limit": 3}', "unknown field 'limit'"),
    "no sql": ("{}", '"sql" is missing'),
    "sql a number": ('{"sql": 1}', '"sql" must be a string'),
    "blank": ('{"sql": " "}', "no statement"),
    "NUL": ('{"sql": "SELECT \\u0000"}', "control character"),
    "half a character": ('{"sql": "SELECT \'\\ud800\'"}', "control character"),
    "parameters a string": ('{"sql": "SELECT ?", "parameters": "x"}', "must be an array"),
    "mixed list": ('{"sql": "SELECT ?", "parameters": [[1, "a"]]}', "no SQL type"),
    "nests deeply": (
        '{"sql": "SELECT ?", "parameters": ' + "[" * 5000 + "]" * 5000 + "}",
        "deeply",
    ),
    "too few": ('{"sql": "SELECT ?, ?", "parameters": [1]}', "parameter"),
}


@pytest.mark.parametrize("case", BODIES)
def test_body_that_is_of_no_use_is_400(stack: Stack, case: str) -> None:
    body, part = BODIES[case]
    answer = stack.query("alice", body, content_type="application/json")
    assert (answer.status, answer.json["status"]) == (400, 400)
    assert part in answer.json["detail"]


def test_body_of_another_type_is_415(stack: Stack) -> None:
    assert stack.query("alice", "<a/>", content_type="application/xml").status == 415


def test_body_that_is_packed_is_415(stack: Stack) -> None:
    answer = stack.query("alice", b"\x1f\x8b\x08", content_encoding="gzip")
    assert answer.status == 415
    assert "Content-Encoding" in answer.json["detail"]


def test_body_that_is_no_text_is_400(stack: Stack) -> None:
    assert stack.query("alice", b"SELECT '\xff'").status == 400
    assert stack.query("alice", b"").status == 400


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer x", "Basic dTpw", "Bearer a b", "Bearer " + "x" * 9000]
)
def test_without_a_valid_token_it_is_401(stack: Stack, authorization: str) -> None:
    answer = stack.query("alice", "SELECT 1", authorization=authorization)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert "xxx" not in answer.body.decode()


# sessions


def test_session_keeps_what_belongs_to_it(stack: Stack) -> None:
    session = "0123456789abcdef"
    stack.query("s", "CREATE TEMP TABLE mine AS SELECT 5 AS a", pondflight_session=session)
    by_header = stack.query("s", "SELECT a FROM mine", pondflight_session=session)
    by_cookie = stack.query("s", "SELECT a FROM mine", cookie=f"arrow_flight_session_id={session}")
    assert by_header.rows == by_cookie.rows == [{"a": 5}]
    assert stack.query("s", "SELECT a FROM mine").status == 400
    assert stack.query("t", "SELECT a FROM mine", pondflight_session=session).status == 400
    authorization = f"Bearer {stack.token('s')}"
    ended = stack.request(
        "DELETE", "/session", authorization=authorization, pondflight_session=session
    )
    assert ended.status == 204
    assert stack.query("s", "SELECT a FROM mine", pondflight_session=session).status == 400


def test_tables_that_went_with_their_worker_are_told_of_once(stack: Stack) -> None:
    stack.query("lossy", "CREATE TABLE mine AS SELECT 5 AS a")
    stopped = stack.pool.stats()["total_stopped"]
    key = stack.pool.key_of("lossy")
    (worker,) = (one for one in stack.pool.backend.list_workers() if one.user == key)
    os.kill(int(worker.id), signal.SIGKILL)
    wait_until(lambda: stack.pool.stats()["total_stopped"] > stopped)
    told = stack.query("lossy", "SELECT a FROM mine")
    assert told.status == 503
    assert "so are tables in memory" in told.json["detail"]
    assert stack.query("lossy", "SELECT a FROM mine").status == 400


@pytest.mark.parametrize("name", ["short", "a" * 65, "0123456789abcde;", "0123456789abcdeé"])
def test_session_of_a_bad_name_is_400(stack: Stack, name: str) -> None:
    answer = stack.query("s", "SELECT 1", pondflight_session=name)
    assert answer.status == 400
    authorization = f"Bearer {stack.token('s')}"
    assert stack.request("DELETE", "/session", authorization=authorization).status == 400


# streams


def running(stack: Stack, sub: str) -> int:
    return sum(1 for call in stack.proxy.calls.running() if call.identity.identity.sub == sub)


def start(
    stack: Stack, sub: str, sql: str, version: str = "1.1", form: str = ARROW
) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", stack.port), timeout=60)
    head = (
        f"POST /query HTTP/{version}\r\nHost: localhost\r\nAccept: {form}\r\n"
        f"Authorization: Bearer {stack.token(sub)}\r\nContent-Length: {len(sql)}\r\n\r\n"
    )
    sock.sendall(head.encode() + sql.encode())
    return sock


@pytest.mark.parametrize("sql", [ENDLESS, ENDLESS_WITHOUT_ROWS, f"CREATE TABLE x AS {ENDLESS}"])
def test_client_that_hangs_up_stops_its_statement(stack: Stack, sql: str) -> None:
    sub = f"gone-{abs(hash(sql))}"
    stack.query(sub, "SELECT 1")
    sock = start(stack, sub, sql)
    wait_until(lambda: running(stack, sub) > 0)
    sock.close()
    began = time.monotonic()
    wait_until(lambda: running(stack, sub) == 0)
    assert stack.query(sub, "SELECT 1 AS a").rows == [{"a": 1}]
    assert time.monotonic() - began < 15


def test_client_that_hangs_up_behind_its_next_request_does_so_too(stack: Stack) -> None:
    stack.query("ahead", "SELECT 1")
    sock = start(stack, "ahead", ENDLESS_WITHOUT_ROWS)
    wait_until(lambda: running(stack, "ahead") > 0)
    sock.sendall(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(0.2)
    sock.close()
    wait_until(lambda: running(stack, "ahead") == 0)


def test_next_request_may_come_while_rows_are_sent(stack: Stack) -> None:
    sql = "SELECT sum(range) AS a FROM range(300000000)"
    sock = start(stack, "next", sql, form=JSON_LINES)
    for byte in b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n":
        sock.sendall(bytes([byte]))
    answer = b""
    while piece := sock.recv(65536):
        answer += piece
    sock.close()
    assert b'{"a":44999999850000000}' in answer
    assert answer.endswith(b'{"live": true}')


def test_slow_reader_is_waited_for_and_nothing_is_collected(stack: Stack) -> None:
    sock = start(stack, "slow", ENDLESS)
    sock.recv(1000)
    wait_until(lambda: running(stack, "slow") == 1)

    def sent() -> float:
        value: float = metrics.RESULT_BYTES._value.get()
        return value

    time.sleep(1)
    before = sent()
    time.sleep(1)
    assert sent() - before < 64 << 20
    sock.close()
    wait_until(lambda: running(stack, "slow") == 0)


@pytest.mark.parametrize("form", READ)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_stream_that_is_cut_is_no_clean_end(stack: Stack, form: str, version: str) -> None:
    sub = f"cut-{form[-5:]}-{version}"
    sock = start(stack, sub, ENDLESS, version, form)
    received = sock.recv(4096)
    assert received.startswith(b"HTTP/1.1 200 ")
    assert (b"chunked" in received.lower()) == (version == "1.1")
    wait_until(lambda: running(stack, sub) == 1)
    (call,) = [c for c in stack.proxy.calls.running() if c.identity.identity.sub == sub]
    lease = stack.pool.lease_running(call.identity.user)
    assert lease is not None
    os.kill(int(lease.worker.handle.id), signal.SIGKILL)
    lease.release()
    tail = received[-16:]
    with pytest.raises(ConnectionResetError):
        while piece := sock.recv(1 << 20):
            tail = (tail + piece)[-16:]
    assert not tail.endswith(b"0\r\n\r\n")
    sock.close()


def test_server_that_stops_leaves_no_result_that_looks_complete() -> None:
    stack = Stack()
    try:
        sock = start(stack, "alice", ENDLESS, form=JSON_LINES)
        assert sock.recv(1000)
        began = time.monotonic()
        stopping = threading.Thread(target=stack.process.close)
        stopping.start()
        tail = b""
        with pytest.raises(ConnectionResetError):
            while piece := sock.recv(1 << 20):
                tail = (tail + piece)[-16:]
        assert not tail.endswith(b"0\r\n\r\n")
        stopping.join()
        assert time.monotonic() - began < 8
        sock.close()
    finally:
        stack.close()


def test_who_reads_none_of_many_results_leaves_room_for_others(stack: Stack) -> None:
    socks = [start(stack, "hog", ENDLESS) for _ in range(RESULTS_OF_ONE_USER + 3)]
    try:
        wait_until(lambda: select.select(socks, [], [], 0)[0] == socks, 60)
        answers = [sock.recv(64).split()[1] for sock in socks]
        assert answers.count(b"429") == 3
        assert answers.count(b"200") == RESULTS_OF_ONE_USER
        assert stack.query("hog", "SELECT 1").status == 429
        assert stack.query("alice", "SELECT 1 AS a").rows == [{"a": 1}]
    finally:
        for sock in socks:
            sock.close()
    wait_until(lambda: stack.query("hog", "SELECT 1 AS a").status == 200)


def test_many_streams_leave_room_for_the_rest(stack: Stack) -> None:
    socks = [start(stack, "many", ENDLESS) for _ in range(20)]
    threads = [threading.Thread(target=sock.recv, args=(65536,)) for sock in socks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stack.request("GET", "/health").status == 200
    assert stack.query("alice", "SELECT 1 AS a").rows == [{"a": 1}]
    for sock in socks:
        sock.close()
    wait_until(lambda: running(stack, "many") == 0)
