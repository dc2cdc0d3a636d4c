"""ADBC's OAuth flows against a provider: each connection has a session of its own."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from adbc_driver_flightsql import DatabaseOptions, OAuthFlowType, OAuthTokenType, dbapi
from adbc_driver_manager import Error

from integration.conftest import Deploy
from integration.deployment import Deployment
from tests.certificates import Authority

SECRET = "s3cret"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


class Provider:
    """A token endpoint for one deployment; ``asked`` has the requests that it got."""

    def __init__(self, deployment: Deployment, authority: Path) -> None:
        self.deployment, self.authority = deployment, authority
        self.asked: list[dict[str, str]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                form = dict(urllib.parse.parse_qsl(body))
                status, answer = provider.answer(form)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        self.asked.append(form)
        allowed = (
            form.get("subject_token") == SECRET
            if form["grant_type"] == EXCHANGE
            else form.get("client_secret") == SECRET
        )
        if not allowed:
            return 401, {"error": "invalid_client"}
        token = self.deployment.token("ann", number=len(self.asked))
        answer: dict[str, object] = {"access_token": token, "token_type": "Bearer"}
        answer["expires_in"] = 3600
        answer["issued_token_type"] = OAuthTokenType.ACCESS_TOKEN.value
        return 200, answer

    def connect(self, flow: OAuthFlowType, secret: str = SECRET) -> dbapi.Connection:
        options = {
            DatabaseOptions.OAUTH_FLOW: flow.value,
            DatabaseOptions.OAUTH_TOKEN_URI: f"http://127.0.0.1:{self._server.server_port}/token",
            DatabaseOptions.TLS_ROOT_CERTS: self.authority.read_text(),
        }
        if flow is OAuthFlowType.CLIENT_CREDENTIALS:
            options[DatabaseOptions.OAUTH_CLIENT_ID] = "reports"
            options[DatabaseOptions.OAUTH_CLIENT_SECRET] = secret
        else:
            options[DatabaseOptions.OAUTH_EXCHANGE_SUBJECT_TOKEN] = secret
            options[DatabaseOptions.OAUTH_EXCHANGE_SUBJECT_TOKEN_TYPE] = OAuthTokenType.JWT.value
        return dbapi.connect(
            self.deployment.flight_uri.replace("grpc:", "grpc+tls:"),
            db_kwargs={option.value: value for option, value in options.items()},
            autocommit=True,
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(name="provider", scope="module")
def fixture_provider(
    deploy: Deploy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Provider]:
    authority = Authority(tmp_path_factory.mktemp("oauth"))
    pair = authority.issue("127.0.0.1")
    tls = {"cert": str(pair.cert), "key": str(pair.key)}
    with closing(Provider(deploy({"server": {"tls": tls}}), authority.cert)) as provider:
        yield provider


def ask(connection: dbapi.Connection, sql: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


@pytest.mark.parametrize("flow", OAuthFlowType)
def test_each_connection_has_a_session_of_its_own(provider: Provider, flow: OAuthFlowType) -> None:
    provider.asked.clear()
    with provider.connect(flow) as one, provider.connect(flow) as two:
        ask(one, "CREATE TEMP TABLE mine AS SELECT 42 AS i")
        ask(one, "SET TimeZone = 'Asia/Tokyo'")
        with pytest.raises(Error, match="mine does not exist"):
            ask(two, "FROM mine")
        zone = "SELECT current_setting('TimeZone')"
        assert ask(two, zone) == [("UTC",)]
        assert ask(one, zone) == [("Asia/Tokyo",)]
        assert ask(one, "FROM mine") == [(42,)]
    kinds = {form["grant_type"] for form in provider.asked}
    assert kinds == {EXCHANGE if flow is OAuthFlowType.TOKEN_EXCHANGE else "client_credentials"}


@pytest.mark.parametrize("flow", OAuthFlowType)
def test_who_is_refused_by_the_provider_reaches_nothing(
    provider: Provider, flow: OAuthFlowType
) -> None:
    with pytest.raises(Error, match="invalid_client"):
        with provider.connect(flow, "wrong") as connection:
            ask(connection, "SELECT 1")
