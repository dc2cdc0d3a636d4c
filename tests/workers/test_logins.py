from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from pondflight.engine import extensions
from pondflight.workers.gizmosql import attaching

POSTGRES = "postgresql://re%40der:p'w%2F1@db.example.com:5433/shop?sslmode=require"


def entry(kind: str, where: str, **fields: Any) -> dict[str, Any]:
    return {"alias": "a", "type": kind, "connection_string": where, "read_only": True} | fields


def test_password_goes_into_a_secret_and_nowhere_else() -> None:
    secret, attach = attaching(entry("postgres", POSTGRES))
    assert secret == (
        "CREATE OR REPLACE SECRET \"pondflight_a\" (TYPE postgres, HOST 'db.example.com', "
        "PORT '5433', DATABASE 'shop', USER 're@der', PASSWORD 'p''w/1')"
    )
    assert attach == (
        "ATTACH IF NOT EXISTS 'sslmode=require' AS \"a\" "
        '(TYPE postgres, SECRET "pondflight_a", READ_ONLY)'
    )


@pytest.mark.parametrize(
    ("kind", "where", "login", "path"),
    [
        (
            "postgres",
            "postgresql://u:p@one,two:5433/d",
            "HOST 'one,two', PORT '5432,5433', DATABASE 'd', USER 'u', PASSWORD 'p'",
            "",
        ),
        (
            "postgres",
            "postgresql:///d?host=/var/run/pg&user=u&password=p%26q",
            "HOST '/var/run/pg', PORT '5432', DATABASE 'd', USER 'u', PASSWORD 'p&q'",
            "",
        ),
        (
            "postgres",
            "postgresql://u@h/d?sslrootcert=/a%20b/it%27s&sslpassword=hidden",
            "HOST 'h', PORT '5432', DATABASE 'd', USER 'u'",
            "sslrootcert=''/a b/it\\''s''",
        ),
        (
            "mysql",
            "mysql://u:p@h/d?socket=/run/my.sock&ssl-mode=required",
            "HOST 'h', PORT '3306', DATABASE 'd', USER 'u', PASSWORD 'p', SOCKET '/run/my.sock'",
            "ssl_mode=required",
        ),
    ],
)
def test_a_login_is_read_as_everywhere_else(kind: str, where: str, login: str, path: str) -> None:
    secret, attach = attaching(entry(kind, where))
    assert secret == f'CREATE OR REPLACE SECRET "pondflight_a" (TYPE {kind}, {login})'
    assert attach.startswith(f"ATTACH IF NOT EXISTS '{path}' AS")


def test_duckdb_accepts_the_statements_twice(tmp_path: Path) -> None:
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    extensions.load(connection, ["postgres", "mysql", "sqlite"])
    for kind, url in (
        ("postgres", POSTGRES),
        ("mysql", "mysql://u:p@h/d?socket=/run/my.sock"),
    ):
        secret, _ = attaching(entry(kind, url, alias=kind))
        connection.execute(secret)
        connection.execute(secret)
    shown = connection.execute("SELECT secret_string FROM duckdb_secrets()").fetchall()
    assert len(shown) == 2
    assert "p'w/1" not in str(shown)
    path = tmp_path / "it's.db"
    duckdb.connect(str(path)).close()
    for read_only in (True, True):
        (attach,) = attaching(entry("duckdb", str(path), read_only=read_only))
        connection.execute(attach)
    with pytest.raises(duckdb.Error, match="read-only"):
        connection.execute('CREATE TABLE "a".t (n INT)')
    connection.close()
