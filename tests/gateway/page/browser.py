"""A Chromium of this machine, driven by Playwright, for the tests of the page."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="the group `clients` is not installed")

from playwright.sync_api import Browser as Browser  # noqa: E402  (for those who import it from here)
from playwright.sync_api import Page  # noqa: E402

from tests.e2e.support import PATIENCE  # noqa: E402

SERIOUS = {"serious", "critical"}


def chromium_path() -> str | None:
    """Where this machine has a Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(
        (found for name in names if (found := shutil.which(name))), None
    )


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; skips the test where there is none."""
    path = chromium_path()
    if path is None:
        pytest.skip("this machine has no Chromium")
    with sync_api.sync_playwright() as playwright:
        # --no-sandbox: as root it has none.
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"], timeout=PATIENCE * 1000
        )
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """The page at an address, in a browser's window of its own.

    At the end no script may have failed, and nothing may have been refused by the policy; `options` are
    those of Playwright's `new_context`.
    """
    context = browser.new_context(**{"reduced_motion": "reduce", "locale": "en-GB", **options})
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    mistakes: list[str] = []
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    page.on("console", lambda message: mistakes.append(message.text) if is_mistake(message) else None)
    page.goto(address)
    try:
        yield page
    finally:
        context.close()
    assert mistakes == []


def is_mistake(message: Any) -> bool:
    """Whether a line of the console is a violation of the policy or a mistake of ours: not a refused call."""
    return message.type == "error" and "Failed to load resource" not in message.text


def search(page: Page, text: str) -> None:
    """Write a query, and wait until its results are shown: at Enter, or before it."""
    with searching(page):
        page.locator("#field").fill(text)
        page.locator("#field").press("Enter")


@contextlib.contextmanager
def searching(page: Page) -> Iterator[None]:
    """What is done in the block makes the page search; at the end the results are shown."""
    with page.expect_response(lambda answer: answer.url.endswith(("/search", "/similar"))):
        yield
    page.wait_for_function("() => document.getElementById('results').getAttribute('aria-busy') === 'false'")


def told(page: Any, text: str) -> None:
    """Waits until the page says something above the results."""
    page.locator("#note").get_by_text(text).wait_for()


def captions(page: Any) -> list[str]:
    """What the tiles are called, in order."""
    found: list[str] = page.locator(".tile .name").all_text_contents()
    return found


def beside_main(page: Page, name: str) -> str:
    """The address of another module of the page's."""
    source = page.locator('script[type="module"]').get_attribute("src")
    assert source is not None
    return source.replace("main.js", name)


def serious_findings(page: Page) -> list[str]:
    """What axe finds on the page as it stands that keeps people out. The page must bypass its policy."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate((resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    found = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{finding['id']}: {node['target']} {node['failureSummary']}"
        for finding in found["violations"]
        if finding["impact"] in SERIOUS
        for node in finding["nodes"]
    ]
