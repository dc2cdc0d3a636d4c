"""What a source is asked for, as its own log has it."""

from __future__ import annotations

import re
import secrets

from integration.deployment import Deployment
from integration.servers import MariaDB, Postgres


def _asked(log: str, mark: str) -> str:
    """What was logged behind the last line with ``mark`` in it."""
    return log[log.rindex(mark) :]


def _run(deployment: Deployment, *queries: str) -> list[tuple[object, ...]]:
    with deployment.connect(autocommit=True) as connection, connection.cursor() as cursor:
        for query in queries:
            cursor.execute(query)
            rows: list[tuple[object, ...]] = cursor.fetchall()
    return rows


def _copies(log: str) -> list[str]:
    return re.findall(r"statement:\s+(COPY .*?TO STDOUT)", log, re.DOTALL)


def test_postgresql_is_asked_for_the_columns_and_rows_that_are_needed(
    three: Deployment, postgres: Postgres
) -> None:
    mark = f"mark_{secrets.token_hex(4)}"
    rows = _run(
        three,
        f"SELECT count(*) FROM shop.public.orders WHERE o_orderstatus = '{mark}'",
        "SELECT o_orderkey, o_totalprice FROM shop.public.orders"
        " WHERE o_orderdate = DATE '1995-01-01' AND o_custkey < 200",
    )
    (copy,) = set(_copies(_asked(postgres.log(), mark)[len(mark) :]))
    assert '"o_orderkey"' in copy
    assert '"o_totalprice"' in copy
    assert '"o_orderstatus"' not in copy
    assert re.search(r"\"o_orderdate\" = '1995-01-01'", copy)
    assert re.search(r"\"o_custkey\" < '?200", copy)
    assert 0 < len(rows) < 10


def test_a_count_asks_postgresql_for_no_column(three: Deployment, postgres: Postgres) -> None:
    mark = f"mark_{secrets.token_hex(4)}"
    assert _run(
        three,
        f"SELECT count(*) FROM shop.public.orders WHERE o_orderstatus = '{mark}'",
        "SELECT count(*) FROM shop.public.orders",
    ) == [(3000,)]
    for copy in _copies(_asked(postgres.log(), mark)[len(mark) :]):
        assert re.search(r"SELECT NULL FROM \"public\"\.\"orders\"", copy)


def test_the_filter_of_a_join_reaches_its_side_of_it(three: Deployment, postgres: Postgres) -> None:
    mark = f"mark_{secrets.token_hex(4)}"
    _run(
        three,
        f"SELECT count(*) FROM shop.public.orders WHERE o_orderstatus = '{mark}'",
        "SELECT c.c_name, o.o_totalprice FROM shop.public.orders AS o"
        " JOIN crm.customer AS c ON c.c_custkey = o.o_custkey"
        " WHERE o.o_orderstatus = 'P' AND c.c_mktsegment = 'MACHINERY'",
    )
    copies = _copies(_asked(postgres.log(), mark)[len(mark) :])
    assert copies
    for copy in copies:
        assert "\"o_orderstatus\" = 'P'" in copy
        assert "o_orderdate" not in copy


def test_mariadb_is_asked_for_the_columns_and_rows_that_are_needed(
    three: Deployment, mariadb: MariaDB
) -> None:
    rows = _run(three, "SELECT c_name FROM crm.customer WHERE c_custkey = 217")
    log = (mariadb.folder / "general.log").read_text("utf-8", "replace")
    asked = [line for line in log.split("\n") if "217" in line]
    assert rows == [("Customer#000000217",)]
    assert any("`c_name`" in line and "`c_custkey` = 217" in line for line in asked), asked
    assert not any("c_comment" in line for line in asked)
