from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pondflight.auth.tokens import (
    CACHED_TOKENS,
    ISSUER,
    LEEWAY,
    LONGEST_TOKEN,
    SESSION_SECONDS,
    Identity,
    Tokens,
    bearer,
    valid_sub,
)
from pondflight.errors import InvalidArgument, Unauthenticated

SECRET = "kW8rX2vN5qT9zL4mB7cJ1hG6fD3sA0pY"
HOUR = timedelta(hours=1)


class Clock:
    """The time, moved on by hand."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture(name="clock")
def fixture_clock() -> Clock:
    return Clock()


@pytest.fixture(name="tokens")
def fixture_tokens(clock: Clock) -> Tokens:
    return Tokens(SECRET, clock=clock)


def signed(secret: str = SECRET, **claims: Any) -> str:
    """A token such as an identity provider makes: only what is given, and sub and exp."""
    return jwt.encode({"sub": "alice", "exp": int(time.time()) + 600} | claims, secret)


def by_hand(header: object, payload: bytes | str, *, secret: str = SECRET) -> str:
    """A token with any header and any payload, correctly signed with HS256."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    payload = payload.encode() if isinstance(payload, str) else payload
    text = f"{part(json.dumps(header).encode())}.{part(payload)}"
    return f"{text}.{part(hmac.digest(secret.encode(), text.encode(), hashlib.sha256))}"


HS256 = {"alg": "HS256", "typ": "JWT"}


def claims(**changed: Any) -> str:
    everything = {"sub": "alice", "exp": int(time.time()) + 600} | changed
    return json.dumps({name: value for name, value in everything.items() if value is not None})


def test_minted_token_proves_its_user(tokens: Tokens) -> None:
    before = time.time()
    identity = tokens.verify(tokens.mint("alice", HOUR))
    assert identity.sub == "alice"
    assert before + 3599 <= identity.expires_at <= time.time() + 3601
    assert (identity.session, identity.admin, identity.demo) == (None, False, False)


def test_minted_token_carries_what_it_may_do_and_further_claims(tokens: Tokens) -> None:
    identity = tokens.verify(tokens.mint("a", HOUR, admin=True, demo=True, team="x"))
    assert identity.admin
    assert identity.demo
    assert identity.claims["team"] == "x"


def test_identity_cannot_be_changed_and_does_not_show_its_claims(tokens: Tokens) -> None:
    identity = tokens.verify(tokens.mint("a", HOUR, email="a@example.com"))
    with pytest.raises(TypeError):
        identity.claims["sub"] = "b"  # type: ignore[index]
    assert "example.com" not in repr(identity)


@pytest.mark.parametrize(
    "sub", ["", " ", "\t", "a\nb", "a\x00", "a\x7f", "a\u2028", "a" * 257, "ä" * 129]
)
def test_no_token_is_minted_for_what_names_no_user(tokens: Tokens, sub: str) -> None:
    with pytest.raises(InvalidArgument):
        tokens.mint(sub, HOUR)


@pytest.mark.parametrize("seconds", [0, -1, 0.5])
def test_no_token_is_minted_that_is_over_at_once(tokens: Tokens, seconds: float) -> None:
    with pytest.raises(InvalidArgument):
        tokens.mint("a", timedelta(seconds=seconds))


@pytest.mark.parametrize("name", ["exp", "iat"])
def test_claims_that_arguments_set_are_not_taken_as_claims(tokens: Tokens, name: str) -> None:
    with pytest.raises(InvalidArgument, match=name):
        tokens.mint("a", HOUR, **{name: 1})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"aud": "someone-else"},
        {"iss": "https://idp.example.com"},
        {"iat": 0},
        {"jti": "1", "email": "a@example.com", "roles": ["x"]},
        {"sid": "of the identity provider"},
        {"use": "access"},
        {"exp": 10 - LEEWAY},
        {"nbf": LEEWAY - 10},
        {"sub": "ä" * 128},
        {"sub": "auth0|5f7c8ec7c33c6c004bbafe82"},
        {"exp": 100.5},
    ],
)
def test_token_of_an_identity_provider_is_accepted(tokens: Tokens, extra: dict[str, Any]) -> None:
    """Times are seconds from now: from the moment of the test, not of its collection."""
    now = {name: time.time() + extra[name] for name in ("iat", "exp", "nbf") if name in extra}
    identity = tokens.verify(signed(**extra | now))
    assert identity.session is None
    assert identity.admin is False


