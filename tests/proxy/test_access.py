"""Tokens, sessions that the server hands out, and what users must not reach."""

from __future__ import annotations

import base64
import json
import threading
from datetime import timedelta

import jwt
import pyarrow as pa
import pytest
from adbc_driver_flightsql import dbapi
from pyarrow import flight

from pondflight import control
from pondflight.errors import Unauthenticated
from pondflight.flightsql import wire
from tests.flight import Client
from tests.proxy.conftest import Deployment, MakeDeployment
from tests.waiting import wait_until


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # made on purpose
def test_wrong_tokens_are_all_refused_with_the_same_words(shared: Deployment) -> None:
    good = shared.token("someone")
    wrong = [
        "",
        "garbage",
        good[:-2],
        jwt.encode({"sub": "x", "exp": 9e9}, "another secret, long enough for HS256"),
        jwt.encode({"sub": "x", "exp": 1}, shared.secret),
        jwt.encode({"sub": "x"}, shared.secret),
        jwt.encode({"exp": 9e9}, shared.secret),
        jwt.encode({"sub": "x", "exp": 9e9}, "", algorithm="none"),
        jwt.encode({"sub": "x", "exp": 9e9}, shared.secret, algorithm="HS512"),
    ]
    for token in wrong:
        client = Client(shared.uri, token)
        with pytest.raises(flight.FlightUnauthenticatedError) as caught:
            client.info("SELECT 1")
        assert str(caught.value).startswith(Unauthenticated.TEXT)
        client.close()


def test_adbc_keeps_its_session_from_call_to_call(shared: Deployment, user: str) -> None:
    with (
        shared.connect(user, autocommit=True) as one,
        shared.connect(user, autocommit=True) as two,
    ):
        with one.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE t AS SELECT 7 AS n")
            cursor.execute("SET VARIABLE v = 3")
        with one.cursor() as cursor:
            cursor.execute("SELECT n, getvariable('v') FROM t")
            assert cursor.fetchall() == [(7, 3)]
        with two.cursor() as cursor:
            cursor.execute("SELECT getvariable('v')")
            assert cursor.fetchall() == [(None,)]


def test_a_cookie_is_a_session(shared: Deployment, user: str) -> None:
    mine = shared.client(user, cookie="arrow_flight_session_id=0123456789abcdef")
    java = shared.client(user, cookie='arrow_flight_session_id="0123456789abcdef";$Path="/"')
    other = shared.client(user)
    mine.info("SET VARIABLE v = 3")
    assert java.rows("SELECT getvariable('v')") == [(3,)]
    assert other.rows("SELECT getvariable('v')") == [(None,)]


@pytest.mark.parametrize(
    "cookie", ["arrow_flight_session_id=transaction:1", "{{{", "a=b", "x" * 999]
)
def test_a_cookie_that_is_no_session_is_ignored(shared: Deployment, user: str, cookie: str) -> None:
    assert shared.client(user, cookie=cookie).rows("SELECT 1") == [(1,)]


def test_a_session_token_lives_no_longer_than_the_token_it_came_from(shared: Deployment) -> None:
    token = shared.tokens.mint("someone", timedelta(minutes=5))
    identity = shared.tokens.verify(token)
    session = shared.tokens.verify(shared.tokens.mint_session(identity, "0123456789abcdef"))
    assert session.session == "0123456789abcdef"
    assert session.expires_at == identity.expires_at
    assert session.sub == "someone"


@pytest.mark.parametrize("padded", [True, False])
def test_a_token_as_the_password_of_basic(shared: Deployment, user: str, padded: bool) -> None:
    with dbapi.connect(
        shared.uri,
        db_kwargs={"username": "token", "password": shared.token(user)},
        autocommit=True,
    ) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 42")
            assert cursor.fetchall() == [(42,)]
    basic = base64.b64encode(f"token:{shared.token(user)}".encode()).decode()
    basic = basic if padded else basic.rstrip("=")
    client = flight.FlightClient(shared.uri)
    options = flight.FlightCallOptions(headers=[(b"authorization", f"Basic {basic}".encode())])
    info = client.get_flight_info(flight.FlightDescriptor.for_command(b"SELECT 1"), options)
    assert info.schema.names == ["1"]
    client.close()


