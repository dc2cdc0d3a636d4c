"""The operators' page, in a browser."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from integration.ui.conftest import ROOT, OpenPage
from integration.ui.test_workbench import ENDLESS, serious
from tests.stack import Answer, Stack

IMAGES = ROOT / "docs" / "images"


@pytest.fixture(name="console")
def fixture_console(open_page: OpenPage, stack: Stack) -> Page:
    page = open_page("/console")
    enter(page, stack)
    return page


def enter(page: Page, stack: Stack) -> None:
    page.fill("#token", stack.token("root", admin=True))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("#workers tr")


def row(page: Page, body: str, user: str) -> Any:
    return page.locator(f"#{body} tr", has_text=user)


def start(stack: Stack, user: str) -> tuple[threading.Thread, list[Answer]]:
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(stack.query(user, ENDLESS)))
    thread.start()
    return thread, answers


def test_only_an_administrator_gets_in_and_out_again(open_page: OpenPage, stack: Stack) -> None:
    page = open_page("/console")
    page.fill("#token", stack.token("ann"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#welcome-error")).to_contain_text("not an administrator")
    enter(page, stack)
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert page.evaluate("document.cookie") == ""
    page.reload()
    page.wait_for_selector("#workers tr")
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#sign-in")).to_be_visible()
    assert page.context.cookies() == []


def test_a_statement_is_cancelled_and_the_effect_is_seen(console: Page, stack: Stack) -> None:
    stack.query("slow", "SELECT 1")
    thread, answers = start(stack, "slow")
    button = console.get_by_role("button", name="Cancel the statement of slow")
    button.click(timeout=20_000)
    expect(console.locator("#toast")).to_contain_text("The statement of slow was cancelled")
    expect(row(console, "statements", "slow").first).to_contain_text("cancelled")
    thread.join(20)
    assert answers[0].status == 503


def test_a_worker_is_stopped_and_the_effect_is_seen(console: Page, stack: Stack) -> None:
    stack.query("gone", "SELECT 1")
    button = console.get_by_role("button", name="Stop the worker of gone")
    button.click(timeout=20_000)
    dialog = console.locator("dialog")
    expect(dialog).to_contain_text("in-memory data is lost")
    dialog.get_by_role("button", name="Cancel").click()
    expect(row(console, "workers", "gone")).to_have_count(1)
    button.click()
    console.locator("dialog").get_by_role("button", name="Stop the worker").click()
    expect(console.locator("#toast")).to_contain_text("The worker of gone has stopped")
    expect(row(console, "workers", "gone")).to_have_count(0)


def test_statements_are_found_by_state_user_and_text(console: Page, stack: Stack) -> None:
    stack.query("fay", "SELECT 1 AS needle")
    stack.query("fay", "SELECT nosuch('secret')")
    expect(row(console, "statements", "needle")).to_have_count(1, timeout=10_000)
    console.fill("#filter", "NEEDLE")
    expect(console.locator("#statements tr")).to_have_count(1)
    console.fill("#filter", "")
    console.get_by_role("button", name="Failed").click()
    expect(console.locator("#statements .state").first).to_have_text("failed")
    assert "secret" not in console.locator("#statements").inner_text()


def test_script_in_user_names_and_statements_is_only_text(console: Page, stack: Stack) -> None:
    user = "<img src=x onerror=alert(1)>"
    stack.query(user, 'SELECT 1 AS "<script>alert(2)</script>"')
    expect(row(console, "workers", "<img src=x")).to_have_count(1, timeout=10_000)
    statement = row(console, "statements", "<script>alert(2)").locator(".sql button").first
    statement.click(timeout=10_000)
    expect(console.locator("dialog .value")).to_contain_text("<script>alert(2)")
    assert console.locator("main img, main script").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1360])
def test_axe_finds_no_serious_fault(
    open_page: OpenPage, stack: Stack, axe: str, scheme: str, width: int
) -> None:
    page = open_page("/console", scheme=scheme, width=width, bypass_csp=True)
    page.evaluate(axe)
    assert serious(page) == []
    stack.query("ann", "SELECT 1")
    enter(page, stack)
    page.wait_for_timeout(500)
    assert serious(page) == []


def test_pictures_for_the_documentation(open_page: OpenPage, stack: Stack) -> None:
    for worker in stack.pool.workers():
        stack.pool.stop_worker(worker.id, force=True)
    for user in ("ann", "bob", "chen"):
        stack.query(user, "SELECT species, count(*) FROM sample.sightings GROUP BY 1")
        stack.query(user, "CREATE OR REPLACE TABLE notes AS SELECT range AS n FROM range(5000)")
    stack.query("bob", "SELECT sum(missing) FROM notes")
    page = open_page("/console")
    enter(page, stack)
    thread, _ = start(stack, "chen")
    page.wait_for_timeout(12_000)
    page.screenshot(path=IMAGES / "console.png")
    page.get_by_role("button", name="Cancel the statement of chen").click()
    thread.join(20)
    assert (IMAGES / "console.png").stat().st_size > 10_000
