"""Who calls: tokens, passwords, cookies and sessions."""

from __future__ import annotations

import base64
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pondflight.auth.tokens import Tokens, bearer
from pondflight.control import SESSION_COOKIE as COOKIE
from pondflight.errors import Unauthenticated
from pondflight.proxy.callers import CallerCheck

TOKENS = Tokens("kW8rX2vN5qT9zL4mB7cJ1hG6fD3sA0pY")
CHECK = CallerCheck(TOKENS)
HOUR = timedelta(hours=1)


def basic(user: str, password: str, *, padded: bool = True, scheme: str = "Basic") -> list[str]:
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return [f"{scheme} {encoded if padded else encoded.rstrip('=')}"]


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
@pytest.mark.parametrize(
    ("sub", "user"),
    [
        ("ada", "token"),
        ("ada", "ada"),
        ("a:d:a", "a:d:a"),
        ("Zoë 🦆", "Zoë 🦆"),
        ("adaa", "adaa"),  # of several lengths, so that all kinds of padding are met
        ("adaaa", "adaaa"),
    ],
)
def test_a_token_is_the_password_of_its_own_user_or_of_token(
    sub: str, user: str, scheme: str, *, padded: bool
) -> None:
    headers = {"authorization": basic(user, TOKENS.mint(sub, HOUR), padded=padded, scheme=scheme)}
    caller = CHECK.authenticate("handshake", headers)
    assert caller.identity.sub == sub
    answer = CHECK.response_headers("handshake", headers, caller)["authorization"]
    again = CHECK.authenticate("get_flight_info", {"authorization": [answer]})
    assert (again.identity.sub, again.session) == (sub, caller.offered)


@pytest.mark.parametrize(
    "header",
    [
        basic("bob", TOKENS.mint("ada", HOUR)),
        basic("Ada", TOKENS.mint("ada", HOUR)),
        basic("", TOKENS.mint("ada", HOUR)),
        basic("token", ""),
        basic("token", "wrong"),
        basic("token", TOKENS.mint("ada", HOUR)[:-2]),
        ["Basic"],
        ["Basic !!!"],
        ["Basic /w=="],
        ["Basic dG9rZW4="],  # no colon
        ["Digest x"],
        ["Bearer"],
        ["Bearer a b"],
        ["Bearer ä"],
        [f"Bearer {TOKENS.mint('ada', HOUR)[:9]}\t{TOKENS.mint('ada', HOUR)[9:]}"],
        ["Bearer\tx"],
        [""],
        [],
    ],
)
def test_everything_else_is_refused_with_one_text(header: list[str]) -> None:
    with pytest.raises(Unauthenticated, match="authentication failed"):
        CHECK.authenticate("handshake", {"authorization": header})


def test_a_session_comes_from_the_token_before_the_cookie() -> None:
    token = TOKENS.mint("ada", HOUR)
    session = TOKENS.mint_session(TOKENS.verify(token), "from-the-token--")
    cookie = f"{COOKIE}=from-the-cookie-"
    for headers, expected in (
        ({"authorization": [f"Bearer {session}"], "cookie": [cookie]}, "from-the-token--"),
        ({"authorization": [f"Bearer {token}"], "cookie": [cookie]}, "from-the-cookie-"),
        ({"authorization": [f"Bearer {token}"]}, ""),
    ):
        caller = CHECK.authenticate("do_get", headers)
        assert caller.session == expected
        assert (caller.offered is None) == bool(expected)


@pytest.mark.parametrize(
    "cookie",
    [
        f'{COOKIE}="from-the-cookie-";$Path="/"',  # Java
        f"other=x; {COOKIE}=from-the-cookie-",
        f"{COOKIE}=from-the-cookie-; other=x",
    ],
)
def test_cookies_as_clients_send_them(cookie: str) -> None:
    headers = {"authorization": [f"Bearer {TOKENS.mint('ada', HOUR)}"], "cookie": [cookie]}
    assert CHECK.authenticate("do_get", headers).session == "from-the-cookie-"


@pytest.mark.parametrize(
    "cookie", ["", "=", f"{COOKIE}=short", f"{COOKIE}={'x' * 65}", f"{COOKIE}=with spaces in it!"]
)
def test_a_cookie_that_is_not_ours_is_no_session(cookie: str) -> None:
    headers = {"authorization": [f"Bearer {TOKENS.mint('ada', HOUR)}"], "cookie": [cookie]}
    assert CHECK.authenticate("do_get", headers).session == ""


def test_a_new_client_is_offered_a_session_both_ways() -> None:
    headers = {"authorization": [f"Bearer {TOKENS.mint('ada', HOUR)}"]}
    caller = CHECK.authenticate("get_flight_info", headers)
    answer = CHECK.response_headers("get_flight_info", headers, caller)
    assert answer["set-cookie"] == f"{COOKIE}={caller.offered}"
    assert TOKENS.verify(bearer(answer["authorization"])).session == caller.offered


