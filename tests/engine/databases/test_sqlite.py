"""SQLite files: what users see is what SQLite says."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pondflight.engine import extensions
from pondflight.engine.databases.attached import Databases, Spec
from pondflight.engine.duck import files_folder, open_database

SCHEMA = """
    CREATE TABLE item (a INT, b INT, day TEXT, name TEXT);
    INSERT INTO item VALUES (7, 2, '2024-02-29 10:00:00', 'Abc');
    CREATE VIEW quotient AS SELECT a / b AS q, a / 2.0 AS half FROM item;
    CREATE VIEW day AS SELECT date(day) AS day, julianday(day) AS number FROM item;
    CREATE VIEW bytes AS SELECT x'00ff' AS b;
    CREATE VIEW alike AS SELECT name FROM item WHERE name LIKE 'a%';
    CREATE VIEW brackets AS SELECT [a], [b] AS [b c] FROM [item];
    CREATE VIEW gone AS SELECT id FROM nowhere;
    CREATE TABLE made (a INT, twice INT AS (a * 2), name TEXT AS ('n' || a) STORED);
    INSERT INTO made (a) VALUES (3);
    CREATE TABLE "a ""b"" `c`" (" x""y" INT);
    INSERT INTO "a ""b"" `c`" VALUES (1);
    CREATE TABLE keyed (y INT, x INT, PRIMARY KEY (x, y)) WITHOUT ROWID;
    CREATE TABLE cells (id INTEGER PRIMARY KEY, whole INT, clock TIME, ratio REAL, day DATE,
                        moment DATETIME, amount DECIMAL(20, 0), bare, note TEXT, image BLOB);
    INSERT INTO cells VALUES
        (1, 5, '10:00:00', 0.1, '2024-02-29', '2024-02-29 10:00:00', 2, 1, 'x', x'00ff'),
        (2, 'N/A', '11:30', 'inf', '2024-00-00', 1709200800, 9007199254740993, 'y',
         CAST(x'ff41' AS TEXT), 'text');
"""

Attach = Callable[..., duckdb.DuckDBPyConnection]


@pytest.fixture(name="file")
def fixture_file(tmp_path: Path) -> Path:
    path = tmp_path / "lite.db"
    with closing(sqlite3.connect(path)) as file:
        file.executescript(SCHEMA)
    return path


@pytest.fixture(name="attach")
def fixture_attach(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attach]:
    """Attaches the file as ``lite``; gives DuckDB's connection, and closes it."""
    with _worker(tmp_path / "scratch") as (database, databases):
        monkeypatch.chdir(files_folder(tmp_path / "scratch"))

        def attach(**fields: Any) -> duckdb.DuckDBPyConnection:
            databases.attach([Spec("lite", "sqlite", str(file), **fields)], require_all=True)
            return database

        yield attach


@contextmanager
def _worker(scratch: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, Databases]]:
    scratch.mkdir()
    database = open_database(scratch, memory_limit=1 << 30, threads=2)
    extensions.load(database, ["sqlite"])
    with closing(database):
        yield database, Databases(database, scratch)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("FROM lite.quotient", [(3, 3.5)]),
        ("SELECT day, round(number, 3) FROM lite.day", [("2024-02-29", 2460369.917)]),
        ("FROM lite.bytes", [(b"\x00\xff",)]),
        ("FROM lite.alike", [("Abc",)]),
        ('SELECT a, "b c" FROM lite.brackets', [(7, 2)]),
        ("FROM lite.made", [(3, 6, "n3")]),
        ('SELECT " x""y" FROM lite."a ""b"" `c`"', [(1,)]),
        ("SELECT count(*) FROM lite.keyed", [(0,)]),
    ],
)
def test_views_and_columns_are_what_sqlite_makes_of_them(
    attach: Attach, query: str, expected: list[tuple[object, ...]]
) -> None:
    assert attach().execute(query).fetchall() == expected


def test_a_broken_view_is_left_out_of_lists_and_said_in_the_log(
    attach: Attach, caplog: pytest.LogCaptureFixture
) -> None:
    database = attach()
    listed = "SELECT table_name FROM information_schema.tables WHERE table_catalog = 'lite'"
    names = {name for (name,) in database.execute(listed).fetchall()}
    assert {"item", "quotient", 'a "b" `c`'} <= names
    assert "gone" not in names
    assert database.execute("SELECT database_name FROM duckdb_databases()").fetchall() == [
        ("lite",),
        ("memory",),
        ("system",),
        ("temp",),
    ]
    assert "Table or view left out" in caplog.text