WRONG: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "no token": lambda: "hello",
    "three dots": lambda: "...",
    "not ascii": lambda: "ä.ö.ü",
    "lone surrogate": lambda: "\udc80",
    "too long": lambda: signed(padding="x" * LONGEST_TOKEN),
    "other secret": lambda: signed(SECRET[::-1]),
    "expired": lambda: signed(exp=int(time.time()) - LEEWAY - 1),
    "not yet valid": lambda: signed(nbf=int(time.time()) + LEEWAY + 100),
    "no signature": lambda: signed().rpartition(".")[0] + ".",
    "other signature": lambda: signed()[:-4] + "AAAA",
    "algorithm none": lambda: by_hand({"alg": "none"}, claims()).rpartition(".")[0] + ".",
    "algorithm none, signed": lambda: by_hand({"alg": "none"}, claims()),
    "algorithm None": lambda: by_hand({"alg": None}, claims()),
    "algorithm in lower case": lambda: by_hand({"alg": "hs256"}, claims()),
    "algorithm HS384": lambda: jwt.encode(json.loads(claims()), SECRET * 2, algorithm="HS384"),
    "algorithm RS256": lambda: by_hand({"alg": "RS256"}, claims()),
    "no algorithm": lambda: by_hand({}, claims()),
    "header is a list": lambda: by_hand([], claims()),
    "unknown critical header": lambda: by_hand(HS256 | {"crit": ["x"], "x": 1}, claims()),
    "detached payload": lambda: by_hand(HS256 | {"b64": False, "crit": ["b64"]}, claims()),
    "payload is a list": lambda: by_hand(HS256, "[]"),
    "payload is no JSON": lambda: by_hand(HS256, "{"),
    "payload is no UTF-8": lambda: by_hand(HS256, b"\xff"),
    "payload nests deeply": lambda: by_hand(HS256, "[" * 8000),
    "no sub": lambda: by_hand(HS256, claims(sub=None)),
    "no exp": lambda: by_hand(HS256, claims(exp=None)),
    "sub null": lambda: by_hand(HS256, '{"sub": null, "exp": 9999999999}'),
    "sub a number": lambda: by_hand(HS256, claims(sub=1)),
    "sub a list": lambda: by_hand(HS256, claims(sub=["alice"])),
    "sub empty": lambda: by_hand(HS256, claims(sub="")),
    "sub blank": lambda: by_hand(HS256, claims(sub="  ")),
    "sub with a newline": lambda: by_hand(HS256, claims(sub="a\nlevel=info")),
    "sub with NUL": lambda: by_hand(HS256, claims(sub="alice\0")),
    "sub with a lone surrogate": lambda: by_hand(HS256, '{"sub":"\\ud800","exp":9999999999}'),
    "sub too long": lambda: by_hand(HS256, claims(sub="a" * 257)),
    "sub too long in bytes": lambda: by_hand(HS256, claims(sub="ä" * 129)),
    "exp a text": lambda: by_hand(HS256, claims(exp="soon")),
    "exp digits in a text": lambda: by_hand(HS256, claims(exp="9999999999")),
    "exp true": lambda: by_hand(HS256, claims(exp=True)),
    "exp NaN": lambda: by_hand(HS256, '{"sub": "a", "exp": NaN}'),
    "exp infinite": lambda: by_hand(HS256, '{"sub": "a", "exp": Infinity}'),
    "exp beyond floats": lambda: by_hand(HS256, '{"sub": "a", "exp": 1' + "0" * 400 + "}"),
    "exp beyond integers": lambda: by_hand(HS256, '{"sub": "a", "exp": 1' + "0" * 5000 + "}"),
    "exp negative": lambda: by_hand(HS256, claims(exp=-1)),
    "iat a text": lambda: by_hand(HS256, claims(iat="x")),
    "session without an id": lambda: by_hand(HS256, claims(iss=ISSUER, use="session", claims={})),
    "session with an empty id": lambda: by_hand(
        HS256, claims(iss=ISSUER, use="session", claims={}, sid="")
    ),
    "session with a number": lambda: by_hand(
        HS256, claims(iss=ISSUER, use="session", claims={}, sid=7)
    ),
    "session with a long id": lambda: by_hand(
        HS256, claims(iss=ISSUER, use="session", claims={}, sid="x" * 129)
    ),
    "session without claims": lambda: by_hand(HS256, claims(iss=ISSUER, use="session", sid="s")),
    "session with claims of a kind": lambda: by_hand(
        HS256, claims(iss=ISSUER, use="session", sid="s", claims=[])
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_every_wrong_token_has_the_same_answer(tokens: Tokens, case: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        tokens.verify(WRONG[case]())
    assert str(caught.value) == Unauthenticated.TEXT
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_hand_made_token_is_valid_where_nothing_is_wrong_with_it(tokens: Tokens) -> None:
    assert tokens.verify(by_hand(HS256, claims())).sub == "alice"


@given(st.text())
def test_any_text_is_refused_in_one_way(text: str) -> None:
    with pytest.raises(Unauthenticated):
        Tokens(SECRET).verify(text)


@pytest.mark.parametrize("value", [1, "true", "yes", [True], {"x": 1}, None])
def test_only_true_makes_an_admin_or_a_demo(tokens: Tokens, value: object) -> None:
    identity = tokens.verify(signed(admin=value, demo=value))
    assert (identity.admin, identity.demo) == (False, False)


# sessions


def test_session_token_is_the_same_identity_with_a_session(tokens: Tokens) -> None:
    identity = tokens.verify(tokens.mint("alice", HOUR, admin=True, team="x"))
    session = tokens.verify(tokens.mint_session(identity, "s-1"))
    assert session.session == "s-1"
    assert (session.sub, session.admin, session.demo) == ("alice", True, False)
    assert session.expires_at == identity.expires_at
    assert session.claims == identity.claims


def test_session_token_of_a_session_token_has_the_new_session(tokens: Tokens) -> None:
    first = tokens.verify(tokens.mint_session(tokens.verify(signed()), "s-1"))
    second = tokens.verify(tokens.mint_session(first, "s-2"))
    assert (second.session, second.expires_at) == ("s-2", first.expires_at)


def test_session_token_lives_for_a_day_and_is_renewed_until_its_own_token_ends(
    tokens: Tokens, clock: Clock
) -> None:
    identity = tokens.verify(signed(exp=clock() + 10 * SESSION_SECONDS))
    session = tokens.verify(tokens.mint_session(identity, "s-1"))
    assert session.expires_at == pytest.approx(clock() + SESSION_SECONDS, abs=5)
    assert not tokens.should_renew(session)
    clock.ahead = SESSION_SECONDS * 0.6
    assert tokens.should_renew(session)
    renewed = tokens.verify(tokens.mint_session(session, "s-1"))
    assert renewed.expires_at == pytest.approx(clock() + SESSION_SECONDS, abs=5)
    assert renewed.until == identity.until
    clock.ahead = 0
    last = tokens.verify(tokens.mint_session(tokens.verify(signed()), "s-1"))
    clock.ahead = last.expires_at - time.time() - 1
    assert not tokens.should_renew(last)


def test_ended_session_is_known_by_its_token_alone(tokens: Tokens, clock: Clock) -> None:
    token = tokens.mint_session(tokens.verify(signed()), "s-1")
    clock.ahead = 10 * SESSION_SECONDS
    with pytest.raises(Unauthenticated):
        tokens.verify(token)
    assert tokens.ended_session(token) == ("alice", "s-1")
    for other in (signed(), token[:-2], "", "x y", tokens.mint("alice", HOUR)):
        assert tokens.ended_session(other) is None


def test_token_of_a_call_is_for_one_action_and_seconds(tokens: Tokens, clock: Clock) -> None:
    token = tokens.mint_call("web", "look", 2)
    with pytest.raises(Unauthenticated):
        tokens.verify(token)
    identity = tokens.verify(token, calls=True)
    assert (identity.sub, identity.action, identity.admin) == ("web", "look", False)
    with pytest.raises(Unauthenticated):  # not even when it is known
        tokens.verify(token)
    clock.ahead = 2 + LEEWAY
    with pytest.raises(Unauthenticated):
        tokens.verify(token, calls=True)


@pytest.mark.parametrize("sub", ["a\u200bb", "\u202egnirts", "a\u2066b", "\ufeffalice", "a\u00adb"])
def test_characters_that_nobody_sees_name_nobody(tokens: Tokens, sub: str) -> None:
    with pytest.raises(InvalidArgument, match="invisible"):
        tokens.mint(sub, HOUR)
    with pytest.raises(Unauthenticated):
        tokens.verify(signed(sub=sub))


def test_session_id_counts_in_a_session_token_only(tokens: Tokens) -> None:
    assert tokens.verify(signed(sid="s-1")).session is None
    assert tokens.verify(signed(sid="s-1", use="session")).session is None
    assert tokens.verify(signed(sid="s-1", use="id", iss=ISSUER)).session is None


# the cache


def count_decodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    decoded: list[str] = []
    decode = Tokens._decode

    def counting(self: Tokens, token: str) -> Identity:
        decoded.append(token)
        return decode(self, token)

    monkeypatch.setattr(Tokens, "_decode", counting)
    return decoded


def test_token_is_decoded_once(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = count_decodes(monkeypatch)
    token = signed()
    assert tokens.verify(token) is tokens.verify(token)
    assert len(decoded) == 1


def test_cached_token_expires(tokens: Tokens, clock: Clock) -> None:
    token = tokens.mint("alice", timedelta(minutes=1))
    tokens.verify(token)
    clock.ahead = 60 + LEEWAY - 2
    tokens.verify(token)
    clock.ahead = 60 + LEEWAY + 2
    with pytest.raises(Unauthenticated):
        tokens.verify(token)
    assert not tokens._verified


def test_wrong_tokens_are_not_cached(tokens: Tokens) -> None:
    for case in WRONG.values():
        with pytest.raises(Unauthenticated):
            tokens.verify(case())
    assert not tokens._verified


def test_cache_keeps_what_was_used_last(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pondflight.auth.tokens.CACHED_TOKENS", 2)
    first, second, third = (signed(sub=name) for name in "abc")
    for token in (first, second, first, third):
        tokens.verify(token)
    decoded = count_decodes(monkeypatch)
    for token in (first, third, second):
        tokens.verify(token)
    assert decoded == [second]
    assert CACHED_TOKENS == 1024


def test_cache_holds_no_token(tokens: Tokens) -> None:
    token = signed()
    tokens.verify(token)
    assert token not in repr(tokens._verified)


def test_many_threads_verify_at_once(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pondflight.auth.tokens.CACHED_TOKENS", 4)
    minted = {name: signed(sub=name) for name in "abcdefgh"}
    wrong: list[str] = []

    def work() -> None:
        for _ in range(200):
            wrong.extend(n for n, token in minted.items() if tokens.verify(token).sub != n)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(tokens._verified) <= 4


# the header


@pytest.mark.parametrize(
    "header", ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c", " Bearer a.b.c "]
)
def test_bearer_takes_the_token_out_of_the_header(header: str) -> None:
    assert bearer(header) == "a.b.c"


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "a.b.c", "Basic dTpw", "Bearera.b.c", "Bearer a b", "Bearer ä"],
)
def test_header_without_a_bearer_token_is_unauthenticated(header: str | None) -> None:
    with pytest.raises(Unauthenticated):
        bearer(header)


@given(st.text())
def test_name_that_is_valid_can_be_minted_and_verified(name: str) -> None:
    tokens = Tokens(SECRET)
    if valid_sub(name):
        assert tokens.verify(tokens.mint(name, HOUR)).sub == name
    else:
        with pytest.raises(InvalidArgument):
            tokens.mint(name, HOUR)
