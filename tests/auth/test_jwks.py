from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from pondflight.auth import jwks
from pondflight.auth.jwks import PAUSE, REFRESH, STALE, JwksKeys
from pondflight.auth.keys import FixedKeys, Provider, read_pem
from pondflight.auth.tokens import ISSUER, Tokens
from pondflight.errors import Unauthenticated, Unavailable
from tests.waiting import wait_until

SECRET = "kW8rX2vN5qT9zL4mB7cJ1hG6fD3sA0pY"

PRIVATE: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
_TO_JWK: dict[str, Any] = {
    "RS256": RSAAlgorithm.to_jwk,
    "ES256": ECAlgorithm.to_jwk,
    "EdDSA": OKPAlgorithm.to_jwk,
}


def pem(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def jwk(algorithm: str, kid: str | None = "k1", key: Any = None, **more: Any) -> dict[str, Any]:
    key = key or PRIVATE[algorithm]
    entry: dict[str, Any] = json.loads(_TO_JWK[algorithm](key.public_key()))
    return entry | ({"kid": kid} if kid else {}) | more


def signed(algorithm: str, kid: str | None = "k1", key: Any = None, **claims: Any) -> str:
    everything = {"sub": "alice", "exp": int(time.time()) + 600} | claims
    headers = {"kid": kid} if kid else None
    return jwt.encode(everything, key or PRIVATE[algorithm], algorithm=algorithm, headers=headers)


class Publisher:
    """An identity provider's keys, and who asked for them when."""

    def __init__(self, *entries: dict[str, Any]) -> None:
        self.entries = list(entries)
        self.now = 1000.0
        self.asked = 0
        self.broken = False

    def fetch(self, url: str) -> bytes:
        self.asked += 1
        if self.broken:
            raise TimeoutError
        return json.dumps({"keys": self.entries}).encode()

    def tokens(self, provider: Provider | None = None) -> Tokens:
        keys = JwksKeys("https://idp.example/keys", fetch=self.fetch, clock=lambda: self.now)
        return Tokens(SECRET, provider, keys)


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_token_of_the_provider_proves_its_user(algorithm: str) -> None:
    publisher = Publisher(*(jwk(name, name) for name in PRIVATE))
    tokens = publisher.tokens()
    assert tokens.verify(signed(algorithm, algorithm)).sub == "alice"
    assert tokens.verify(signed(algorithm, None)).sub == "alice"
    assert tokens.verify(tokens.mint("bob", jwks_hour())).sub == "bob"
    fixed = Tokens(SECRET, None, FixedKeys((read_pem(pem(PRIVATE[algorithm])),)))
    assert fixed.verify(signed(algorithm, "any")).sub == "alice"
    with pytest.raises(Unauthenticated):
        Tokens(SECRET).verify(signed(algorithm))


def jwks_hour() -> Any:
    from datetime import timedelta  # noqa: PLC0415

    return timedelta(hours=1)


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_public_key_is_no_secret_for_hs256(algorithm: str) -> None:
    text = pem(PRIVATE[algorithm])
    tokens = Tokens(SECRET, None, FixedKeys((read_pem(text),)))
    header = {"alg": "HS256", "typ": "JWT", "kid": "k1"}
    from tests.auth.test_tokens import by_hand, claims  # noqa: PLC0415

    for secret in (text, text.strip(), text.replace("\n", "")):
        with pytest.raises(Unauthenticated):
            tokens.verify(by_hand(header, claims(), secret=secret))


def test_key_has_one_algorithm() -> None:
    tokens = Publisher(jwk("RS256")).tokens()
    for algorithm in ("RS384", "RS512", "PS256"):
        with pytest.raises(Unauthenticated):
            tokens.verify(signed(algorithm, key=PRIVATE["RS256"]))


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "kid": "k1", "k": "a1c4clgyd2tOcVQ5ekw0bUI3Y0oxaEc2ZkQzc0EwcFk"},
        jwk("RS256", use="enc"),
        jwk("RS256", alg="PS256"),
        {"kty": "RSA", "kid": "k1", "n": "AQAB", "e": "AQAB"},
        jwk("RS256", key=rsa.generate_private_key(public_exponent=65537, key_size=1024)),
        jwk("ES256", key=ec.generate_private_key(ec.SECP384R1())),
        "nonsense",
        None,
    ],
)
def test_key_that_is_for_something_else_is_not_used(entry: Any) -> None:
    publisher = Publisher(jwk("EdDSA", "other"))
    publisher.entries.append(entry)
    tokens = publisher.tokens()
    with pytest.raises(Unauthenticated):
        tokens.verify(signed("RS256"))
    assert tokens.verify(signed("EdDSA", "other")).sub == "alice"


