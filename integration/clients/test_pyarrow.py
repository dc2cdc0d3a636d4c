"""pyarrow alone: SQL text as the command, a token in the headers, and no Flight SQL messages."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyarrow import flight

from integration.deployment import Deployment


def options(deployment: Deployment, token: str | None = None) -> flight.FlightCallOptions:
    value = f"Bearer {token or deployment.token('ada')}"
    return flight.FlightCallOptions(headers=[(b"authorization", value.encode())])


def table(deployment: Deployment, sql: str) -> pa.Table:
    with deployment.client() as client:
        descriptor = flight.FlightDescriptor.for_command(sql.encode())
        info = client.get_flight_info(descriptor, options(deployment))
        return client.do_get(info.endpoints[0].ticket, options(deployment)).read_all()


def test_sql_text_gives_rows(deployment: Deployment) -> None:
    found = table(deployment, "SELECT range AS i, 'Zoë' AS s FROM range(3)")
    assert found.to_pydict() == {"i": [0, 1, 2], "s": ["Zoë"] * 3}


def test_what_has_no_rows_gives_a_count(deployment: Deployment) -> None:
    assert table(deployment, "CREATE TABLE t (i INTEGER)").to_pylist() == [{"Count": 0}]
    assert table(deployment, "INSERT INTO t VALUES (1), (2)").to_pylist() == [{"Count": 2}]
    assert table(deployment, "SELECT count(*) AS n FROM t").to_pylist() == [{"n": 2}]


def test_without_a_session_state_is_the_users_default_session(deployment: Deployment) -> None:
    table(deployment, "CREATE TEMP TABLE plain AS SELECT 7 AS n")
    assert table(deployment, "FROM plain").to_pylist() == [{"n": 7}]
    with deployment.connect("ada") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM duckdb_tables() WHERE temporary")
        assert cursor.fetchall() == [(0,)]


def test_get_schema(deployment: Deployment) -> None:
    with deployment.client() as client:
        descriptor = flight.FlightDescriptor.for_command(b"SELECT 1.5 AS d")
        found = client.get_schema(descriptor, options(deployment)).schema
    assert found == pa.schema([("d", pa.decimal128(2, 1))])


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        (b"SELEC 1", 'syntax error at or near "SELEC"'),
        (b"", "no statement"),
        (b"SELECT 'a\0b'", "control character"),
        (b"\xff\xfe", "neither a Flight SQL message nor SQL text"),
    ],
)
def test_mistakes_are_said_in_words(deployment: Deployment, sql: bytes, text: str) -> None:
    with deployment.client() as client, pytest.raises(pa.ArrowInvalid, match=text) as caught:
        descriptor = flight.FlightDescriptor.for_command(sql)
        client.get_flight_info(descriptor, options(deployment))
    assert "Traceback" not in str(caught.value)


def test_a_long_message_of_duckdb_arrives_in_part_and_with_its_status(
    deployment: Deployment,
) -> None:
    sql = f"SELECT * FROM nope WHERE {' OR '.join(f'column_{i} = {i}' for i in range(5000))}"
    with pytest.raises(pa.ArrowInvalid, match="Table with name nope does not exist") as caught:
        table(deployment, sql)
    assert len(str(caught.value)) < 2500


@pytest.mark.parametrize("token", ["wrong", "a.b.c"])
def test_a_wrong_token_is_refused_on_every_call(deployment: Deployment, token: str) -> None:
    with deployment.client() as client:
        descriptor = flight.FlightDescriptor.for_command(b"SELECT 1")
        wrong = options(deployment, token)
        for call in (
            lambda: client.get_flight_info(descriptor, wrong),
            lambda: list(client.do_action(flight.Action("BeginTransaction", b""), wrong)),
            lambda: list(client.list_actions(wrong)),
        ):
            with pytest.raises(flight.FlightUnauthenticatedError, match="authentication failed"):
                call()
