"""A real browser, and pages in it that must not complain."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.browser.pages import offer_tasks
from tests.browser.stage import Stage
from tests.browser.stage import stage as open_stage

#: What a browser says by itself about a relay that is gone; a test that takes it away expects that.
_LOST_RELAY = re.compile(r"WebSocket connection to .* failed|net::ERR_CONNECTION_(REFUSED|RESET)")
_SECONDS = 10


class OpenPage(Protocol):
    """Opens an address in a browser context of its own."""

    def __call__(self, address: str, *, width: int = 1440, height: int = 900, **context: Any) -> Page: ...


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    """The browser. It lives no longer than these tests: Playwright's event loop would be in the way of others."""
    # Chromium's sandbox refuses to start as root.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium, args=[*sandbox, "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Pages that are closed with the test, which fails if one of them threw, logged an error or broke its CSP."""
    contexts = []
    problems: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error" and not _LOST_RELAY.search(message.text):
            problems.append(message.text)

    def open_page(address: str, *, width: int = 1440, height: int = 900, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(_SECONDS * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems


@pytest.fixture(scope="module")
def blank(browser: Browser) -> Iterator[Page]:
    """An empty page that may import the modules of the real one: for those that need no page."""
    with open_stage() as played:
        page = browser.new_page()
        page.goto(f"{played.url}/blank")
        yield page
        page.context.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A stage of the test's own."""
    with open_stage() as played:
        yield played


@pytest.fixture
def play(stage: Stage) -> Stage:
    """A stage with an app of two tasks."""
    offer_tasks(stage)
    return stage
