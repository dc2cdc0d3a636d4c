"""The dialect `pondflight+flightsql`, as SQLAlchemy and pandas use it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql

from integration.deployment import Deployment

SHOP = """
CREATE SCHEMA shop;
CREATE TABLE shop.item (
    id INTEGER PRIMARY KEY, name VARCHAR NOT NULL DEFAULT 'none', price DECIMAL(10, 2),
    UNIQUE (name), CHECK (price >= 0));
CREATE TABLE shop.sale ("when" TIMESTAMP WITH TIME ZONE, item INTEGER REFERENCES shop.item (id));
CREATE INDEX sale_item ON shop.sale (item);
CREATE UNIQUE INDEX sale_twice ON shop.sale ("when", (item + 1));
CREATE VIEW shop.cheap AS SELECT * FROM shop.item WHERE price < 1;
COMMENT ON TABLE shop.item IS 'what is sold';
COMMENT ON COLUMN shop.item.price IS 'in euros';
CREATE TABLE plain (i INTEGER);
"""


@pytest.fixture(name="engine", scope="module")
def fixture_engine(deployment: Deployment) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url(deployment, "ada"))
    yield engine
    engine.dispose()


@pytest.fixture(name="seller", scope="module")
def fixture_seller(deployment: Deployment) -> Iterator[sa.Engine]:
    """Return an engine of the user that the shop belongs to."""
    engine = sa.create_engine(url(deployment, "seller"))
    with engine.begin() as connection:
        connection.exec_driver_sql(SHOP)
    yield engine
    engine.dispose()


@pytest.fixture(name="shop")
def fixture_shop(seller: sa.Engine) -> sa.Inspector:
    return sa.inspect(seller)


def url(deployment: Deployment, sub: str, database: str = "") -> str:
    token, port = deployment.token(sub), deployment.flight_port
    return f"pondflight+flightsql://token:{token}@127.0.0.1:{port}/{database}?tls=false"


def test_lists_what_there_is(shop: sa.Inspector) -> None:
    assert shop.get_schema_names() == ["main", "shop"]
    assert shop.get_table_names() == ["plain"]
    assert shop.get_table_names("shop") == ["item", "sale"]
    assert shop.get_view_names("shop") == ["cheap"]
    assert "price < 1" in shop.get_view_definition("cheap", "shop")
    assert shop.has_table("item", "shop")
    assert shop.has_table("cheap", "shop")
    assert not shop.has_table("item")
    with pytest.raises(sa.exc.NoSuchTableError, match=r"shop\.none"):
        shop.get_columns("none", "shop")


def test_describes_a_table(shop: sa.Inspector) -> None:
    columns = shop.get_columns("item", "shop")
    assert [(one["name"], str(one["type"]), one["nullable"]) for one in columns] == [
        ("id", "INTEGER", False),
        ("name", "VARCHAR", False),
        ("price", "DECIMAL(10, 2)", True),
    ]
    assert columns[1]["default"] == "'none'"
    assert columns[2]["comment"] == "in euros"
    assert shop.get_table_comment("item", "shop") == {"text": "what is sold"}
    assert shop.get_pk_constraint("item", "shop")["constrained_columns"] == ["id"]
    assert shop.get_pk_constraint("sale", "shop")["constrained_columns"] == []
    assert [one["column_names"] for one in shop.get_unique_constraints("item", "shop")] == [
        ["name"]
    ]
    assert [one["sqltext"] for one in shop.get_check_constraints("item", "shop")] == [
        "(price >= 0)"
    ]
    (key,) = shop.get_foreign_keys("sale", "shop")
    assert (key["referred_schema"], key["referred_table"]) == ("shop", "item")
    assert (key["constrained_columns"], key["referred_columns"]) == (["item"], ["id"])
    plain, twice = shop.get_indexes("sale", "shop")
    assert (plain["column_names"], plain["unique"]) == (["item"], False)
    assert (twice["column_names"], twice["unique"]) == (["when", None], True)
    assert shop.get_indexes("item", "shop") == []


def test_reflects_tables_with_their_keys(seller: sa.Engine) -> None:
    sale = sa.Table("sale", sa.MetaData(), schema="shop", autoload_with=seller)
    item = sale.metadata.tables["shop.item"]
    assert item.primary_key.columns.keys() == ["id"]
    with seller.begin() as connection:
        connection.execute(item.insert(), [{"id": 1, "name": "a", "price": Decimal("0.50")}])
        connection.execute(
            sale.insert().values({"when": datetime(2026, 1, 2, tzinfo=UTC), "item": 1})
        )
        query = sa.select(sale.c.when, item.c.name, item.c.price).join(item)
        assert connection.execute(query).one() == (
            datetime(2026, 1, 2, tzinfo=UTC),
            "a",
            Decimal("0.50"),
        )


def test_other_catalogs_have_their_name_before_the_schema(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TEMP TABLE mine (i INTEGER)")
        inspector = sa.inspect(connection)
        assert inspector.get_temp_table_names() == ["mine"]
        assert "mine" not in inspector.get_table_names()
        assert inspector.has_table("mine")
        far = sa.Table("far", sa.MetaData(), sa.Column("i", sa.Integer), schema='memory."a.b"')
        connection.exec_driver_sql('CREATE SCHEMA "a.b"')
        far.create(connection)
        assert connection.execute(far.insert(), {"i": 1}).rowcount == 1
        inspector = sa.inspect(connection)
        assert '"a.b"' in inspector.get_schema_names()
        assert inspector.get_table_names('"a.b"') == inspector.get_table_names('memory."a.b"')
        assert inspector.get_table_names('"a.b"') == ["far"]


def test_every_keyword_can_be_a_name(deployment: Deployment) -> None:
    # A user of its own, since this runs nearly as many statements as one user may at once.
    engine = sa.create_engine(url(deployment, "keywords"), poolclass=sa.NullPool)
    with engine.begin() as connection:
        text = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'"
        keywords = sorted(connection.exec_driver_sql(text).scalars())
        assert {"at", "order", "qualify"} <= set(keywords)
        columns = [sa.Column(word, sa.Integer) for word in keywords]
        wide = sa.Table("select", sa.MetaData(), *columns, schema="table")
        connection.execute(sa.schema.CreateSchema("table"))
        wide.create(connection)
        connection.execute(wide.insert(), dict.fromkeys(keywords, 1))
        connection.execute(wide.update().values({word: wide.c[word] + 1 for word in keywords}))
        largest = [sa.func.max(column).label(column.name) for column in wide.c]
        assert connection.execute(sa.select(*largest)).one() == (2,) * len(keywords)
        assert [one["name"] for one in sa.inspect(connection).get_columns("select", "table")] == (
            keywords
        )
        for word in keywords:
            sa.Table(word, sa.MetaData(), sa.Column("i", sa.Integer)).create(connection)
        assert set(keywords) <= set(sa.inspect(connection).get_table_names())
        connection.rollback()


def test_every_type_is_reflected_and_can_be_made_again(engine: sa.Engine) -> None:
    names = """
        BOOLEAN UTINYINT SMALLINT INTEGER BIGINT HUGEINT UBIGINT FLOAT DOUBLE VARCHAR BLOB DATE TIME
        TIMESTAMP TIMESTAMP_NS TIMESTAMPTZ INTERVAL UUID JSON BIT DECIMAL(38,10) INTEGER[]
        VARCHAR[][] ENUM('a','b') MAP(VARCHAR,INTEGER) INTEGER[3]"""
    types = [*names.split(), "STRUCT(x INTEGER, y VARCHAR[])", "UNION(a INTEGER, b VARCHAR)"]
    made = ", ".join(f"c{number} {text}" for number, text in enumerate(types))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE every ({made})")
        table = sa.Table("every", sa.MetaData(), autoload_with=connection)
        assert len(table.columns) == len(types)
        table.to_metadata(sa.MetaData(), name="again").create(connection)
        sql = "SELECT data_type FROM duckdb_columns() WHERE table_name = '{}' ORDER BY column_index"
        before, after = (
            [text for (text,) in connection.exec_driver_sql(sql.format(name))]
            for name in ("every", "again")
        )
        wider = {"UTINYINT": "SMALLINT", "INTEGER[3]": "INTEGER[]"}
        assert after == [wider.get(text, text) for text in before]


def test_values_come_back_as_they_went(engine: sa.Engine) -> None:
    columns: dict[str, tuple[Any, Any]] = {
        "i": (sa.BigInteger(), 2**62),
        "f": (sa.Float(), 0.1),
        "n": (sa.Numeric(), Decimal("123456.0123456789")),
        "d": (sa.Numeric(12, 3), Decimal("1.125")),
        "s": (sa.String(10), "äöü"),
        "b": (sa.LargeBinary(), b"\x00\xff"),
        "t": (sa.Boolean(), True),
        "day": (sa.Date(), date(2026, 2, 28)),
        "clock": (sa.Time(), time(12, 30, 15)),
        "at": (sa.DateTime(), datetime(2026, 2, 28, 1, 2, 3, 4)),  # noqa: DTZ001
        "there": (sa.DateTime(timezone=True), datetime(2026, 2, 28, tzinfo=UTC)),
        "u": (sa.Uuid(), UUID(int=7)),
        "j": (sa.JSON(), {"a": [1, None]}),
        "l": (postgresql.ARRAY(sa.Integer), [1, 2]),
        "none": (sa.Integer(), None),
    }
    table = sa.Table("kept", sa.MetaData(), *(sa.Column(n, t) for n, (t, _) in columns.items()))
    with engine.begin() as connection:
        table.create(connection)
        row = {name: value for name, (_, value) in columns.items()}
        connection.execute(table.insert(), row)
        connection.execute(table.insert(), [row, row])
        assert connection.execute(table.select()).mappings().all() == [row] * 3
        found = connection.execute(sa.select(table.c.s).where(table.c.s.regexp_match("ö")))
        assert found.scalars().all() == ["äöü"] * 3


class Base(orm.DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "person"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]


def test_objects_are_numbered_changed_and_deleted(engine: sa.Engine) -> None:
    Base.metadata.create_all(engine)
    Base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        session.add_all([Person(name="ada"), Person(name="bob")])
        session.commit()
        ada = session.scalars(sa.select(Person).filter_by(name="ada")).one()
        ada.name = "Ada"
        session.commit()
        session.delete(ada)
        session.commit()
        assert session.scalars(sa.select(Person.name)).all() == ["bob"]
        session.add(Person(name="eve"))
        session.flush()
        session.rollback()
        assert session.scalar(sa.select(sa.func.count(Person.id))) == 1
    Base.metadata.drop_all(engine)
    assert not sa.inspect(engine).has_table("person")
    assert not sa.inspect(engine).has_sequence("person_id_seq")


def test_a_failed_statement_costs_its_transaction_alone(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE alone (i INTEGER PRIMARY KEY)")
    with pytest.raises(sa.exc.DBAPIError, match="duplicate key"), engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO alone VALUES (1)"))
        connection.execute(sa.text("INSERT INTO alone VALUES (:i)"), {"i": 1})
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM alone").scalar() == 0
    automatic = engine.execution_options(isolation_level="AUTOCOMMIT")
    with automatic.connect() as connection:
        connection.exec_driver_sql("INSERT INTO alone VALUES (1)")
    with engine.connect() as connection:
        assert connection.get_isolation_level() == "SNAPSHOT"
        assert connection.exec_driver_sql("SELECT count(*) FROM alone").scalar() == 1


def test_the_engine_can_have_every_statement_commit(deployment: Deployment) -> None:
    automatic = sa.create_engine(url(deployment, "ada"), isolation_level="AUTOCOMMIT")
    for _ in range(2):
        with automatic.connect() as connection:
            assert connection.get_isolation_level() == "AUTOCOMMIT"
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS committed (i INTEGER)")
            connection.exec_driver_sql("INSERT INTO committed VALUES (1)")
    with automatic.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM committed").scalar() == 2
    automatic.dispose()


def test_pandas_reads_and_writes(engine: sa.Engine) -> None:
    frame = pd.DataFrame(
        {
            "i": range(3000),
            "f": [0.1] * 3000,
            "s": ["x", None, "y"] * 1000,
            "at": [pd.Timestamp("2026-01-01")] * 3000,
        }
    )
    assert frame.to_sql("frame", engine, index=False) is not None
    frame.to_sql("frame", engine, index=False, if_exists="append")
    back = pd.read_sql_table("frame", engine)
    assert len(back) == 6000
    pd.testing.assert_frame_equal(back[:3000], frame, check_dtype=False)
    frame[:10].to_sql("frame", engine, index=False, if_exists="replace", method="multi")
    query = sa.text("SELECT i FROM frame WHERE i > :i")
    assert pd.read_sql(query, engine, params={"i": 7})["i"].tolist() == [8, 9]


def test_the_url_names_catalog_and_schema(deployment: Deployment, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA there; CREATE TABLE there.t (i INTEGER)")
        connection.exec_driver_sql("ATTACH ':memory:' AS away")
    paths = {
        "memory.there": "there",
        "memory": "main",
        "": "main",
        "?schema=there": "there",
        "away?schema=memory.there": "there",
        "away.main?schema=main": "main",
    }
    for path, schema in paths.items():
        database, _, query = path.partition("?")
        other = sa.create_engine(f"{url(deployment, 'ada', database)}&{query}")
        inspector = sa.inspect(other)
        assert inspector.default_schema_name == schema
        assert inspector.has_table("t") == (schema == "there")
        other.dispose()


@pytest.mark.parametrize(
    ("query", "message"),
    [("tls=perhaps", "true or false"), ("tsl=false", "unknown in the URL: tsl")],
)
def test_mistakes_in_the_url_are_told(query: str, message: str) -> None:
    with pytest.raises(sa.exc.ArgumentError, match=message):
        sa.create_engine(f"pondflight+flightsql://token:t@localhost/?{query}").connect()