def test_text_is_the_type_of_a_column_whose_cells_differ(attach: Attach) -> None:
    database = attach()
    assert database.execute("SELECT * EXCLUDE (clock, image) FROM lite.cells").fetchall() == [
        (1, "5", "0.1", "2024-02-29", "2024-02-29 10:00:00", 2, "1", "x"),
        (2, "N/A", "inf", "2024-00-00", "1709200800", 2**53 + 1, "y", "\\xFFA"),
    ]
    types = dict(
        database.execute("SELECT column_name, column_type FROM (DESCRIBE lite.cells)").fetchall()
    )
    assert (types["id"], types["clock"], types["amount"]) == ("BIGINT", "TIME", "BIGINT")
    assert database.execute("SELECT image FROM lite.cells").fetchall() == [("X'00FF'",), ("text",)]


def test_null_is_what_such_cells_become(attach: Attach) -> None:
    columns = "whole, ratio, day, moment, amount, bare, note, image"
    query = f"SELECT {columns} FROM lite.cells WHERE id = 2"
    assert attach(on_invalid="null").execute(query).fetchall() == [
        (None, None, None, None, None, "y", None, None)
    ]


@pytest.mark.parametrize("column", ["whole", "ratio", "day", "moment", "amount", "image"])
def test_an_error_names_the_column_and_the_cell(attach: Attach, column: str) -> None:
    database = attach(on_invalid="error")
    assert database.execute("SELECT id FROM lite.cells").fetchall() == [(1,), (2,)]
    with pytest.raises(
        duckdb.Error, match=rf"the column {column} of lite\.cells is \w+, and"
    ) as no:
        database.execute(f"SELECT {column} FROM lite.cells").fetchall()
    assert "on_invalid" in str(no.value)


@pytest.mark.parametrize("on_invalid", ["text", "error", "null"])
def test_a_cell_that_comes_later_is_never_taken_for_another(
    attach: Attach, file: Path, on_invalid: str
) -> None:
    database = attach(on_invalid=on_invalid)
    with closing(sqlite3.connect(file)) as source, source:
        source.execute("UPDATE item SET a = 'many'")
        source.execute("INSERT INTO made (a) VALUES (1.5)")
    if on_invalid == "null":
        assert database.execute("SELECT a, b FROM lite.item").fetchall() == [(None, 2)]
        assert database.execute("SELECT a FROM lite.made").fetchall() == [(3,), (None,)]
        return
    for table in ("item", "made"):
        with pytest.raises(duckdb.Error, match="column"):
            database.execute(f"SELECT a FROM lite.{table}").fetchall()


def test_reals_arrive_with_every_bit(attach: Attach, file: Path) -> None:
    numbers = [0.1 + 0.2, 1e308, 5e-324, -1e-7, 1 / 3, 2.0**60, float("inf")]
    with closing(sqlite3.connect(file)) as source, source:
        source.execute("CREATE TABLE number (x)")
        source.execute("CREATE VIEW same AS SELECT x FROM number")
        source.executemany("INSERT INTO number VALUES (?)", [(number,) for number in numbers])
    found = attach().execute("SELECT x FROM lite.same").fetchall()
    assert [x for (x,) in found] == numbers


def test_a_file_is_not_written_to(attach: Attach) -> None:
    database = attach()
    for statement in (
        "DELETE FROM lite.item",
        "CREATE TABLE lite.own (a INT)",
        "DROP VIEW lite.day",
    ):
        with pytest.raises(duckdb.Error):
            database.execute(statement)


def test_a_file_with_views_is_only_read(attach: Attach, caplog: pytest.LogCaptureFixture) -> None:
    database = attach(read_only=False)
    assert database.execute("FROM lite.quotient").fetchall() == [(3, 3.5)]
    assert "Database can only be read" in caplog.text


def test_a_view_that_takes_too_long_has_columns_of_text(attach: Attach, file: Path) -> None:
    with closing(sqlite3.connect(file)) as source, source:
        source.execute(
            "CREATE VIEW long AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
            " WHERE i < 5000000) SELECT sum(i) AS total FROM n"
        )
    assert attach().execute("FROM lite.long").fetchall() == [("12500002500000",)]
