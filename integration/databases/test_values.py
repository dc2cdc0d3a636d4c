"""Values that DuckDB would change while reading or writing: refused, or correct."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from math import inf, isnan

import pyarrow as pa
import pytest
from adbc_driver_manager.dbapi import Error

from integration.conftest import Deploy
from integration.databases.support import NO_LIMITS, failure, rows
from integration.deployment import Deployment
from integration.servers import MariaDB, Postgres
from pondflight.engine.duck import literal

POSTGRES = """
    CREATE TABLE amount (id INT, price numeric(10,2), free numeric, many numeric,
                         wide numeric(50,2), list numeric[], name text);
    INSERT INTO amount VALUES (1, 1.25, 0.1, 12345678901234567.89, 1, '{0.5}', 'a');
    CREATE TABLE special (id INT, price numeric(10,2), free numeric, list numeric[],
                          moment timestamp, moments timestamptz[]);
    INSERT INTO special VALUES (1, 'NaN', 'NaN', '{NaN}', '294276-12-31', '{294276-12-31}'),
                               (2, 1, 'Infinity', '{1}', 'infinity', '{infinity}');
    CREATE VIEW total AS SELECT sum(price) AS price FROM amount;
    CREATE TABLE altered (n numeric(10,2), d date, r real);
    INSERT INTO altered VALUES (1.25, '2024-01-01', 1.5);
    CREATE TABLE scaled (id INT, hundreds numeric(3,-2), tiny numeric(3,5)[]);
    INSERT INTO scaled VALUES (1, 12300, '{0.00123}');
"""
RAW = """
    CREATE TABLE unlisted (price numeric(10,2));
    INSERT INTO unlisted VALUES ('NaN');
    CREATE TABLE note (id int, word text, words text[]);
    INSERT INTO note VALUES (1, 'caf' || chr(233), NULL), (2, 'ok', ARRAY[chr(233)]),
                            (3, 'ok', '{ok}');
"""
MYSQL = """
    SET sql_mode = '';
    CREATE TABLE amount (id INT, small DECIMAL(10,2), wide DECIMAL(60,20), few DECIMAL(50,2));
    INSERT INTO amount VALUES (1, 1.25, 1234567890123456789012345.12345, 0.25);
    CREATE TABLE happened (id INT, day DATE);
    INSERT INTO happened VALUES (1, '2024-02-29'), (2, '0000-00-00'), (3, '2024-00-00');
    CREATE TABLE Twin (a INT); CREATE TABLE twin (a INT); INSERT INTO twin VALUES (1);
    CREATE TABLE `of ``id` (id INT); CREATE TABLE ticked (id INT, `a``b` INT, `c\\d` INT);
"""
UNEVEN = "CREATE TABLE Twin (a INT, b INT, c INT, d INT); CREATE TABLE twin (a INT)"
EXACT = """
    CREATE VIEW exact AS FROM postgres_query('odd', 'SELECT many::text AS many FROM amount');
    CREATE VIEW nothing AS FROM postgres_query('odd', 'SELECT free::text AS free FROM special');
    CREATE VIEW whole AS FROM mysql_query('odd_my', 'SELECT CAST(wide AS CHAR) AS w FROM amount')
