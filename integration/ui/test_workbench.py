"""The users' page, in a browser."""

from __future__ import annotations

import csv
import io
import secrets
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from playwright.sync_api import Page, expect
from pyarrow import parquet

from integration.ui.conftest import ROOT, OpenPage, run_sql, sign_in, write_sql
from tests.ai.provider import ProviderServer, Reply
from tests.stack import Stack
from tests.waiting import wait_until

IMAGES = ROOT / "docs" / "images"
MILLION = "SELECT range AS n, range * 1.5 AS x, 'row ' || range AS name FROM range(1000000)"
ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(1000000) b"


@pytest.fixture(name="user")
def fixture_user() -> str:
    """Return a new user."""
    return f"user-{secrets.token_hex(4)}"


@pytest.fixture(name="work")
def fixture_work(open_page: OpenPage, stack: Stack, user: str) -> Page:
    page = open_page("/")
    sign_in(page, stack.token(user))
    return page


def cells(page: Page, row: int) -> list[str]:
    return page.locator(f'.grid-row[aria-rowindex="{row + 2}"] .grid-cell').all_inner_texts()


def test_a_token_opens_the_tree_and_a_wrong_one_is_refused(
    open_page: OpenPage, stack: Stack
) -> None:
    page = open_page("/")
    for wrong, words in (("hello", "not a token"), ("a.b.c", "not a token")):
        page.fill("#token", wrong)
        page.click("#sign-in-button")
        expect(page.locator("#welcome-error")).to_contain_text(words)
    forged = stack.token("ann")[:-4] + "AAAA"
    page.fill("#token", forged)
    page.click("#sign-in-button")
    expect(page.locator("#welcome-error")).to_contain_text("rejected this token")
    sign_in(page, stack.token("ann"))
    expect(page.locator(".tree")).to_contain_text("sample")
    page.reload()
    page.wait_for_selector(".tree-item")  # the tab remembers
    page.click("#leave")
    expect(page.locator("#sign-in")).to_be_visible()


def test_a_demo_token_is_one_click(open_page: OpenPage) -> None:
    page = open_page("/")
    page.click("#demo")
    page.wait_for_selector(".tree-item")
    expect(page.locator("#user")).to_contain_text("demo")
    expect(page.locator("#ask")).to_be_hidden()  # models are not for demo users


def test_the_tree_shows_columns_and_first_rows(work: Page) -> None:
    table = work.get_by_role("treeitem", name="ponds").first
    table.locator(".tree-row").first.click()
    expect(table).to_contain_text("area_ha")
    table.get_by_role("button", name="Show rows of ponds").click()
    expect(work.locator(".result-status")).to_contain_text("40 rows")
    work.fill("#filter", "species")
    expect(work.get_by_role("treeitem", name="sightings")).to_be_visible()
    expect(work.get_by_role("treeitem", name="ponds")).to_have_count(0)


def test_the_tree_is_walked_by_keys(work: Page) -> None:
    work.locator(".tree [role=treeitem]").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown"):
        work.keyboard.press(key)
    work.keyboard.press("ArrowRight")
    focused: Any = work.evaluate("document.activeElement.getAttribute('aria-expanded')")
    assert focused == "true"
    work.get_by_role("treeitem", name="ponds").first.focus()
    work.keyboard.press("Shift+Enter")
    expect(work.locator(".result-status")).to_contain_text("40 rows")


def test_a_tree_of_thousands_is_drawn_in_parts(work: Page, stack: Stack, user: str) -> None:
    tables = "; ".join(f"CREATE TABLE t{n:04} (a INT)" for n in range(1000))
    assert stack.query(user, tables).status == 200
    work.click("#refresh")
    own = work.get_by_role("treeitem", name="yours")
    expect(own).to_contain_text("1,000")
    expect(work.get_by_role("treeitem", name="t0199")).to_be_visible()
    assert work.locator(".tree-item").count() < 300
    work.get_by_role("treeitem", name="800 more").focus()
    work.keyboard.press("Enter")
    expect(work.get_by_role("treeitem", name="t0200")).to_be_focused()
    work.fill("#filter", "t0999")
    expect(work.get_by_role("treeitem", name="t0999")).to_be_visible()


def test_the_editor_completes_from_the_schema(work: Page) -> None:
    work.locator(".cm-content").click()
    work.keyboard.press("Control+a")
    work.keyboard.type("SELECT * FROM sample.sigh")
    option = work.locator(".cm-tooltip-autocomplete li", has_text="sightings")
    expect(option.first).to_be_visible()
    work.wait_for_timeout(200)  # a list that has just come up takes no key, lest it surprise
    work.keyboard.press("Enter")
    expect(work.locator(".cm-content")).to_contain_text("FROM sample.sightings")


