"""What DuckDB is told of a connection string."""

from __future__ import annotations

from typing import Any

import pytest

from pondflight.dsn import Address
from pondflight.engine.databases.faults import Kind, fault_of, missing_name, without_addresses
from pondflight.engine.databases.plan import Plan, Spec, plan

GATE = 4711


def _plan(system: str, url: str, **more: Any) -> Plan:
    return plan(Spec("shop", system, url, **more))


def _postgres(url: str) -> str:
    _, (conninfo,) = _plan("postgres", f"postgresql://{url}").secret("s", GATE)
    return conninfo


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ann:p%40ss%2Fw%27%5C@db:99/shop", ["user='ann'", r"password='p@ss/w\'\\'", "host='db'"]),
        ("db/shop", ["dbname='shop'", f"port='{GATE}'", "hostaddr='127.0.0.1'"]),
        ("db/shop?sslmode=verify-full&sslrootcert=/a%20b", ["sslrootcert='/a b'"]),
        ("db/shop", ["application_name='pondflight'"]),
        ("db/shop?application_name=mine", ["application_name='mine'"]),
        ("/shop?host=/run/pg", ["host='localhost'", "sslmode='disable'"]),
        ("db/shop?options=-c%20search_path%3Dx", ["options='-c search_path=x'"]),
    ],
)
def test_libpq_is_told_what_the_url_says(url: str, words: list[str]) -> None:
    conninfo = _postgres(url)
    assert [word for word in words if word not in conninfo] == []


def test_credentials_are_parameters_and_never_in_a_statement() -> None:
    for system, scheme in (("postgres", "postgresql"), ("mysql", "mysql")):
        made = _plan(system, f"{scheme}://ann:hunter2@db.example.com/shop")
        create, parameters = made.secret("s", GATE)
        assert any("hunter2" in parameter for parameter in parameters)
        for text in (create, made.attach("s", GATE), repr(made), repr(made.spec)):
            assert "hunter2" not in text
            assert "ann" not in text or text == repr(made)
        assert "db.example.com" not in made.attach("s", GATE)


@pytest.mark.parametrize(("read_only", "word"), [(True, "READ_ONLY"), (False, "")])
def test_read_only_unless_it_says_otherwise(read_only: bool, word: str) -> None:
    attach = _plan("mysql", "mysql://h/d", read_only=read_only).attach("s", GATE)
    assert ("READ_ONLY" in attach) == bool(word)


@pytest.mark.parametrize(
    ("system", "url", "address"),
    [
        ("postgres", "postgresql://db/shop", Address("db", 5432)),
        ("postgres", "postgresql://db/shop?hostaddr=10.0.0.1", Address("10.0.0.1", 5432)),
        ("postgres", "postgresql://[::1]:99/shop", Address("::1", 99)),
        ("postgres", "postgresql:///shop?host=/run", Address("/run/.s.PGSQL.5432", 0)),
        ("mysql", "mysql://db/shop", Address("db", 3306)),
        ("mysql", "mysql://db/shop?socket=/run/my.sock", Address("/run/my.sock", 0)),
        ("postgres", "postgresql://one,two/shop", None),
        ("mysql", "mysql://db/shop?ssl_mode=VERIFY_IDENTITY", None),
    ],
)
def test_the_gate_leads_to_the_server(system: str, url: str, address: Address | None) -> None:
    upstream = _plan(system, url).upstream
    assert (upstream.address if upstream else None) == address


@pytest.mark.parametrize(
    ("text", "kind", "port"),
    [
        (
            (
                'IO Error: Unable to connect to Postgres at "": connection to server at "db"'
                " (127.0.0.1), port 4711 failed: FATAL:  password authentication failed"
            ),
            Kind.REFUSED,
            4711,
        ),
        (
            (
                'IO Error: Unable to connect to Postgres at "": connection to server at "db"'
                " (127.0.0.1), port 4711 failed: FATAL:  sorry, too many clients already"
            ),
            Kind.CROWDED,
            4711,
        ),
        (
            (
                'IO Error: Failed to connect to MySQL database with parameters "port=4711": Can\'t'
                " connect to server on '127.0.0.1'"
            ),
            Kind.AWAY,
            4711,
        ),
        ("IO Error: server closed the connection unexpectedly", Kind.BROKEN, None),
    ],
)
def test_a_fault_is_recognised(text: str, kind: Kind, port: int | None) -> None:
    fault = fault_of(text)
    assert fault is not None
    assert (fault.kind, fault.port) == (kind, port)


def test_an_error_about_something_else_is_none() -> None:
    assert fault_of('Catalog Error: Table with name "orders" does not exist!') is None
    assert missing_name('Binder Error: Catalog "Shop" does not exist!') == "shop"
    assert missing_name("Catalog Error: Table with name orders does not exist!") is None


@pytest.mark.parametrize(
    "place",
    [
        'at "10.255.255.1", port 5999',
        'at "db.internal" (10.0.0.7), port 5432',
        'on socket "/srv/pg/.s.PGSQL.5432"',
    ],
)
def test_nobody_is_told_where_a_server_behind_the_server_is(place: str) -> None:
    told = 'ERROR:  could not connect to server "far"\nDETAIL:  connection to {} failed: x'
    assert without_addresses(told.format(f"server {place}")) == told.format("a server")