def several(*tokens: str) -> list[str]:
    return [f"Bearer {token}" for token in tokens]


def test_a_session_is_found_whatever_the_order_of_the_tokens() -> None:
    token = TOKENS.mint("ada", HOUR)
    session = TOKENS.mint_session(TOKENS.verify(token), "one-of-hers-----")
    for order in ((token, token, session), (session, token, token), (token, session, token)):
        caller = CHECK.authenticate("do_get", {"authorization": several(*order)})
        assert (caller.identity.sub, caller.session) == ("ada", "one-of-hers-----")
        assert caller.offered is None
        assert CHECK.response_headers("do_get", {}, caller) == {}


def test_values_that_a_front_has_joined_are_the_same_values() -> None:
    token = TOKENS.mint("ada", HOUR)
    session = TOKENS.mint_session(TOKENS.verify(token), "one-of-hers-----")
    password = basic("ada", token)
    for order in (
        [f"Bearer {token}, Bearer {session}"],
        [f"Bearer {session},Bearer {token}"],
        [f"{password[0]},bearer {session}"],
        [*password, f"Bearer {session} , Bearer {token}"],
    ):
        caller = CHECK.authenticate("do_get", {"authorization": order})
        assert (caller.identity.sub, caller.session) == ("ada", "one-of-hers-----")


@pytest.mark.parametrize("rest", ["Bearer {other}", "Basic dG9rZW46", "", "Digest x", "{token}"])
def test_what_contradicts_a_token_does_so_in_one_value_as_well(rest: str) -> None:
    token, other = TOKENS.mint("ada", HOUR), TOKENS.mint("bob", HOUR)
    rest = rest.format(other=other, token=token)
    for value in (f"Bearer {token},{rest}", f"{rest},Bearer {token}"):
        with pytest.raises(Unauthenticated):
            CHECK.authenticate("do_get", {"authorization": [value]})


def test_of_two_tokens_that_end_together_the_same_one_counts_in_any_order() -> None:
    tokens = several(*(TOKENS.mint("ada", HOUR, team=team) for team in ("red", "blue")))
    first, last = (
        CHECK.authenticate("do_get", {"authorization": order}) for order in (tokens, tokens[::-1])
    )
    assert first.identity.claims == last.identity.claims


@pytest.mark.parametrize("claims", [{"sub": "bob"}, {"sub": "ada", "admin": True}])
def test_tokens_that_contradict_each_other_are_refused(claims: dict[str, Any]) -> None:
    one, other = TOKENS.mint("ada", HOUR), TOKENS.mint(claims.pop("sub"), HOUR, **claims)
    of_one = TOKENS.mint_session(TOKENS.verify(one), "a-session-of-one")
    of_other = TOKENS.mint_session(TOKENS.verify(other), "a-session-of-one")
    for values in ((one, other), (other, one), (one, of_other), (of_one, other)):
        with pytest.raises(Unauthenticated):
            CHECK.authenticate("do_get", {"authorization": several(*values)})


def test_tokens_of_two_sessions_and_wrong_ones_beside_right_ones_are_refused() -> None:
    token = TOKENS.mint("ada", HOUR)
    one, two = (TOKENS.mint_session(TOKENS.verify(token), name * 16) for name in "ab")
    wrong = Tokens("another-secret-of-32-characters--").mint("ada", HOUR)
    for values in ((one, two), (token, wrong), (wrong, token), (token,) * 9):
        with pytest.raises(Unauthenticated):
            CHECK.authenticate("do_get", {"authorization": several(*values)})


def test_a_session_goes_on_with_the_next_token_of_its_user() -> None:
    was = replace(TOKENS.verify(TOKENS.mint("ada", HOUR)), until=time.time() - 7200)
    session = TOKENS.mint_session(was, "one-of-hers-----")
    for values in ((session, TOKENS.mint("bob", HOUR)), (session,)):
        with pytest.raises(Unauthenticated):
            CHECK.authenticate("do_get", {"authorization": several(*values)})
    headers = {"authorization": several(session, TOKENS.mint("ada", HOUR))}
    caller = CHECK.authenticate("do_get", headers)
    assert caller.session == "one-of-hers-----"
    answer = CHECK.response_headers("do_get", headers, caller)["authorization"]
    again = CHECK.authenticate("do_get", {"authorization": [answer]})
    assert (again.session, again.renew) == ("one-of-hers-----", False)


def test_a_token_for_one_action_makes_no_other_call() -> None:
    headers = {"authorization": several(TOKENS.mint_call("web", "look", 5))}
    assert CHECK.authenticate("do_action", headers).identity.action == "look"
    for method in ("do_get", "do_put", "get_flight_info", "handshake", "list_actions"):
        with pytest.raises(Unauthenticated):
            CHECK.authenticate(method, headers)
