"""Statements that are kept by their text: what they say holds as long as the text alone says it."""

from __future__ import annotations

import duckdb
import pytest

from pondflight.engine.sql.kept import ParsedStatements
from pondflight.engine.sql.statement import parse
from tests.flight import Client


def kept(text: str) -> bool:
    parsed = ParsedStatements()
    with duckdb.connect() as parser:
        parsed.keep(text, parse(parser, text))
    return parsed.find(text) is not None


@pytest.mark.parametrize(
    "text",
    ["SELECT 42", "SELECT 1; SELECT 2", "INSERT INTO t VALUES (?)", "FROM t", "DELETE FROM t"],
)
def test_what_is_in_the_text_alone_is_kept(text: str) -> None:
    assert kept(text)


@pytest.mark.parametrize(
    "text",
    [
        "PRAGMA show_tables",
        "SET threads = 1",
        "BEGIN",
        "SELECT 1; PRAGMA version",
        f"SELECT '{'x' * 20_000}'",
    ],
)
def test_what_is_not_or_is_long_is_not(text: str) -> None:
    assert not kept(text)


def test_no_more_than_some_are_kept() -> None:
    parsed = ParsedStatements()
    for number in range(2000):
        parsed.keep(str(number), [])
    assert parsed.find("0") is None
    assert parsed.find("1999") == []


def test_a_column_whose_type_changes_leaves_as_its_new_type_does(client: Client) -> None:
    query = "SELECT x, y FROM changing"
    client.table("CREATE TABLE changing AS SELECT 1 AS x, 'a' AS y")
    for _ in range(2):
        assert client.rows(query) == [(1, "a")]
    client.table("CREATE OR REPLACE TABLE changing AS SELECT '101'::BIT AS x, 'a' AS y")
    assert client.rows(query) == [("101", "a")]
    client.table("CREATE OR REPLACE TABLE changing AS SELECT 2 AS y, 3::UHUGEINT AS x")
    assert client.rows(query) == [("3", 2)]


def test_a_ticket_of_before_the_change_gives_what_there_is_now(client: Client) -> None:
    client.table("CREATE TABLE changing AS SELECT 1 AS x")
    info = client.info("SELECT x FROM changing")
    client.table("CREATE OR REPLACE TABLE changing AS SELECT '101'::BIT AS x")
    found = client.flight.do_get(info.endpoints[0].ticket, client.options()).read_all()
    assert found.to_pylist() == [{"x": "101"}]