"""


@pytest.fixture(scope="module", name="odd")
def fixture_odd(deploy: Deploy, postgres: Postgres, mariadb: MariaDB) -> Iterator[Deployment]:
    """Return a deployment with databases of odd values; ``loose`` has ``exact: false``."""
    postgres.run("CREATE DATABASE odd")
    postgres.run(f"{POSTGRES} GRANT ALL ON ALL TABLES IN SCHEMA public TO reader", "odd")
    postgres.run("GRANT CREATE ON SCHEMA public TO reader", "odd")
    postgres.run("CREATE DATABASE loose")
    postgres.run("CREATE TABLE lossy AS SELECT 12345678901234567.89 AS many", "loose")
    postgres.run("GRANT SELECT ON lossy TO reader", "loose")
    postgres.run(
        "CREATE DATABASE raw TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    postgres.run(f"{RAW} GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", "raw")
    attach = (
        f"CREATE SECRET theirs (TYPE postgres, HOST '127.0.0.1', PORT '{postgres.port}', DATABASE"
        f" 'raw', USER {literal(postgres.user)}, PASSWORD {literal(postgres.password)});"
        " ATTACH '' AS raw (TYPE postgres, SECRET theirs, READ_ONLY)"
    )
    mariadb.run("CREATE DATABASE odd; GRANT ALL ON odd.* TO reader@'%'")
    mariadb.run(MYSQL, "odd")
    mariadb.run("CREATE DATABASE odd2; GRANT ALL ON odd2.* TO reader@'%'")
    mariadb.run("CREATE TABLE far AS SELECT wide FROM odd.amount", "odd2")
    mariadb.run("CREATE DATABASE uneven; GRANT ALL ON uneven.* TO other@'%' IDENTIFIED BY 'other'")
    mariadb.run(UNEVEN, "uneven")
    mariadb.run("CREATE DATABASE even; GRANT ALL ON even.* TO third@'%' IDENTIFIED BY 'third'")
    mariadb.run("CREATE TABLE Pair (a INT); CREATE TABLE pair (a INT)", "even")
    even = f"mysql://third:third@127.0.0.1:{mariadb.port}/even"
    uneven = f"mysql://other:other@127.0.0.1:{mariadb.port}/uneven"
    pg = {"type": "postgres", "connection_string": postgres.url("odd"), "read_only": False}
    my = {"type": "mysql", "connection_string": mariadb.url("odd"), "read_only": False}
    entries = [
        {"alias": "odd", **pg},
        {
            "alias": "loose",
            "type": "postgres",
            "exact": False,
            "connection_string": postgres.url("loose"),
        },
        {"alias": "odd_my", **my},
        {"alias": "loose_my", "type": "mysql", "connection_string": even, "exact": False},
        {"alias": "uneven", "type": "mysql", "connection_string": uneven},
    ]
    initial = f"{attach}; {EXACT}"
    yield deploy(
        {"duckdb": {"attached_databases": entries, "init_sql": initial}, "security": NO_LIMITS}
    )
    postgres.run("DROP DATABASE raw WITH (FORCE)")
    postgres.run("DROP DATABASE odd WITH (FORCE)")
    postgres.run("DROP DATABASE loose WITH (FORCE)")
    mariadb.run("DROP DATABASE odd; DROP DATABASE odd2; DROP DATABASE uneven; DROP DATABASE even")
    mariadb.run("DROP USER other@'%', third@'%'")


@pytest.mark.parametrize(
    ("query", "column"),
    [
        ("SELECT many FROM odd.public.amount", "many"),
        ("SELECT count(*) FROM odd.public.amount WHERE many > 1", "many"),
        ("SELECT sum(many) FROM odd.public.amount", "many"),
        ("SELECT price FROM odd.public.special", "price"),
        ("SELECT list FROM odd.public.special", "list"),
        ("SELECT moment FROM odd.public.special", "moment"),
        ("SELECT moments FROM odd.public.special", "moments"),
        ("SELECT wide FROM odd_my.amount", "wide"),
        ("SELECT wide FROM odd_my.odd2.far", "wide"),
        ("SELECT hundreds FROM odd.public.scaled", "hundreds"),
        ("SELECT hundreds::VARCHAR FROM odd.public.scaled", "hundreds"),
        ("SELECT max(hundreds)::DOUBLE FROM odd.public.scaled", "hundreds"),
        ("SELECT id FROM odd.public.scaled WHERE hundreds > 1", "hundreds"),
        ("SELECT tiny::VARCHAR FROM odd.public.scaled", "tiny"),
        ("INSERT INTO odd.public.scaled (id, hundreds) VALUES (2, 45600)", "hundreds"),
        ("PIVOT odd.public.special ON id USING max(price) GROUP BY moment", "price"),
        ("CREATE TEMP TABLE copy AS SELECT many FROM odd.public.amount", "many"),
        ("INSERT INTO odd.public.amount (id, free) VALUES (2, 98765432109876543.21)", "free"),
        ("INSERT INTO odd.public.amount SELECT * FROM odd.public.amount", "free"),
        ("UPDATE odd.public.amount SET wide = 5 WHERE id = 1", "wide"),
        ("INSERT INTO odd_my.amount (id, wide) VALUES (2, 98765432109876543.21)", "wide"),
    ],
)
def test_what_would_be_another_value_is_refused_by_name(
    odd: Deployment, query: str, column: str
) -> None:
    with odd.connect(autocommit=True) as connection:
        said = failure(connection, query)
    assert f"the column {column} of odd" in said
    assert "EXPLAIN" not in said


@pytest.mark.parametrize(
    ("query", "column"),
    [
        ("INSERT INTO odd.public.amount (id, free) VALUES (?, ?)", "free"),
        ("INSERT INTO odd_my.amount (id, wide) VALUES (?, ?)", "wide"),
        ("INSERT INTO odd.public.amount (id, price) VALUES (?, ?)", None),
    ],
)
def test_many_rows_of_parameters_are_written_as_one_is(
    odd: Deployment, query: str, column: str | None
) -> None:
    bound = [(90, Decimal("0.25")), (91, Decimal("98765432.25"))]
    counted = "SELECT count(*) FROM odd.public.amount WHERE id >= 90"
    with odd.connect(autocommit=True) as connection, connection.cursor() as cursor:
        if column is not None:
            with pytest.raises(Error, match=f"the column {column} of odd"):
                cursor.executemany(query, bound)
            assert rows(connection, counted) == [(0,)]
            return
        cursor.executemany(query, bound)
        assert rows(connection, counted) == [(2,)]
        cursor.execute("DELETE FROM odd.public.amount WHERE id >= 90")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "SELECT price, free, wide, list FROM odd.public.amount",
            (Decimal("1.25"), 0.1, 1.0, [0.5]),
        ),
        ("SELECT count(*) FROM odd.public.special", (2,)),
        ("SELECT id FROM odd.public.special WHERE id = 1", (1,)),
        ("SELECT price FROM odd.public.total", (1.25,)),
        ("SELECT small, few FROM odd_my.amount", (Decimal("1.25"), 0.25)),
        ("SELECT many FROM loose.public.lossy", (12345678901234567.89,)),
        ("SELECT id FROM odd.public.scaled", (1,)),
        (
            "SELECT many, many::DECIMAL(38, 2) FROM exact",
            ("12345678901234567.89", Decimal("12345678901234567.89")),
        ),
        ("SELECT list(free ORDER BY free) FROM nothing", (["Infinity", "NaN"],)),
        ("FROM whole", ("1234567890123456789012345.12345000000000000000",)),
    ],
)
def test_what_is_the_same_value_is_read(
    odd: Deployment, query: str, expected: tuple[object, ...]
) -> None:
    with odd.connect(autocommit=True) as connection:
        assert rows(connection, query) == [expected]


@pytest.mark.parametrize(
    ("catalog", "schema", "column"), [("odd", "public", "free"), ("odd_my", "odd", "wide")]
)
def test_bulk_loads_write_what_a_double_holds_and_nothing_more(
    odd: Deployment, catalog: str, schema: str, column: str
) -> None:
    table = f"{catalog}.{schema}.amount"
    ids = pa.array([90], pa.int32())
    exact = pa.table({"ID": ids, column.upper(): [0.25]})
    with odd.connect(autocommit=True) as connection, connection.cursor() as cursor:
        load = partial(
            cursor.adbc_ingest, "amount", mode="append", catalog_name=catalog, db_schema_name=schema
        )
        for wide in (pa.array([Decimal("98765432109876543.21")]), pa.array([2**53 + 1])):
            loaded = pa.table({"id": ids, column: wide})
            with pytest.raises(Error, match=f"the column {column} of odd"):
                load(loaded)
        assert load(exact) == 1
        assert rows(connection, f"SELECT count(*) FROM {table} WHERE id = 90") == [(1,)]
        cursor.execute(f"DELETE FROM {table} WHERE id = 90")


def test_nan_and_infinity_are_read_where_double_is_the_type(odd: Deployment) -> None:
    with odd.connect(autocommit=True) as connection:
        first, second = rows(connection, "SELECT free FROM odd.public.special ORDER BY id")
    assert isnan(first[0])
    assert second == (inf,)


@pytest.mark.parametrize(
    ("where", "seen"),
    [
        ("id = 2", [(Decimal("1.00"),)]),
        ("id IN (2, 7)", [(Decimal("1.00"),)]),
        ("id BETWEEN 2 AND 9", [(Decimal("1.00"),)]),
        ("id = 1", None),
        ("id = 2 OR price > 0", None),
        ("price = 0", None),
        ("price < 5 AND id < 3", None),
    ],
)
def test_only_rows_that_are_read_are_a_reason_to_refuse(
    odd: Deployment, where: str, seen: list[tuple[Decimal]] | None
) -> None:
    query = f"SELECT price FROM odd.public.special WHERE {where}"
    with odd.connect(autocommit=True) as connection:
        if seen is None:
            assert "the column price of odd" in failure(connection, query)
        else:
            assert rows(connection, query) == seen


def test_a_value_that_came_since_the_last_statement_is_seen(
    odd: Deployment, postgres: Postgres
) -> None:
    query = "SELECT price FROM odd.public.amount WHERE id < 90"
    with odd.connect(autocommit=True) as connection:
        for _ in range(3):
            assert rows(connection, query) == [(Decimal("1.25"),)]
            postgres.run("INSERT INTO amount (id, price) VALUES (89, 'NaN')", "odd")
            assert "the column price of odd" in failure(connection, query)
            postgres.run("DELETE FROM amount WHERE id = 89", "odd")


def test_a_transaction_sees_the_values_that_it_began_with(
    odd: Deployment, postgres: Postgres
) -> None:
    query = "SELECT price FROM odd.public.amount WHERE id < 90"
    with odd.connect(autocommit=False) as connection:
        assert rows(connection, query) == [(Decimal("1.25"),)]
        postgres.run("INSERT INTO amount (id, price) VALUES (88, 'NaN')", "odd")
        assert rows(connection, query) == [(Decimal("1.25"),)]
        connection.commit()
        assert "the column price of odd" in failure(connection, query)
    postgres.run("DELETE FROM amount WHERE id = 88", "odd")


def test_a_column_of_another_type_than_before_is_read_by_it(
    odd: Deployment, postgres: Postgres
) -> None:
    with odd.connect(autocommit=True) as connection:
        assert rows(connection, "FROM odd.public.altered") == [
            (Decimal("1.25"), dt.date(2024, 1, 1), 1.5)
        ]
        postgres.run("ALTER TABLE altered ALTER n TYPE numeric(12,4)", "odd")
        postgres.run("ALTER TABLE altered ALTER d TYPE timestamp, ALTER r TYPE float8", "odd")
        assert rows(connection, "FROM odd.public.altered") == [
            (Decimal("1.2500"), dt.datetime(2024, 1, 1), 1.5)  # noqa: DTZ001 - it has none
        ]


@pytest.mark.parametrize("catalog", ["odd.public", "odd_my.odd"])
def test_a_table_is_not_made_of_integers_that_it_would_round(odd: Deployment, catalog: str) -> None:
    made = f"CREATE TABLE {catalog}.made AS SELECT 1 AS id, sum(id) AS total FROM range(3) AS r(id)"
    with odd.connect(autocommit=True) as connection:
        assert "the column total of the new table is HUGEINT" in failure(connection, made)
        rows(connection, made.replace("sum(id)", "sum(id)::BIGINT"))
        assert rows(connection, f"FROM {catalog}.made") == [(1, 3)]
        rows(connection, f"DROP TABLE {catalog}.made")


def test_values_of_a_database_that_init_sql_attached_are_looked_at(odd: Deployment) -> None:
    with odd.connect(autocommit=True) as connection:
        assert "the column price of raw" in failure(connection, "FROM raw.public.unlisted")


@pytest.mark.parametrize(
    ("query", "column"),
    [
        ("SELECT word AS said FROM raw.public.note WHERE id = 1", "said"),
        ("SELECT words FROM raw.public.note WHERE id = 2", "words"),
        ("SELECT {'a': word} AS one FROM raw.public.note", "one"),
        ("SELECT id, word, words FROM raw.public.note WHERE id = 3", None),
    ],
)
def test_text_that_is_not_utf_8_is_an_error(
    odd: Deployment, query: str, column: str | None
) -> None:
    with odd.connect(autocommit=True) as connection:
        if column is None:
            assert rows(connection, query) == [(3, "ok", ["ok"])]
        else:
            said = failure(connection, query)
            assert f"the column {column} has text that is not UTF-8" in said


def test_a_date_that_is_none_is_null(odd: Deployment) -> None:
    with odd.connect(autocommit=True) as connection:
        assert rows(connection, "SELECT day FROM odd_my.happened ORDER BY id") == [
            (dt.date(2024, 2, 29),),
            (None,),
            (None,),
        ]


@pytest.mark.parametrize(
    "query",
    [
        'FROM odd_my."Twin"',
        "SELECT count(*) FROM odd_my.twin",
        "INSERT INTO odd_my.twin VALUES (2)",
        'SELECT 1 FROM odd_my."of `id"',
        'SELECT "a`b" FROM odd_my.ticked',
        'SELECT id FROM odd_my.ticked ORDER BY "c\\d"',
        "FROM uneven.Twin",
        "FROM loose_my.pair",
    ],
)
def test_a_table_of_mysql_is_never_taken_for_another(odd: Deployment, query: str) -> None:
    with odd.connect(autocommit=True) as connection:
        said = failure(connection, query)
        assert "only by case or accents" in said or "has a ` or a backslash" in said
        assert rows(connection, "SELECT id FROM odd_my.ticked") == []
        assert rows(connection, "SELECT 1 FROM duckdb_tables() WHERE table_name = 'ticked'")
    log = odd.log()
    assert 'msg="Table or view left out" alias=odd_my schema=odd name=Twin' in log
    assert 'alias=uneven reason="names differ only by case: Twin, twin"' in log