def test_a_million_rows_scroll(work: Page) -> None:
    run_sql(work, MILLION)
    expect(work.locator(".result-status")).to_contain_text("1,000,000 rows", timeout=30_000)
    shown: Any = work.evaluate("performance.getEntriesByName('first-rows').at(-1).duration")
    print(f"\nfirst rows of a million on screen after {shown:.0f} ms")
    assert cells(work, 0) == ["0", "0.0", "row 0"]
    work.locator(".grid").focus()
    work.keyboard.press("Control+End")
    expect(work.locator('.grid-row[aria-rowindex="1000001"]')).to_contain_text("row 999999")
    work.evaluate("document.querySelector('.grid').scrollTop = 7_000_000")
    work.wait_for_timeout(200)
    drawn = work.locator(".grid-row").count()
    assert 5 < drawn < 80  # only what can be seen is in the page
    used: Any = work.evaluate("performance.memory.usedJSHeapSize")
    print(f"JavaScript heap with them: {used / 1e6:.0f} MB")
    assert used < 400e6


def test_the_page_listens_while_rows_stream_in(work: Page) -> None:
    work.evaluate(
        """() => {
            window.longest = 0;
            new PerformanceObserver((list) => {
                for (const e of list.getEntries()) window.longest = Math.max(longest, e.duration);
            }).observe({ type: "longtask" });
        }"""
    )
    run_sql(work, MILLION)
    expect(work.locator(".result-status")).to_contain_text("1,000,000 rows", timeout=30_000)
    longest: Any = work.evaluate("window.longest")
    print(f"\nlongest task of the page while a million rows came: {longest:.0f} ms")
    assert longest < 2000


def test_all_types_are_readable(work: Page) -> None:
    run_sql(
        work,
        "SELECT 170141183460469231731687303715884105727::HUGEINT AS h, -1.50::DECIMAL(9,2) AS d, "
        "DATE '1969-07-20' AS day, TIMESTAMP '2024-02-29 12:30:00.25' AS ts, TIME '23:59:59' AS t, "
        "'ab'::BLOB AS b, [1, 2] AS l, {'a': 'x'} AS s, NULL AS n, true AS y, "
        "9007199254740993 AS big, INTERVAL 3 DAY AS i, uuid() IS NOT NULL AS u, "
        "'x'::ENUM ('x', 'y') AS e",
    )
    expect(work.locator(".result-status")).to_contain_text("1 row ")
    work.locator(".grid").focus()
    found = dict(
        zip(
            ("h", "d", "day", "ts", "t", "b", "l", "s", "n", "y", "big"),
            cells(work, 0),
            strict=False,
        )
    )
    assert found["h"] == "170141183460469231731687303715884105727"
    assert found["d"] == "-1.50"
    assert found["day"] == "1969-07-20"
    assert found["ts"] == "2024-02-29 12:30:00.25"
    assert found["t"] == "23:59:59"
    assert found["b"] == "\\x6162"
    assert found["l"] == "[1,2]"
    assert found["s"] == '{"a":"x"}'
    assert found["n"] == "NULL"
    assert found["y"] == "true"


EXACT = {
    "DATE 'infinity'": ("date", "infinity"),
    "DATE '0044-03-15 (BC)'": ("date", "0044-03-15 (BC)"),
    "DATE '275761-01-01'": ("date", "275761-01-01"),
    "TIMESTAMP '2024-01-01 00:00:00.000001'": ("timestamp", "2024-01-01 00:00:00.000001"),
    "TIMESTAMP_NS '1969-12-31 23:59:59.999999999'": (
        "timestamp_ns",
        "1969-12-31 23:59:59.999999999",
    ),
    "TIMESTAMP '-infinity'": ("timestamp", "-infinity"),
    "TIMESTAMPTZ '2024-01-01 00:00:00+02'": ("timestamptz", "2023-12-31 22:00:00+00"),
    "TIME '24:00:00'": ("time", "24:00:00"),
    "INTERVAL '14 months -3 days 1.5 seconds'": (
        "interval",
        "1 year 2 months -3 days 00:00:01.5",
    ),
    "0.1::FLOAT": ("float", "0.1"),
    "[1.25::DECIMAL(9, 2), NULL]": ("decimal(9,2)[]", "[1.25,null]"),
    "[DATE '2024-01-01']": ("date[]", '["2024-01-01"]'),
    "{'a': TIME '01:02:03', 'b': 9007199254740993}": (
        "STRUCT(a TIME, b BIGINT)",
        '{"a":"01:02:03","b":9007199254740993}',
    ),
    "MAP {1: 'x\"y'}": ("MAP(INTEGER, VARCHAR)", '{"1":"x\\"y"}'),
    "union_value(name := 'Frank')": ('UNION("name" VARCHAR)', "Frank"),
    "'nan'::DOUBLE": ("double", "NaN"),
}