def test_new_key_is_used_without_a_restart() -> None:
    publisher = Publisher(jwk("RS256"))
    tokens = publisher.tokens()
    tokens.verify(signed("RS256"))
    new = ed25519.Ed25519PrivateKey.generate()
    publisher.entries = [jwk("EdDSA", "k2", new), jwk("RS256")]
    publisher.now += PAUSE
    assert tokens.verify(signed("EdDSA", "k2", new)).sub == "alice"
    assert publisher.asked == 2


def test_withdrawn_key_counts_no_more_even_for_tokens_seen_before() -> None:
    publisher = Publisher(jwk("RS256"), jwk("ES256", "k2"))
    tokens = publisher.tokens()
    token = signed("RS256")
    tokens.verify(token)
    publisher.entries = [jwk("ES256", "k2")]
    publisher.now += PAUSE
    with pytest.raises(Unauthenticated):
        tokens.verify(signed("ES256", "k3"))
    with pytest.raises(Unauthenticated):
        tokens.verify(token)


def test_withdrawn_key_counts_no_more_though_only_tokens_seen_before_come() -> None:
    publisher = Publisher(jwk("RS256"))
    tokens = publisher.tokens()
    token = signed("RS256")
    tokens.verify(token)
    publisher.entries = [jwk("ES256", "k2")]
    publisher.now += REFRESH + 1

    def refused() -> bool:
        try:
            tokens.verify(token)
        except Unauthenticated:
            return True
        return False

    wait_until(refused)
    assert publisher.asked == 2


def test_provider_that_is_slow_has_one_thread_that_waits_for_it() -> None:
    publisher = Publisher(jwk("RS256"))
    tokens = publisher.tokens()
    tokens.verify(signed("RS256"))
    fetch, answer = publisher.fetch, threading.Event()

    def slowly(url: str) -> bytes:
        answer.wait(30)
        return fetch(url)

    tokens._keys._get = slowly  # type: ignore[attr-defined]
    publisher.now += REFRESH + 1
    for number in range(50):
        assert tokens.verify(signed("RS256", sub=f"u{number}")).sub == f"u{number}"
    waiting = [thread for thread in threading.enumerate() if thread.name == "jwks"]
    answer.set()
    assert len(waiting) == 1
    waiting[0].join(10)
    assert publisher.asked == 2


def test_invented_key_ids_do_not_hammer_the_provider() -> None:
    publisher = Publisher(jwk("RS256"))
    tokens = publisher.tokens()
    tokens.verify(signed("RS256"))
    for number in range(200):
        with pytest.raises(Unauthenticated):
            tokens.verify(signed("RS256", f"invented-{number}"))
    assert publisher.asked == 1
    publisher.now += PAUSE
    for number in range(200):
        with pytest.raises(Unauthenticated):
            tokens.verify(signed("RS256", f"more-{number}"))
    assert publisher.asked == 2


def test_algorithms_that_no_key_can_have_ask_for_nothing() -> None:
    publisher = Publisher(jwk("RS256"))
    tokens = publisher.tokens()
    tokens.verify(signed("RS256"))
    publisher.now += PAUSE
    with pytest.raises(Unauthenticated):
        tokens.verify(signed("ES256", "k1", ec.generate_private_key(ec.SECP256R1()))[:-8] + "AAAA")
    with pytest.raises(Unauthenticated):
        tokens.verify(signed("RS512", "k9", PRIVATE["RS256"]))
    assert publisher.asked == 2


