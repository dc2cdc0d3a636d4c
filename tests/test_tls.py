"""``server.tls``: certificates on our own ports."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from adbc_driver_flightsql import DatabaseOptions, dbapi
from adbc_driver_manager import OperationalError

from pondflight import tls
from pondflight.auth.tokens import Tokens
from pondflight.errors import ConfigError
from tests.certificates import DAY, Authority
from tests.serve.test_serve import Serve, fixture_serve

__all__ = ["fixture_serve"]

SECRET = "Vq9x2mKzR7tYp4WnB8cLd3HfJ6gSa5eU"


def test_flight_sql_speaks_tls_and_http_still_reaches_it(serve: Serve, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("db.example.com", "localhost", "127.0.0.1")
    served = serve(JWT_SECRET=SECRET, TLS_CERT=str(pair.cert), TLS_KEY=str(pair.key))
    served.wait_ready()
    port = served.ports["GRPC_PORT"]
    options = {
        DatabaseOptions.AUTHORIZATION_HEADER.value: "Bearer "
        + Tokens(SECRET).mint("ada", timedelta(minutes=5)),
        DatabaseOptions.TLS_ROOT_CERTS.value: authority.cert.read_text(),
    }
    with dbapi.connect(f"grpc+tls://127.0.0.1:{port}", db_kwargs=options) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 42")
            assert cursor.fetchall() == [(42,)]

    assert served.get("/ready") == (200, {"ready": True})  # asked of the proxy, over TLS

    for scheme, roots in (("grpc", authority), ("grpc+tls", Authority(tmp_path, "stranger"))):
        bad = options | {DatabaseOptions.TLS_ROOT_CERTS.value: roots.cert.read_text()}
        with pytest.raises(OperationalError):
            with dbapi.connect(
                f"{scheme}://127.0.0.1:{port}", db_kwargs=bad, autocommit=True
            ) as connection:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 42")
    assert served.stop() == 0


def test_the_name_is_that_of_the_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for names in (["a.example.com", "b.example.com"], ["10.1.2.3"]):
        pair = authority.issue(*names)
        certificate = tls.load(pair.cert, pair.key)
        assert certificate is not None
        assert certificate.name == names[0]
        assert "PRIVATE" not in repr(certificate)


def test_what_cannot_be_used_is_refused_by_setting(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, two = authority.issue("one.example.com"), authority.issue("two.example.com", ends=DAY)
    with pytest.raises(ConfigError, match=r"server\.tls\.cert: cannot read .*nowhere"):
        tls.load(tmp_path / "nowhere", one.key)
    with pytest.raises(ConfigError, match=r"server\.tls\.key: cannot read .*nowhere"):
        tls.load(one.cert, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="do not fit"):
        tls.load(one.cert, two.key)
    with pytest.raises(ConfigError, match="do not fit"):
        tls.load(one.key, one.key)
    with pytest.raises(ConfigError, match="no subject alternative name"):
        tls.load(authority.cert, authority.own_key())


def test_half_a_pair_refuses_to_start(serve: Serve, tmp_path: Path) -> None:
    served = serve(JWT_SECRET=SECRET, TLS_CERT=str(tmp_path / "cert.pem"))
    assert served.process.wait(30) == 2
    assert "server.tls" in served.log()
    assert "cert and key are set together" in served.log()
    assert "Traceback" not in served.log()