def test_values_are_shown_as_they_are(work: Page) -> None:
    run_sql(work, "SELECT " + ", ".join(f"{sql} AS c{i}" for i, sql in enumerate(EXACT)))
    expect(work.locator(".result-status")).to_contain_text("1 row ")
    work.set_viewport_size({"width": 4500, "height": 800})  # all of them at once
    expect(work.locator(".grid-row .grid-cell")).to_have_count(len(EXACT))
    types = work.locator(".grid-head .grid-type").all_inner_texts()
    assert list(zip(types, cells(work, 0), strict=True)) == list(EXACT.values())


def test_a_result_that_breaks_off_is_never_taken_for_a_whole_one(work: Page) -> None:
    run_sql(
        work,
        "SELECT CASE WHEN range = 900000 THEN error('late') ELSE range END AS n "
        "FROM range(1000000)",
    )
    expect(work.locator(".failure")).to_contain_text("The result is incomplete")
    expect(work.locator(".result-status")).to_contain_text("incomplete after")
    expect(work.locator(".grid-row").first).to_be_visible()  # what has come can still be read
    expect(work.get_by_role("button", name="CSV", exact=True)).to_be_disabled()


def test_what_changes_rows_and_what_only_looks_like_it(work: Page) -> None:
    run_sql(work, "SET VARIABLE a = 1")
    expect(work.locator(".hint")).to_contain_text("Done")
    run_sql(work, 'SELECT 5 AS "Count"')
    expect(work.locator(".result-status")).to_contain_text("1 row ")
    run_sql(work, "SELECT 5 AS a WHERE false")
    expect(work.locator(".no-rows")).to_be_visible()


def test_tables_may_have_any_name(work: Page) -> None:
    run_sql(work, 'CREATE OR REPLACE TABLE "order" AS SELECT 7 AS "select"')
    work.get_by_role("button", name="Show rows of order").click()
    expect(work.locator('.grid-row[aria-rowindex="2"] .grid-cell')).to_have_text("7")
    run_sql(work, 'DROP TABLE "order"')
    expect(work.locator("#results")).to_contain_text(" changed")


def test_a_tab_keeps_its_text(open_page: OpenPage, stack: Stack, user: str) -> None:
    page = open_page("/")
    sign_in(page, stack.token(user))
    write_sql(page, "SELECT 'kept'")
    page.goto("/console")
    page.go_back()
    expect(page.locator(".cm-content")).to_contain_text("SELECT 'kept'")
    page.click("#leave")
    sign_in(page, stack.token(f"{user}-other"))  # somebody else, at the same screen
    expect(page.locator(".cm-content")).not_to_contain_text("kept")


def test_an_error_is_shown_where_it_happened(work: Page) -> None:
    run_sql(work, "SELECT species,\n  nosuch\nFROM sample.sightings")
    failure = work.locator(".failure")
    expect(failure).to_contain_text("Line 2, column 3")
    expect(failure).to_contain_text('"nosuch" not found')
    expect(work.locator(".cm-lintRange-error")).to_have_text("nosuch")
    run_sql(work, "SELECT 1")
    expect(work.locator(".cm-lintRange-error")).to_have_count(0)


def test_a_statement_that_runs_is_cancelled_in_the_worker(
    work: Page, stack: Stack, user: str
) -> None:
    run_sql(work, ENDLESS)
    expect(work.locator("#run")).to_contain_text("Cancel")
    work.wait_for_timeout(500)
    work.click("#run")
    expect(work.locator(".result-status")).to_contain_text("Cancelled after")
    key = stack.pool.key_of(user)
    (worker,) = [c for view, c in stack.pool.connections() if view.key == key]
    wait_until(lambda: worker.status().running == 0)
    run_sql(work, "SELECT 5 AS five")
    expect(work.locator(".result-status")).to_contain_text("1 row ")


