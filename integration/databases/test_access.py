"""Who sees which database, by the claims of the token."""

from __future__ import annotations

from typing import Any

import pytest

from integration.conftest import Deploy
from integration.databases.support import failure, rows
from integration.deployment import Deployment

EVERYBODY = {"warehouse"}


@pytest.fixture(name="guarded", scope="module")
def fixture_guarded(deploy: Deploy, entries: list[dict[str, Any]]) -> Deployment:
    shop, crm, warehouse = entries
    return deploy(
        {
            "duckdb": {
                "attached_databases": [
                    shop | {"allow": {"sub": ["ann"], "groups": ["sales", "audit"]}},
                    crm | {"allow": {"department": [7], "email_verified": [True]}},
                    warehouse | {"demo": True},
                ]
            }
        }
    )


@pytest.mark.parametrize(
    ("sub", "claims", "seen"),
    [
        ("ann", {}, {"shop"}),
        ("bob", {}, set()),
        ("Ann", {}, set()),
        ("bob", {"groups": ["guests", "sales"]}, {"shop"}),
        ("bob", {"groups": "audit"}, {"shop"}),
        ("bob", {"groups": ["sale"]}, set()),
        ("bob", {"groups": {"sales": True}}, set()),
        ("bob", {"department": 7}, {"crm"}),
        ("bob", {"department": "7"}, set()),
        ("bob", {"email_verified": True}, {"crm"}),
        ("bob", {"email_verified": 1}, set()),
        ("ann", {"department": 7}, {"shop", "crm"}),
        ("ann", {"demo": True, "department": 7}, set()),
        ("bob", {"demo": True}, set()),
    ],
)
def test_a_token_shows_what_its_claims_allow(
    guarded: Deployment, sub: str, claims: dict[str, Any], seen: set[str]
) -> None:
    with guarded.connect(sub, autocommit=True, claims=claims) as connection:
        found = rows(connection, "SELECT database_name FROM duckdb_databases() WHERE NOT internal")
        assert {name for (name,) in found} == seen | EVERYBODY | {"memory"}
        objects = connection.adbc_get_objects(depth="catalogs").read_all().to_pylist()
        assert {one["catalog_name"] for one in objects} & {"shop", "crm"} == seen
        for alias, table in (("shop", "shop.public.orders"), ("crm", "crm.crm.customer")):
            if alias in seen:
                assert rows(connection, f"SELECT count(*) > 0 FROM {table}") == [(True,)]
            else:
                told = failure(connection, f"SELECT count(*) FROM {table}")
                other = failure(connection, f"SELECT count(*) FROM {table.replace(alias, 'zzzz')}")
                assert told.replace(alias, "zzzz") == other


def test_two_tokens_of_one_user_do_not_share_what_one_of_them_may_not_see(
    guarded: Deployment,
) -> None:
    with (
        guarded.connect("eve", autocommit=True, claims={"groups": ["sales"]}) as more,
        guarded.connect("eve", autocommit=True) as less,
    ):
        rows(more, "CREATE TABLE copied AS FROM shop.public.orders")
        assert "does not exist" in failure(less, "FROM copied")
        assert "does not exist" in failure(less, "FROM shop.public.orders")