@pytest.mark.parametrize("password", ["wrong", ""])
def test_a_wrong_password_is_unauthenticated(shared: Deployment, password: str) -> None:
    with pytest.raises(Exception, match="authentication failed"):
        dbapi.connect(shared.uri, db_kwargs={"username": "token", "password": password}).close()


@pytest.mark.parametrize("action", [control.CONFIGURE, control.STATUS])
def test_the_control_channel_is_closed_to_users(shared: Deployment, user: str, action: str) -> None:
    with pytest.raises(pa.ArrowNotImplementedError, match="unknown action"):
        shared.client(user).act(action, b"{}")


def test_a_user_can_cancel_no_call_of_anothers(shared: Deployment, user: str) -> None:
    slow = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(1000000) b"
    theirs = shared.client(f"{user}-2", **{control.CALL_HEADER: "the-call"})
    raised: list[Exception] = []

    def run() -> None:
        try:
            theirs.rows(slow)
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    mine = shared.client(user)
    wait_until(lambda: any(c.method == "do_get" for c in shared.proxy.calls.running()))
    assert mine.act(control.CANCEL, b"the-call") == [b'{"cancelled": false}']
    assert thread.is_alive()
    again = shared.client(f"{user}-2")
    assert again.act(control.CANCEL, b"the-call") == [b'{"cancelled": true}']
    thread.join(20)
    assert isinstance(raised[0], flight.FlightCancelledError)


def test_the_pools_status_is_for_administrators(shared: Deployment, user: str) -> None:
    with pytest.raises(flight.FlightUnauthorizedError, match="for administrators"):
        shared.client(user).act(control.POOL_STATUS)
    admin = Client(shared.uri, shared.token("root", admin=True))
    (status,) = admin.act(control.POOL_STATUS)
    assert b'"active"' in status
    admin.close()


def test_a_call_of_our_own_gets_what_it_asks_for_and_nothing_else(shared: Deployment) -> None:
    client = Client(shared.uri, shared.tokens.mint_call("web", control.POOL_STATUS, 5))
    (status,) = client.act(control.POOL_STATUS)
    assert json.loads(status)["ready"] is True
    for action in (control.METRICS, control.WORKERS, control.STOP_WORKER, control.CANCEL):
        with pytest.raises(flight.FlightUnauthorizedError):
            client.act(action)
    with pytest.raises(flight.FlightUnauthorizedError):
        client.act("GetSessionOptions")
    with pytest.raises(flight.FlightUnauthenticatedError):
        client.rows("SELECT 1")
    client.close()


def test_a_ticket_of_another_user_shows_nothing_of_theirs(shared: Deployment, user: str) -> None:
    """The token decides the worker, never the ticket."""
    owner, thief = shared.client(user), shared.client(f"{user}-thief")
    owner.info("CREATE TABLE diary AS SELECT 'dear diary' AS line")
    lazily = owner.info("SELECT * FROM diary").endpoints[0].ticket
    at_once = owner.info("INSERT INTO diary VALUES ('more') RETURNING line").endpoints[0].ticket
    for ticket in (lazily, at_once):
        with pytest.raises((pa.ArrowInvalid, pa.ArrowKeyError)) as caught:
            thief.flight.do_get(ticket, thief.options()).read_all()
        assert "dear diary" not in str(caught.value).replace("SELECT * FROM diary", "")


def test_metadata_that_is_the_same_for_all_needs_no_worker(
    shared: Deployment, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.pool, "prestart", lambda _: None)
    client = shared.client(user)
    before = shared.pool.started
    assert client.rows(wire.pack(wire.new("CommandGetSqlInfo", info=[0]))) == [(0, "pondflight")]
    assert client.act("CloseSession")
    assert (
        client.act(
            "ClosePreparedStatement",
            wire.pack(
                wire.new("ActionClosePreparedStatementRequest", prepared_statement_handle=b"x")
            ),
        )
        == []
    )
    assert shared.pool.started == before


def test_a_draining_proxy_takes_no_new_statement_but_finishes_what_it_promised(
    make_deployment: MakeDeployment, user: str
) -> None:
    deployment = make_deployment()
    client = deployment.client(user)
    info = client.info("SELECT 42 AS n")
    deployment.proxy.draining = True
    with pytest.raises(flight.FlightUnavailableError, match="shutting down"):
        client.info("SELECT 1")
    table = client.flight.do_get(info.endpoints[0].ticket, client.options()).read_all()
    assert table.to_pylist() == [{"n": 42}]