def test_many_at_once_ask_once() -> None:
    publisher = Publisher(jwk("RS256"))
    fetch = publisher.fetch

    def slowly(url: str) -> bytes:
        time.sleep(0.2)
        return fetch(url)

    publisher.fetch = slowly  # type: ignore[method-assign]
    tokens = publisher.tokens()
    subs: list[str] = []

    def verify(number: int) -> None:
        subs.append(tokens.verify(signed("RS256", sub=f"u{number}")).sub)

    threads = [threading.Thread(target=verify, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(subs) == 20
    assert publisher.asked == 1


def test_provider_that_is_gone_is_no_matter_for_a_day() -> None:
    publisher = Publisher(jwk("RS256"))
    tokens = publisher.tokens()
    tokens.verify(signed("RS256"))
    publisher.broken = True
    publisher.now += REFRESH + 1
    assert tokens.verify(signed("RS256", sub="bob")).sub == "bob"
    wait_until(lambda: publisher.asked == 2)
    publisher.now += STALE
    with pytest.raises(Unavailable):
        tokens.verify(signed("RS256", sub="carol"))


def test_keys_that_nobody_needed_for_days_are_fetched_and_waited_for() -> None:
    publisher = Publisher(jwk("RS256"))
    tokens = publisher.tokens()
    tokens.verify(signed("RS256"))
    publisher.now += 3 * STALE
    assert tokens.verify(signed("RS256", sub="bob")).sub == "bob"
    assert publisher.asked == 2


def test_provider_that_was_never_there_is_unavailable_not_unauthenticated() -> None:
    publisher = Publisher()
    publisher.broken = True
    tokens = publisher.tokens()
    with pytest.raises(Unavailable):
        tokens.verify(signed("RS256"))
    assert tokens.verify(tokens.mint("bob", jwks_hour())).sub == "bob"


# issuer, audience, user


PROVIDER = Provider("https://idp.example/", ("pond", "flight"), "email")


def provided(**claims: Any) -> str:
    good = {"iss": "https://idp.example/", "aud": "pond", "email": "alice@example.com"}
    return signed("RS256", **(good | claims))


def test_user_issuer_and_audience_are_as_configured() -> None:
    tokens = Publisher(jwk("RS256")).tokens(PROVIDER)
    identity = tokens.verify(provided(sub="1234"))
    assert identity.sub == "alice@example.com"
    assert identity.claims["sub"] == "1234"
    assert tokens.verify(provided(aud=["other", "flight"])).sub == "alice@example.com"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example/"},
        {"iss": ISSUER},
        {"aud": "other"},
        {"aud": []},
        {"aud": None},
        {"aud": {"pond": 1}},
        {"email": None},
        {"email": ""},
        {"email": ["a"]},
    ],
)
def test_token_for_somebody_else_is_refused(claims: dict[str, Any]) -> None:
    tokens = Publisher(jwk("RS256")).tokens(PROVIDER)
    with pytest.raises(Unauthenticated):
        tokens.verify(provided(**claims))


def test_token_of_ours_is_asked_neither_for_issuer_nor_audience() -> None:
    tokens = Publisher(jwk("RS256")).tokens(PROVIDER)
    assert tokens.verify(tokens.mint("bob", jwks_hour())).sub == "bob"
    foreign = jwt.encode({"sub": "eve", "exp": int(time.time()) + 60}, SECRET)
    with pytest.raises(Unauthenticated):
        tokens.verify(foreign)


def test_provider_makes_neither_administrators_nor_demo_users() -> None:
    tokens = Publisher(jwk("RS256")).tokens()
    identity = tokens.verify(signed("RS256", admin=True, demo=True, use="session", sid="s" * 20))
    assert (identity.admin, identity.demo, identity.session) == (False, False, None)
    session = tokens.verify(tokens.mint_session(identity, "s-1"))
    assert (session.admin, session.demo, session.session) == (False, False, "s-1")
    assert session.claims == identity.claims


