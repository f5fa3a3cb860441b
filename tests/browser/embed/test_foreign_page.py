"""Somebody else's page, from another origin, with a real relay and a real worker."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import HELD, OpenPage
from tests.browser.foreign import Site
from tests.browser.foreign import site as open_site
from tests.support.gate import gate
from tests.support.processes import ROOT, Relay, relay
from tests.support.waiting import wait_for
from watcher.core.permissions import issue

_SECRET = "s" * 32

_PAGE = """<!doctype html><link rel=icon href="data:,"><title>A shop</title>
<script type=module src=/app.js></script>
<watcher-task id=first></watcher-task><output id=said></output>"""

_APP = """
import { connect } from "RELAY/watcher.js";

window.statuses = [];
window.tasks = [];
const getToken = async () => (await fetch("/token")).text();
const relay = connect({ url: "RELAY", getToken, onStatus: ({ phase }) => statuses.push(phase) });
relay.onStatus(({ reason = "" }) => (said.textContent = reason));
window.run = async (...args) => {
  const { id, token } = await relay.submit("tasks.count_slowly", args);
  relay.watch(id, (task) => tasks.push(task));
  first.setAttribute("relay", "RELAY");
  first.setAttribute("token", token); // it lets its holder watch this one task
  first.setAttribute("task", id);
};
window.relay = relay;
"""


@pytest.fixture(scope="module")
def browser(whole_browser: Browser) -> Browser:
    """The whole of it."""
    return whole_browser


@pytest.fixture
def site() -> Iterator[Site]:
    with open_site() as serving:
        serving.paths = {"/": _PAGE, "/token": lambda: issue(_SECRET, ttl=4, watch=["task:*"], submit=["tasks.*"])}
        yield serving


def furnish(site: Site, relay: Relay) -> None:
    site.paths["/app.js"] = _APP.replace("RELAY", relay.url)
    site.trust(relay.url)


def test_it_submits_watches_and_shows(open_page: OpenPage, working: dict[str, str], site: Site) -> None:
    env = {**working, "WATCHER_SECRET": _SECRET, "WATCHER_ORIGINS": site.origin}
    with relay(HELD, env=env) as serving, gate(working["CELERY_RESULT_BACKEND"]) as held:
        furnish(site, serving)
        page = open_page(site.origin)
        wait_for(lambda: page.evaluate("window.run !== undefined"), what="the module to be loaded")
        page.evaluate(f"run(84, '{held.name}')")
        element = page.locator("watcher-task")
        expect(element.get_by_role("progressbar", name="tasks.count_slowly")).to_be_visible()
        held.open()
        expect(element.locator("[part=result]")).to_have_text("42")
        expect(element.locator("[part=state]")).to_have_css("font-weight", "600")  # styled, whatever the policy
        states = page.evaluate("tasks.map(({ state }) => state)")
        assert states[-1] == "SUCCESS"
        assert "PROGRESS" in states
        wait_for(lambda: site.asked.count("/token") >= 3, what="a second refresh of the token")
        assert page.evaluate("statuses") == ["connecting", "connected"]
        assert page.evaluate("relay.get('nobody')") is None


def test_a_page_that_is_not_allowed_is_told(open_page: OpenPage, working: dict[str, str], site: Site) -> None:
    with relay(env={**working, "WATCHER_SECRET": _SECRET}) as serving:
        furnish(site, serving)
        page = open_page(site.origin)
        expect(page.locator("#said")).to_have_text(
            f"the relay refuses WebSockets from this page: its WATCHER_ORIGINS must include {site.origin}"
        )
        page.evaluate(
            """() => { first.setAttribute("relay", relayUrl); first.setAttribute("task", "a"); }""".replace(
                "relayUrl", f"'{serving.url}'"
            )
        )
        expect(page.locator("watcher-task")).to_contain_text(f"WATCHER_ORIGINS must include {site.origin}")
        serving.wait_for_output(f"WATCHER_ORIGINS={site.origin}")
    expect(page.locator("#said")).not_to_contain_text("WATCHER_ORIGINS")  # away is not the same as forbidden


def test_what_the_document_shows_works(open_page: OpenPage, working: dict[str, str], site: Site) -> None:
    shown = (ROOT / "docs" / "page.md").read_text()
    element, script = re.findall(r"^```html\n(.*?)^```$", shown, re.DOTALL | re.MULTILINE)
    env = {**working, "WATCHER_SECRET": _SECRET, "WATCHER_ORIGINS": site.origin}
    with relay(HELD, env=env) as serving:
        site.policy = ""
        site.paths |= {
            "/watcher-token": lambda: issue(_SECRET, watch=["task:*"], submit=["tasks.*"]),
            "/": f"<!doctype html><link rel=icon href='data:,'>{element}{script}".replace(
                "https://relay.example", serving.url
            ).replace('token="…"', f'token="{issue(_SECRET, watch=["task:*"])}"'),
        }
        page = open_page(site.origin)
        expect(page.locator("#progress")).to_have_text("SUCCESS 5")
        expect(page.locator("watcher-task")).to_have_text("Task not found")


def test_what_the_readme_shows_works_and_can_be_styled(
    open_page: OpenPage, working: dict[str, str], site: Site
) -> None:
    (style,) = re.findall(r"^```css\n(.*?)^```$", (ROOT / "docs" / "page.md").read_text(), re.DOTALL | re.MULTILINE)
    (shown,) = re.findall(r"^```html\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    with relay(HELD, env=working) as serving:
        order = {"task": "tasks.add", "args": [2, 3], "options": {"task_id": "ID"}}
        assert httpx.post(f"{serving.url}/api/tasks", json=order, timeout=20).status_code == 202
        site.policy = ""
        site.paths["/"] = "<!doctype html><link rel=icon href='data:,'>" + shown.replace(
            "http://127.0.0.1:5556", serving.url
        )
        page = open_page(site.origin)
        expect(page.locator("watcher-task [part=result]")).to_have_text("5")
        name = page.locator("watcher-task [part=name]")
        assert name.evaluate("node => getComputedStyle(node).display") != "none"
        page.add_style_tag(content=style)
        assert name.evaluate("node => getComputedStyle(node).display") == "none"
        running = "node => getComputedStyle(node).getPropertyValue('--watcher-running')"
        assert page.locator("watcher-task").evaluate(running) == "rebeccapurple"
