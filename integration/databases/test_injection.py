"""Text that looks like SQL, in rows, statements and parameters: none of it becomes SQL."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from integration.conftest import Deploy
from integration.databases.support import NO_LIMITS, failure, rows
from integration.deployment import Deployment
from integration.servers import MariaDB

MARK = f"m{secrets.token_hex(4)}"
"""In every text, so that it is found in the log."""

TEXTS = [
    f"{MARK} plain",
    f"{MARK} o'hara",
    f"{MARK} \\",
    f"{MARK} \\' OR 1 = 1 -- ",
    f"{MARK} \\\\' OR 1 = 1 -- ",
    f"{MARK}\\' UNION SELECT 99, current_user(), 1 -- ",
    f"{MARK}\\' UNION SELECT 99, current_user(), 1 # ",
    f"{MARK}' OR '1' = '1",
    f'{MARK}" OR "1" = "1',
    f'{MARK}\\" OR 1 = 1 -- ',
    f"{MARK}`; DROP TABLE corpus.text; -- ",
    f"{MARK} %_\\%\\_",
    f"{MARK}\n\\n\t\\t\\Z\\0",
    f"{MARK} \u0160\\' OR 1 = 1 -- ",
    f"{MARK} \u00bf\\' \u7e01\\' OR 1 = 1 -- ",
    f"{MARK} e' \\x27 $$ /* */ -- ; ?",
    f"{MARK} UPPER",
    f"{MARK} upper",
    f"{MARK} upper ",
    f"{MARK} \u00fcpper",
]

SERVERS = {
    "as it comes": "",
    "no escapes": "SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'",
    "quotes for names, no escapes": "SET GLOBAL sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES'",
    "gbk": "SET GLOBAL init_connect = 'SET NAMES gbk', GLOBAL character_set_server = gbk",
    "latin1": "SET GLOBAL init_connect = 'SET NAMES latin1', GLOBAL character_set_server = latin1",
}


@pytest.fixture(scope="module", params=list(SERVERS.values()), ids=list(SERVERS), name="server")
def fixture_server(request: pytest.FixtureRequest) -> Iterator[MariaDB]:
    server = MariaDB("--general-log")
    try:
        server.start()
        texts = ", ".join(f"({i}, 0x{text.encode().hex()}, {i})" for i, text in enumerate(TEXTS))
        columns = "(id INT PRIMARY KEY, text VARCHAR(200), number INT)"
        server.run(
            "CREATE DATABASE corpus;"
            f"CREATE TABLE corpus.text {columns} CHARACTER SET utf8mb4;"
            f"CREATE TABLE corpus.bin {columns} COLLATE utf8mb4_bin;"
            f"INSERT INTO corpus.text VALUES {texts}; INSERT INTO corpus.bin VALUES {texts};"
            f"GRANT ALL ON corpus.* TO {server.user}@'%'; {request.param}"
        )
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module", name="corpus")
def fixture_corpus(deploy: Deploy, server: MariaDB) -> Deployment:
    entry = {"type": "mysql", "connection_string": server.url("corpus")}
    entries = [entry | {"alias": "crm"}, entry | {"alias": "ours", "read_only": False}]
    return deploy({"duckdb": {"attached_databases": entries}, "security": NO_LIMITS})


def _log(server: MariaDB) -> str:
    return (server.folder / "general.log").read_text("utf-8", "replace")


QUERIES = [
    "SELECT id FROM {t} WHERE text = {text}",
    "SELECT id FROM {t} WHERE text <> {text}",
    "SELECT id FROM {t} WHERE text IN ({text}, 'nothing')",
    "SELECT id FROM {t} WHERE text >= {text} AND id < 15",
    "SELECT id FROM {t} WHERE text LIKE {text} || '%' OR number = 3",
    "SELECT id FROM {t} WHERE starts_with(text, {text}) AND number > 0",
    "SELECT id FROM {t} WHERE text = (SELECT max(text) FROM mine WHERE text = {text})",
    "SELECT id FROM {t} WHERE text IN (SELECT text FROM mine WHERE text = {text})",
    "SELECT t.id FROM {t} AS t JOIN mine AS m ON t.text = m.text WHERE m.text = {text}",
    "SELECT max(id) FROM {t} WHERE text = {text} GROUP BY text ORDER BY text LIMIT 3",
    "SELECT CASE WHEN id = 3 THEN text = {text} ELSE text > {text} END FROM {t} ORDER BY id",
]


@pytest.mark.parametrize("table", ["text", "bin"])
def test_no_text_of_a_query_reaches_mariadb(
    corpus: Deployment, server: MariaDB, table: str
) -> None:
    before = server.run("CHECKSUM TABLE corpus.text, corpus.bin; SHOW TABLES FROM corpus")
    with corpus.connect(autocommit=True) as connection:
        rows(connection, f"CREATE OR REPLACE TABLE mine AS FROM crm.{table}")
        begin = len(_log(server))
        for query in QUERIES:
            for text in TEXTS:
                literal = "'" + text.replace("'", "''") + "'"
                written = query.replace("{text}", literal)
                expected = sorted(rows(connection, written.replace("{t}", "mine")))
                if table == "bin":
                    bound = query.replace("{text}", "$1").replace("{t}", "crm.bin")
                    assert sorted(rows(connection, bound, (text,))) == expected, (bound, text)
                else:
                    asked = written.replace("{t}", "crm.text")
                    assert sorted(rows(connection, asked)) == expected, asked
        sent = _log(server)[begin:]
    assert "SELECT" in sent
    assert MARK not in sent
    assert server.run("CHECKSUM TABLE corpus.text, corpus.bin; SHOW TABLES FROM corpus") == before


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*), sum(a.number) FROM crm.{a} AS a JOIN crm.{b} AS b ON a.text = b.text",
        "SELECT count(b.text) FROM crm.{a} AS a LEFT JOIN crm.{b} AS b ON a.text = b.text",
        "SELECT count(*) FROM crm.{a} WHERE text IN (SELECT text FROM crm.{b})",
        "SELECT count(*) FROM crm.{a} WHERE text NOT IN (SELECT text FROM crm.{b})",
        "SELECT count(DISTINCT text), max(text), min(text) FROM crm.{a}",
        "SELECT count(*) FROM (SELECT text FROM crm.{a} UNION SELECT text FROM crm.{b})",
    ],
)
def test_no_text_of_a_row_reaches_mariadb(corpus: Deployment, server: MariaDB, query: str) -> None:
    with corpus.connect(autocommit=True) as connection:
        rows(connection, "CREATE OR REPLACE TABLE mine AS FROM crm.text")
        expected = rows(connection, re.sub(r"crm\.\{.\}", "mine", query))
        begin = len(_log(server))
        for a, b in (("text", "bin"), ("bin", "text"), ("bin", "bin")):
            assert rows(connection, query.format(a=a, b=b)) == expected
    assert MARK not in _log(server)[begin:]


def test_what_the_plan_could_not_know_reaches_mariadb_no_more(
    corpus: Deployment, server: MariaDB
) -> None:
    evil = f"'{MARK}' || chr(92) || ''' UNION SELECT 99, current_user(), 1 -- '"
    with corpus.connect(autocommit=True) as connection:
        begin = len(_log(server))
        for chance in (
            "epoch_us(now()) % 2 = 0",
            "current_setting('TimeZone') = 'UTC'",
            "current_query() LIKE 'EXPLAIN%'",
            "random() < 0.5",
        ):
            query = (
                f"SELECT id FROM crm.text WHERE CASE WHEN {chance} THEN id = 5"
                f" ELSE text = {evil} END"
            )
            for _ in range(5):
                assert set(rows(connection, query)) <= {(5,)}
    assert MARK not in _log(server)[begin:]


def test_rows_arrive_as_they_are_or_not_at_all(corpus: Deployment, server: MariaDB) -> None:
    escapes = "NO_BACKSLASH_ESCAPES" not in server.run("SELECT @@GLOBAL.sql_mode")
    with corpus.connect("writer", autocommit=True) as connection:
        literals = ["'" + text.replace("'", "''") + "'" for text in TEXTS]
        ways: list[tuple[str, Any]] = [
            (f"INSERT INTO ours.bin VALUES (100 + {i}, {literal}, 0)", None)
            for i, literal in enumerate(literals)
        ]
        ways += [
            ("INSERT INTO ours.bin VALUES (?, ?, ?)", (200 + i, text, 0))
            for i, text in enumerate(TEXTS)
        ]
        for insert, parameters in ways:
            if escapes:
                rows(connection, insert, parameters)
            else:
                assert "NO_BACKSLASH_ESCAPES" in failure(connection, insert, parameters)
        written = rows(connection, "SELECT text FROM ours.bin WHERE id >= 100 ORDER BY id")
    assert written == [(text,) for text in TEXTS] * 2 * escapes
    server.run("DELETE FROM corpus.bin WHERE id >= 100")
