"""A browser, a deployment with pages, and a local server in place of the providers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from pondflight.serve import sample
from tests.ai.provider import ProviderServer, Reply
from tests.stack import Stack

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-precise-memory-info",
)
SQL = """\
SELECT species, count(*) AS sightings, sum(birds) AS birds
FROM sample.sightings
GROUP BY species
ORDER BY sightings DESC"""

OpenPage = Callable[..., Page]

expect.set_options(timeout=20_000)  # two busy cores are slow


@pytest.fixture(scope="session", autouse=True)
def _pages() -> None:
    """Build the bundle from the current sources."""
    subprocess.run([sys.executable, ROOT / "web" / "build.py", "--if-changed"], check=True)


@pytest.fixture(scope="session", name="axe")
def fixture_axe() -> str:
    """Return axe-core, from the lock file of the pages."""
    folder = ROOT / "web"
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        npm = shutil.which("npm")
        assert npm is not None, "npm is needed to install axe-core"
        subprocess.run([npm, "ci", "--ignore-scripts"], cwd=folder, check=True)
    return script.read_text()


@pytest.fixture(scope="session", name="browser")
def fixture_browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium is not None, "Chromium is needed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session", name="provider")
def fixture_provider() -> Iterator[ProviderServer]:
    server = ProviderServer()
    server.answers = [Reply(text=f"```sql\n{SQL}\n```")]
    yield server
    server.close()


@pytest.fixture(scope="session", name="stack")
def fixture_stack(
    provider: ProviderServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    path = tmp_path_factory.mktemp("sample") / "sample.db"
    sample.build(path)
    database = {
        "alias": sample.ALIAS,
        "type": "sqlite",
        "connection_string": str(path),
        "read_only": True,
    }
    stack = Stack(
        configuration={"databases": [database]},
        web={"ai": provider.settings, "ai_per_minute": 1000, "demo": True},
    )
    yield stack
    stack.close()


class Watched:
    """A page's context, and everything that must not have happened in it."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.faults: list[str] = []

    def page(self) -> Page:
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._on_console)
        page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))
        return page

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(message.text)


@pytest.fixture(name="open_page")
def fixture_open_page(browser: Browser, stack: Stack) -> Iterator[OpenPage]:
    """Return a function that opens a path.

    ``open_page("/", scheme="dark", width=390, height=780)``.
    """
    opened: list[Watched] = []

    def open_page(
        path: str, *, scheme: Any = "light", width: int = 1360, height: int = 860, **more: Any
    ) -> Page:
        base = f"http://localhost:{stack.port}"
        context = browser.new_context(
            base_url=base,
            color_scheme=scheme,
            viewport={"width": width, "height": height},
            accept_downloads=True,
            **more,
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=base)
        opened.append(Watched(context))
        page = opened[-1].page()
        page.goto(path)
        return page

    yield open_page
    for watched in opened:
        watched.context.close()
    assert [fault for watched in opened for fault in watched.faults] == []


def sign_in(page: Page, token: str) -> None:
    """Paste a token into the page for users."""
    page.fill("#token", token)
    page.click("#sign-in-button")
    page.wait_for_selector("#run")


def write_sql(page: Page, sql: str) -> None:
    """Replace the editor's text."""
    page.locator(".cm-content").focus()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.keyboard.insert_text(sql)


def run_sql(page: Page, sql: str) -> None:
    """Write and run SQL."""
    write_sql(page, sql)
    page.keyboard.press("Control+Enter")
