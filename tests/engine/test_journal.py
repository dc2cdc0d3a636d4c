"""What a worker tells of its statements."""

from __future__ import annotations

import json
import threading

import pytest

from pondflight import control
from pondflight.engine.guards.journal import KEPT, masked
from tests.engine.conftest import MakeClient
from tests.flight import Client
from tests.waiting import wait_until

ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(1000000) b"


@pytest.fixture(autouse=True)
def fixture_owner(client: Client) -> None:
    client.act(control.CONFIGURE, b'{"owner": "ann"}')


@pytest.fixture(name="user")
def fixture_user(make_client: MakeClient) -> Client:
    return make_client(**{control.CALL_HEADER: "call-1"})


def shown(client: Client, text: str = "masked") -> list[dict[str, object]]:
    (answer,) = client.act(control.STATEMENTS, json.dumps({"text": text}).encode())
    statements: list[dict[str, object]] = json.loads(answer)["statements"]
    return statements


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 'a', 1.5, $$x$$, E'\\n' FROM t", "SELECT ?, ?, ?, ? FROM t"),
        (
            "CREATE SECRET s (TYPE postgres, PASSWORD 'p')",
            "CREATE SECRET s (TYPE postgres, PASSWORD ?)",
        ),
        ("SELECT 1 -- mine\n, 2 /* p */ FROM t", "SELECT ?, ? FROM t"),
        ('SELECT "1--x" FROM "a/*b"', 'SELECT "1--x" FROM "a/*b"'),
        ("SELECT 'it''s' AS é", "SELECT ? AS é"),
        ("SELECT $1, $name", "SELECT $1, $name"),
        ('SELECT "a"/* p */ . "b""c" -- p', 'SELECT "a" . "b""c"'),
        ("SELECT 0x1F, 12", "SELECT ?, ?"),
        ("SELECT U&'p'", "SELECT ?"),
        ("SELECT 'p", "SELECT ?"),
        ('SELECT "p', "SELECT ?"),
        ("SELECT $a$p", "SELECT ?"),
        ("SELECT /* p", "SELECT ?"),
    ],
)
def test_values_and_comments_are_not_shown(sql: str, expected: str) -> None:
    assert masked(sql).replace(" ,", ",") == expected


def test_statements_with_their_kind_state_and_rows(user: Client, client: Client) -> None:
    user.table("CREATE TABLE t AS SELECT range AS a FROM range(10)")
    user.table("SELECT * FROM t WHERE a > 5")
    user.table("DELETE FROM t WHERE a < 3")
    with pytest.raises(Exception, match="abc"):
        user.table("SELECT 'abc'::INT")
    failed, deleted, selected, created = shown(client)
    assert (created["kind"], created["rows"], created["state"]) == ("CREATE", 10, "done")
    assert (selected["text"], selected["rows"]) == ("SELECT * FROM t WHERE a > ?", 4)
    assert (deleted["kind"], deleted["rows"]) == ("DELETE", 3)
    assert failed["state"] == "failed"
    assert "abc" not in str(failed)
    assert "abc" in str(shown(client, "full")[0])
    assert {s["text"] for s in shown(client, "none")} == {""}


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT 2147483647::INT + 4711::INT", "Out of Range Error"),
        ("SELECT error('4711 is mine')", "Invalid Input Error"),
        ("SELECT error('Binder Error: mine')", "Invalid Input Error"),
        ("SELECT 'it''s mine'::INT", "Conversion Error"),
        ("SELECT 'mine'::DATE", "Conversion Error"),
        ("SELECT x FROM range(9)", "Binder Error: Referenced column ? not found in FROM clause!"),
        ("FROM nosuch", "Catalog Error: Table with name nosuch does not exist!"),
        ("SELECT nextval('mine')", "Catalog Error: Sequence with name ? does not exist!"),
        ("FROM query_table('mine')", "Catalog Error: Table with name ? does not exist!"),
        ("SELECT make_type('mine or')", "Catalog Error: Type with name ? does not exist!"),
        ("SELECT 4711 FROM", "Parser Error: syntax error at end of input"),
        ("SELECT x FROM range(9) LIMIT 8.5.5", "Parser Error: syntax error at or near ?"),
        ("SELECT 'mine' 'mine", "Parser Error: unterminated quoted string at or near ?"),
    ],
)
def test_values_in_errors_are_not_shown(user: Client, client: Client, sql: str, error: str) -> None:
    with pytest.raises(Exception, match=r"Error|mine"):
        user.table(sql)
    (entry,) = shown(client)
    assert entry["error"] == error


def test_what_cannot_be_bound_or_parsed_is_noted_once(
    make_client: MakeClient, client: Client
) -> None:
    for number, sql in enumerate(("SELECT nosuch", "SELEC 1", "DROP TABLE nosuch")):
        with pytest.raises(Exception, match=r"nosuch|SELEC"):
            make_client(**{control.CALL_HEADER: f"call-{number}"}).table(sql)
    states = [(s["text"], s["state"]) for s in shown(client)]
    assert states == [
        ("DROP TABLE nosuch", "failed"),
        ("SELEC ?", "failed"),
        ("SELECT nosuch", "failed"),
    ]


def test_only_the_last_ones_are_kept(user: Client, client: Client) -> None:
    for _ in range(KEPT + 5):
        user.table("SELECT 1")
    assert len(shown(client)) == KEPT


def test_a_running_statement_can_be_cancelled_once(user: Client, client: Client) -> None:
    failures: list[Exception] = []

    def run() -> None:
        try:
            user.table(ENDLESS)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: any(s["state"] == "running" for s in shown(client)))
    (running,) = [s for s in shown(client) if s["state"] == "running"]
    body = json.dumps({"statement": running["id"]}).encode()
    assert json.loads(client.act(control.CANCEL_STATEMENT, body)[0]) == {"cancelled": True}
    thread.join(20)
    assert "cancelled by an operator" in str(failures[0])
    assert shown(client)[0]["state"] == "cancelled"
    assert json.loads(client.act(control.CANCEL_STATEMENT, body)[0]) == {"cancelled": False}
