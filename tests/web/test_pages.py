"""The pages as files: served with a strict policy, kept by browsers, or explained."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import duckdb
import falcon.asgi
import pytest
from falcon import testing

from pondflight.dialect.words import RESERVED
from pondflight.web.pages import POLICY, Assets, Page


@pytest.fixture(name="folder")
def fixture_folder(tmp_path: Path) -> Path:
    assets = tmp_path / "static" / "assets"
    assets.mkdir(parents=True)
    (tmp_path / "static" / "index.html").write_text("<!doctype html><title>page</title>")
    (assets / "main-ABCD2345.js").write_text("let a = 1;")
    (assets / "main-ABCD2345.js.gz").write_bytes(gzip.compress(b"let a = 1;"))
    (assets / "pond.svg").write_text("<svg/>")
    (tmp_path / "secret.js").write_text("secret")
    return tmp_path / "static"


@pytest.fixture(name="client")
def fixture_client(folder: Path) -> testing.TestClient:
    app = falcon.asgi.App()
    app.add_route("/", Page("index", folder))
    app.add_route("/console", Page("console", folder))
    app.add_route("/assets/{name}", Assets(folder))
    return testing.TestClient(app)


def test_a_page_has_a_policy_without_inline_anything(client: testing.TestClient) -> None:
    answer = client.simulate_get("/")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert "default-src 'none'" in POLICY
    assert answer.headers["cache-control"] == "no-cache"
    again = client.simulate_get("/", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


def test_assets_are_kept_for_good_and_packed(client: testing.TestClient) -> None:
    answer = client.simulate_get("/assets/main-ABCD2345.js")
    assert answer.text == "let a = 1;"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"].startswith("text/javascript")
    packed = client.simulate_get("/assets/main-ABCD2345.js", headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.content) == b"let a = 1;"
    assert client.simulate_get("/assets/pond.svg").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "name", ["..%2Fsecret.js", "%2e%2e%2fsecret.js", "nosuch.js", "main", "a.html", "..", ".js"]
)
def test_nothing_else_is_served(client: testing.TestClient, name: str) -> None:
    assert client.simulate_get(f"/assets/{name}").status_code == 404


def test_where_the_pages_were_not_built_the_page_says_what_to_do(
    client: testing.TestClient,
) -> None:
    answer = client.simulate_get("/console")
    assert answer.status_code == 503
    assert "make ui" in answer.text
    assert answer.headers["content-security-policy"] == POLICY


def test_server_and_pages_quote_the_names_that_are_keywords() -> None:
    rows = duckdb.sql(
        "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'"
    ).fetchall()
    keywords = {name for (name,) in rows}
    assert keywords == RESERVED
    source = (Path(__file__).parents[2] / "web" / "src" / "lib" / "names.ts").read_text()
    listed = source.partition("new Set(")[2].partition(").split")[0]
    assert set(" ".join(re.findall(r'"([^"]*)"', listed)).split()) == keywords