def test_a_chart_is_one_click(work: Page) -> None:
    run_sql(work, "SELECT species, count(*) AS n FROM sample.sightings GROUP BY 1 ORDER BY 2 DESC")
    expect(work.locator(".result-status")).to_contain_text("8 rows")
    work.get_by_role("button", name="Chart").click()
    expect(work.locator(".chart canvas")).to_be_visible()
    label = work.locator(".chart-canvas").get_attribute("aria-label")
    assert label == "Chart of n by species, 8 points"
    painted: Any = work.evaluate(
        """() => {
            const c = document.querySelector(".chart canvas");
            const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
            let n = 0;
            for (let i = 3; i < d.length; i += 4) if (d[i] > 0) n += 1;
            return n;
        }"""
    )
    assert painted > 5000


@pytest.mark.parametrize("form", ["CSV", "Parquet", "Arrow"])
def test_all_rows_are_exported(work: Page, form: str, tmp_path: Path) -> None:
    run_sql(work, "SELECT range AS n, 'é' || range AS t FROM range(30000)")
    expect(work.locator(".result-status")).to_contain_text("30,000 rows")
    with work.expect_download() as download:
        work.get_by_role("button", name=form, exact=True).click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    if form == "CSV":
        rows = list(csv.reader(io.StringIO(path.read_text())))
        assert rows[-1] == ["29999", "é29999"]
    else:
        data = path.read_bytes()
        table = (
            parquet.read_table(io.BytesIO(data))
            if form == "Parquet"
            else pa.ipc.open_stream(data).read_all()
        )
        assert table.num_rows == 30_000
        assert table["t"][29_999].as_py() == "é29999"


def test_a_key_runs_a_statement_once(work: Page, stack: Stack, user: str) -> None:
    run_sql(work, "CREATE OR REPLACE TABLE once AS SELECT 0 AS a")
    expect(work.locator(".result-status")).to_contain_text(" changed")
    for done in range(1, 6):
        run_sql(work, f"INSERT INTO once VALUES ({done})")
        expect(work.locator(".tree")).to_contain_text("once")
        expect(work.locator(".result-status")).to_contain_text("1 row changed")
        assert stack.query(user, "SELECT count(*) AS c FROM once").rows == [{"c": done + 1}]


def test_an_export_never_changes_anything(work: Page) -> None:
    run_sql(work, "CREATE OR REPLACE TABLE kept AS SELECT 1 AS a")
    expect(work.locator(".result-status")).to_contain_text(" changed")
    run_sql(work, "INSERT INTO kept VALUES (2) RETURNING a")
    expect(work.locator(".result-status")).to_contain_text("1 row ")
    work.get_by_role("button", name="CSV", exact=True).click()
    expect(work.locator("#toast")).to_contain_text("only a query may be run here")
    run_sql(work, "SELECT count(*) AS c FROM kept")
    expect(work.locator('.grid-row[aria-rowindex="2"] .grid-cell')).to_have_text("2")


def test_asking_in_words_writes_and_runs_a_checked_query(
    work: Page, provider: ProviderServer
) -> None:
    work.fill("#ask-text", "Which species were seen most?")
    work.click("#ask-button")
    expect(work.locator(".cm-content")).to_contain_text("-- Which species were seen most?")
    expect(work.locator(".result-status")).to_contain_text("8 rows")
    expect(work.locator("#ask-note")).to_contain_text("Written by claude-test")
    kept, provider.answers = provider.answers, [Reply(text="NO QUERY: that is not in the data")]
    work.fill("#ask-text", "What is love?")
    work.click("#ask-button")
    expect(work.locator("#ask-note")).to_contain_text("that is not in the data")
    provider.answers = kept


def test_script_in_names_and_values_is_only_text(work: Page) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    name = evil.replace('"', "")
    run_sql(work, f'CREATE OR REPLACE TABLE "{name}" AS SELECT \'{evil}\' AS "{name}"')
    expect(work.locator(".tree")).to_contain_text("<img src=x")
    run_sql(work, f"SELECT *, ['{evil}'] AS l FROM \"{name}\"")
    expect(work.locator('.grid-row[aria-rowindex="2"]')).to_contain_text("<script>alert(2)")
    expect(work.locator(".grid-head")).to_contain_text("<img src=x")
    work.locator("#cell-0-0").dblclick()
    expect(work.locator("dialog .value")).to_contain_text(evil)
    work.keyboard.press("Escape")
    run_sql(work, f'SELECT "{name}x" FROM range(1)')
    expect(work.locator(".failure")).to_contain_text("<img src=x")
    assert work.locator("main img, main script").count() == 0
    run_sql(work, f'DROP TABLE "{name}"')
    expect(work.locator("#results")).to_contain_text(" changed")


