"""pandas, polars and SQLAlchemy over ADBC."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

import pandas as pd
import polars as pl
import pytest
import sqlalchemy as sa
from adbc_driver_flightsql import dbapi

from integration.deployment import Deployment

TABLE = """
    CREATE OR REPLACE TABLE birds AS
    SELECT range::INTEGER AS id, 'bird ' || range AS name, (range / 4)::DECIMAL(9,2) AS price,
           DATE '2024-02-29' + range::INTEGER AS seen, TIMESTAMPTZ '2024-02-29 12:00:00+00' AS at_,
           ['a', 'b'] AS tags, CASE WHEN range % 2 = 0 THEN 'x' END AS maybe
    FROM range(10)
"""


@pytest.fixture(name="connection")
def fixture_connection(deployment: Deployment) -> Iterator[dbapi.Connection]:
    with deployment.connect("ada", autocommit=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute(TABLE)
        yield connection


def test_pandas_reads(connection: dbapi.Connection) -> None:
    frame = pd.read_sql("SELECT * FROM birds ORDER BY id", connection)
    assert list(frame.columns) == ["id", "name", "price", "seen", "at_", "tags", "maybe"]
    assert frame["id"].tolist() == list(range(10))
    assert str(frame["at_"].dt.tz) == "UTC"
    assert frame["maybe"].isna().sum() == 5


def test_pandas_writes(connection: dbapi.Connection) -> None:
    frame = pd.DataFrame({"i": [1, 2, 3], "s": ["a", None, "ü"]})
    for how, count in (("replace", 3), ("append", 6)):
        frame.to_sql("from_pandas", connection, if_exists=how, index=False)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*), count(s), max(i) FROM from_pandas")
            assert cursor.fetchall() == [(count, count * 2 // 3, 3)]


def test_polars_reads(connection: dbapi.Connection) -> None:
    frame = pl.read_database("SELECT * FROM birds ORDER BY id", connection)
    assert frame.shape == (10, 7)
    assert frame["price"].to_list()[3] == Decimal("0.75")
    assert frame["seen"].to_list()[0] == dt.date(2024, 2, 29)
    assert frame["tags"].to_list()[0] == ["a", "b"]
    total = pl.read_database("SELECT sum(id) AS n FROM birds", connection)  # HUGEINT
    assert total["n"].to_list() == [Decimal(45)]


def test_polars_writes(connection: dbapi.Connection) -> None:
    frame = pl.DataFrame(
        {"i": [1, 2], "s": ["a", None], "when": [dt.datetime(2024, 1, 1), None]}  # noqa: DTZ001
    )
    for how, count in (("replace", 2), ("append", 4)):
        written = frame.write_database("from_polars", connection, if_table_exists=how)  # type: ignore[arg-type,unused-ignore]
        assert written == 2
        again = pl.read_database("SELECT * FROM from_polars", connection)
        assert again.shape == (count, 3)
        assert again.head(2).equals(frame)


@pytest.fixture(name="engine")
def fixture_engine(deployment: Deployment) -> Iterator[sa.Engine]:
    token = deployment.token("ada")
    url = f"adbc+flightsql://token:{token}@127.0.0.1:{deployment.flight_port}?tls=false"
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


# SQLAlchemy leaves it to the garbage collector to close cursors.
unclosed = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@unclosed
def test_sqlalchemy_selects_and_inserts(engine: sa.Engine) -> None:
    metadata = sa.MetaData()
    books = sa.Table(
        "books",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("title", sa.String),
        sa.Column("price", sa.Numeric(9, 2)),
    )
    metadata.drop_all(engine)
    metadata.create_all(engine)
    rows = [
        {"id": 1, "title": "Zoë", "price": Decimal("1.50")},
        {"id": 2, "title": None, "price": None},
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(books), rows)
    with engine.connect() as connection:
        found = connection.execute(sa.select(books).order_by(books.c.id)).mappings().all()
        assert [dict(row) for row in found] == rows
        some = sa.select(books.c.title).where(books.c.id == 1)
        assert connection.execute(some).scalar() == "Zoë"
        connection.execute(sa.delete(books))
        connection.rollback()
        assert connection.execute(sa.select(sa.func.count()).select_from(books)).scalar() == 2


@unclosed
@pytest.mark.usefixtures("connection")
def test_sqlalchemy_reflects(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE OR REPLACE VIEW cheap AS SELECT id FROM birds"))
    inspector = sa.inspect(engine)
    assert "main" in inspector.get_schema_names()
    # It lists only tables whose type is "table"; Flight SQL's is "TABLE". By name all are found.
    assert inspector.has_table("birds", schema="main")
    assert inspector.has_table("cheap", schema="main")
    columns = {column["name"]: column["type"] for column in inspector.get_columns("birds", "main")}
    assert isinstance(columns["id"], sa.Integer)
    assert isinstance(columns["name"], sa.String)
    assert isinstance(columns["price"], sa.Numeric)
    assert isinstance(columns["seen"], sa.Date)
    birds = sa.Table("birds", sa.MetaData(), schema="main", autoload_with=engine)
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.max(birds.c.id))).scalar() == 9
