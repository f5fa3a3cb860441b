"""A real browser, and pages in it that must not complain."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.browser.pages import offer_tasks
from tests.browser.stage import Stage
from tests.browser.stage import stage as open_stage
from tests.support.processes import worker
from tests.support.valkey import Valkey, valkey_server

#: What a browser says by itself about a relay that is gone, or has just begun; a test that takes it away expects that.
_LOST_RELAY = re.compile(
    r"WebSocket connection to .* failed|WebSocket is already in CLOSING|"
    r"net::ERR_(CONNECTION_(REFUSED|RESET)|SOCKET_NOT_CON)|status of 503"
)
#: The longest that a page is waited for.
_SECONDS = 20
expect.set_options(timeout=_SECONDS * 1000)


#: The bundled app, and tasks that wait.
HELD = "tests.support.held"


class OpenPage(Protocol):
    """Opens an address in a browser context of its own."""

    def __call__(self, address: str, *, width: int = 1440, height: int = 900, **context: Any) -> Page: ...


class Launch(Protocol):
    """Starts the browser at a path, with more arguments."""

    def __call__(self, path: str, *arguments: str) -> Browser: ...


@pytest.fixture(scope="package")
def launch() -> Iterator[Launch]:
    """Starts browsers. They live no longer than these tests: Playwright's event loop would be in the way of others."""
    # Chromium's sandbox refuses to start as root.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:

        def start(path: str, *arguments: str) -> Browser:
            given = [*sandbox, "--disable-gpu", "--disable-dev-shm-usage", *arguments]
            return playwright.chromium.launch(executable_path=path, args=given)

        yield start


@pytest.fixture(scope="package")
def browser(launch: Launch, chromium_shell: str) -> Iterator[Browser]:
    """The browser, without a window."""
    started = launch(chromium_shell)
    yield started
    started.close()


@pytest.fixture(scope="module")
def whole_browser(launch: Launch, chromium: str) -> Iterator[Browser]:
    """With all that belongs to it: for tests of origins, cookies and certificates."""
    started = launch(chromium)
    yield started
    started.close()


@pytest.fixture(scope="package")
def server() -> Iterator[Valkey]:
    """A server that other tests don't empty."""
    with valkey_server() as running:
        yield running


@pytest.fixture(scope="package")
def _working(server: Valkey) -> Iterator[dict[str, str]]:
    env = {"CELERY_BROKER_URL": server.url(15), "CELERY_RESULT_BACKEND": server.url(14)}
    with worker(HELD, pool="threads", env=env):
        yield env


@pytest.fixture
def working(_working: dict[str, str], server: Valkey) -> dict[str, str]:
    """A worker for all tests; what a relay beside it needs in its environment, to start without a task."""
    server.flush(14)
    return _working


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