def test_session_of_a_providers_user_is_the_same_user() -> None:
    tokens = Publisher(jwk("RS256")).tokens(PROVIDER)
    identity = tokens.verify(provided(sub="1234"))
    session = tokens.verify(tokens.mint_session(identity, "s-1"))
    assert (session.sub, session.expires_at) == (identity.sub, identity.expires_at)
    assert jwt.get_unverified_header(tokens.mint_session(identity, "s"))["alg"] == "HS256"


# over HTTP


@pytest.fixture(name="served")
def fixture_served() -> Iterator[tuple[str, dict[str, Any]]]:
    answers: dict[str, Any] = {"status": 200, "body": b"{}", "headers": {}}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers["status"])
            for name, value in answers["headers"].items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answers["body"])

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/keys", answers
    server.shutdown()
    server.server_close()


def test_keys_are_fetched_over_http(served: tuple[str, dict[str, Any]]) -> None:
    url, answers = served
    answers["body"] = json.dumps({"keys": [jwk("ES256")]}).encode()
    assert Tokens(SECRET, None, JwksKeys(url)).verify(signed("ES256")).sub == "alice"


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (500, b"", {}),
        (302, b"", {"Location": "http://127.0.0.1:1/"}),
        (200, b"not json", {}),
        (200, b'{"keys": {}}', {}),
        (200, b'{"keys": []}', {}),
        (200, b" " * (jwks._LARGEST + 10), {}),
    ],
)
def test_answer_that_is_of_no_use_is_none(
    served: tuple[str, dict[str, Any]], status: int, body: bytes, headers: dict[str, str]
) -> None:
    url, answers = served
    answers.update(status=status, body=body, headers=headers)
    with pytest.raises(Unavailable):
        Tokens(SECRET, None, JwksKeys(url)).verify(signed("ES256"))


def test_document_that_trickles_in_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "_TIMEOUT", 0.5)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b" ")
                    time.sleep(0.05)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            jwks._fetch(f"http://127.0.0.1:{server.server_port}/keys")
        assert time.monotonic() - began < 10
        server.shutdown()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-----BEGIN PRIVATE KEY-----", "private key"),
        ("hello", "not a public key in PEM"),
        (pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)), "1024 bits"),
        (pem(ec.generate_private_key(ec.SECP521R1())), "neither RSA nor P-256 nor Ed25519"),
    ],
)
def test_pem_that_is_of_no_use_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_pem(text)


def test_a_session_ends_with_the_key_that_its_token_was_signed_with() -> None:
    publisher = Publisher(jwk("RS256"), jwk("EdDSA", "other"))
    tokens = publisher.tokens()
    session = tokens.mint_session(tokens.verify(signed("RS256")), "s-1")
    other = tokens.mint_session(tokens.verify(signed("EdDSA", "other")), "s-2")
    assert tokens.verify(tokens.mint_session(tokens.verify(session), "s-3")).session == "s-3"
    publisher.entries = [jwk("EdDSA", "other")]
    publisher.now += REFRESH + 1

    def ended() -> bool:
        try:
            tokens.verify(session)
        except Unauthenticated:
            return True
        return False

    wait_until(ended)
    assert tokens.verify(other).session == "s-2"


def test_a_session_token_has_the_keys_fetched_after_a_restart() -> None:
    publisher = Publisher(jwk("RS256"))
    tokens = publisher.tokens()
    session = tokens.mint_session(tokens.verify(signed("RS256")), "s-1")
    assert publisher.tokens().verify(session).session == "s-1"
    publisher.broken = True
    with pytest.raises(Unavailable):
        publisher.tokens().verify(session)
    fixed = FixedKeys((read_pem(pem(PRIVATE["RS256"])),))
    assert Tokens(SECRET, None, fixed).verify(session).session == "s-1"
    with pytest.raises(Unauthenticated):
        Tokens(SECRET).verify(session)