def test_snippets_can_be_copied(work: Page, stack: Stack) -> None:
    work.click("#connect")
    for name in ("ADBC", "JDBC", "pyarrow", "polars", "DBeaver", "curl"):
        work.get_by_role("tab", name=name).click()
        expect(work.locator("#snippet")).to_contain_text("YOUR_TOKEN")
    work.get_by_role("tab", name="pyarrow").click()
    work.get_by_label("Include my token").check()
    work.click("#copy-snippet")
    copied: Any = work.evaluate("navigator.clipboard.readText()")
    assert "eyJ" in copied
    assert "grpc://localhost:" in copied
    assert stack.port


def test_keys_alone_are_enough(open_page: OpenPage, stack: Stack) -> None:
    page = open_page("/")
    expect(page.locator("#token")).to_be_focused()
    page.keyboard.insert_text(stack.token("ann"))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".tree-item")
    expect(page.locator(".cm-content")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.keyboard.insert_text("SELECT 1 AS a, 'second' AS b")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".grid-row")
    page.locator(".grid").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".grid").get_attribute("aria-activedescendant") == "cell-0-1"
    page.keyboard.press("Enter")
    expect(page.locator("dialog .value")).to_have_text("second")


def test_a_session_of_the_tab_keeps_temporary_tables(work: Page) -> None:
    run_sql(work, "CREATE TEMP TABLE mine AS SELECT 7 AS seven")
    expect(work.locator(".result-status")).to_contain_text(" changed")
    run_sql(work, "SELECT seven FROM mine")
    expect(work.locator('.grid-row[aria-rowindex="2"] .grid-cell')).to_have_text("7")


def test_first_paint_comes_at_once(open_page: OpenPage) -> None:
    page = open_page("/")
    page.reload()
    page.wait_for_timeout(300)
    paint: Any = page.evaluate(
        "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    )
    print(f"\nfirst contentful paint after {paint:.0f} ms")
    assert paint > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1360])
def test_axe_finds_no_serious_fault(
    open_page: OpenPage, stack: Stack, axe: str, scheme: str, width: int
) -> None:
    page = open_page("/", scheme=scheme, width=width, bypass_csp=True)
    page.evaluate(axe)
    assert serious(page) == []
    sign_in(page, stack.token("ann"))
    page.click("#run")
    page.wait_for_selector(".grid-row")
    assert serious(page) == []
    run_sql(page, "SELECT nosuch")
    page.wait_for_selector(".failure")
    assert serious(page) == []
    page.click("#connect")
    page.wait_for_selector("dialog")
    assert serious(page) == []


def serious(page: Page) -> list[str]:
    page.wait_for_timeout(250)
    result: Any = page.evaluate("axe.run()")
    return [
        f"{fault['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:300]}"
        for fault in result["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def test_it_works_on_a_phone(open_page: OpenPage, stack: Stack) -> None:
    page = open_page("/", width=390, height=780, has_touch=True)
    sign_in(page, stack.token("ann"))
    wide: Any = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    page.click("#menu")
    expect(page.locator("#filter")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#menu")).to_be_focused()
    expect(page.locator("#filter")).to_be_hidden()
    page.click("#menu")
    page.get_by_role("treeitem", name="ponds").first.get_by_role("button").click()
    expect(page.locator(".grid-row").first).to_be_visible()
    page.screenshot(path=IMAGES / "phone.png")


def test_pictures_for_the_documentation(open_page: OpenPage, stack: Stack) -> None:
    page = open_page("/")
    sign_in(page, stack.token("ann"))
    page.get_by_role("treeitem", name="ponds").first.locator(".tree-row").first.click()
    page.fill("#ask-text", "Which species were seen most?")
    page.click("#ask-button")
    expect(page.locator(".result-status")).to_contain_text("8 rows")
    page.wait_for_timeout(300)
    page.screenshot(path=IMAGES / "workbench.png")
    dark = open_page("/", scheme="dark")
    sign_in(dark, stack.token("ann"))
    write_sql(
        dark,
        "SELECT date_trunc('week', day) AS week,\n"
        "  count(*) FILTER (species = 'mallard') AS mallards,\n"
        "  count(*) FILTER (species = 'coot') AS coots\n"
        "FROM sample.sightings\nGROUP BY ALL\nORDER BY week",
    )
    dark.keyboard.press("Control+Enter")
    dark.wait_for_selector(".grid-row")
    dark.get_by_role("button", name="Chart").click()
    dark.wait_for_selector(".chart canvas")
    dark.wait_for_timeout(300)
    dark.screenshot(path=IMAGES / "chart-dark.png")
    for name in ("workbench", "chart-dark"):
        assert (IMAGES / f"{name}.png").stat().st_size > 10_000
