"""Hostile tasks in a real browser: what they are called and say is a text wherever it is shown, and nothing happens."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.hostile import NAMES, TEXT, everything
from tests.browser.pages import choose, rows, submit
from tests.relay.support import JOURNAL
from tests.support.processes import Relay, relay, worker
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import wait_for
from watcher.journal.layout import Record
from watcher.journal.scripts import APPEND

_APP = "tests.browser.hostile"
_MUCH = "<b>\u202e" * 1_250_000  # 5 million characters
#: The longest that the page may be busy with one thing, in milliseconds, on a machine that does others meanwhile.
_LONGEST = 10_000
#: Notes down whatever ran, or was kept from running.
_SPY = """(() => {
  window.seen = [];
  window.longest = 0;
  const note = (...what) => seen.push(what.join(" "));
  document.addEventListener("securitypolicyviolation", (event) => note("policy", event.effectiveDirective));
  new ReportingObserver((all) => all.forEach((each) => note("report", each.type)), { buffered: true }).observe();
  new PerformanceObserver((list) => list.getEntries().forEach((each) => (longest = Math.max(longest, each.duration))))
    .observe({ entryTypes: ["longtask"] });
  Object.defineProperty(window, "pwned", { set: (value) => note("pwned", value) });
  for (const name of ["alert", "open", "print"]) window[name] = () => note(name);
})()"""
#: All that could be of their making, and nothing of the page's own.
_FOREIGN = "body :is(img, iframe, script, style, b, object, embed, base, form[action], [onerror], [onload], [srcdoc])"
#: Where links may lead: to places of the page, and to the relay's API.
_OWN = re.compile(r"#(?:table|tasks|names|task/)|api/tasks[/?]")
_LINKS = "[...document.querySelectorAll('body a')].map((each) => each.getAttribute('href'))"


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    """Their own: no other test is to find these tasks."""
    with valkey_server() as running:
        yield running


@pytest.fixture(scope="module")
def working(server: Valkey) -> Iterator[dict[str, str]]:
    """A worker for all tests; what a relay beside it needs in its environment."""
    places = {"CELERY_BROKER_URL": server.url(15), "CELERY_RESULT_BACKEND": server.url(14)}
    env = {**places, "WATCHER_REDIS_URL": server.url()}
    with worker(_APP, pool="threads", env=env):
        yield env


@pytest.fixture
def valkey(server: Valkey) -> Valkey:
    """The server, with no journal and no results."""
    server.flush(0, 14)
    return server


@pytest.fixture
def relayed(working: dict[str, str], valkey: Valkey) -> Iterator[Relay]:
    """A relay for that worker, which knows nothing of other tests."""
    with relay(_APP, env=working) as running:
        yield running
        assert "Traceback" not in running.stderr


@pytest.fixture(scope="module")
def common(working: dict[str, str], server: Valkey) -> Iterator[Relay]:
    """A relay for tests that look at a task of their own, or at none."""
    server.flush(0, 14)
    with relay(_APP, env=working) as running:
        yield running
        assert "Traceback" not in running.stderr


class Watched:
    """A page that notes down whatever ran in it and whatever it asked for."""

    def __init__(self, open_page: OpenPage, url: str, **options: Any) -> None:
        self._url = url
        self.requests: list[str] = []
        self.page = open_page("about:blank", **options)
        self.page.add_init_script(_SPY)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.goto(url)

    def is_only_text(self) -> None:
        """Nothing ran, nothing was blocked from running, nobody else was asked, and there is no element of theirs."""
        assert self.page.evaluate("seen") == []
        self._url = self._url.partition("/#")[0]
        own = (self._url, self._url.replace("http", "ws", 1), "blob:")
        assert [url for url in self.requests if not url.startswith(own)] == []
        expect(self.page.locator(_FOREIGN)).to_have_count(0)
        links = [href for href in self.page.evaluate(_LINKS) if href is not None]
        assert [href for href in links if not _OWN.match(href)] == []
        assert self.page.title() == "celery-watcher"
        assert self.page.url.startswith(self._url)
        assert self.page.evaluate("({}).polluted ?? [].polluted ?? Object.polluted ?? null") is None


def submitted(url: str, name: str, *args: Any, **options: Any) -> str:
    answer = httpx.post(
        f"{url}/api/tasks", json={"task": name, "args": args, "options": options}, headers={"Prefer": "wait=20"}
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def crafted(valkey: Valkey, identity: str, state: str, **fields: Any) -> None:
    """An event as a hostile worker tells it: of any size, and without the limits of our own."""
    told = {"id": identity, "state": state, "timestamp": time.time(), "source": "signal", **fields}
    line = json.dumps(told, ensure_ascii=False).encode()
    with valkey.client() as redis:
        record = Record(identity, f"0000006{time.time():017.6f} {state}", line)
        redis.register_script(APPEND)(*JOURNAL.append(f"hostile-{time.time_ns()}", 1, [record]))


def craft(valkey: Valkey) -> int:
    """Some tasks of no worker; how many."""
    error = {"type": TEXT, "message": TEXT, "traceback": TEXT * 20}
    places = {
        "hostname": TEXT, "queue": TEXT, "tags": [TEXT, *NAMES], "root_id": TEXT, "group_id": TEXT, "parent_id": TEXT,
        "eta": TEXT, "expires": TEXT, "argsrepr": TEXT, "kwargsrepr": TEXT, "args": [TEXT], "kwargs": {TEXT: TEXT},
    }  # fmt: skip
    made: list[tuple[str, str, dict[str, Any]]] = [
        ("javascript:pwned=1", "FAILURE", {"name": TEXT, "exception": error, **places}),
        (
            "#<img src=x>/../..",
            "SUCCESS",
            {"name": TEXT, "result": {"__proto__": {"polluted": 1}, TEXT: [TEXT]}, **places},
        ),
        (
            "\u202eid",
            TEXT,
            {"name": TEXT, "meta": {"current": "1", "total": TEXT, "__proto__": {"polluted": 1}}, **places},
        ),
        *((name, name, {"name": name, "meta": {name: name}, "tags": [name], "retries": 0}) for name in NAMES),
    ]
    for identity, state, fields in made:
        crafted(valkey, identity, state, **fields)
    return len(made)


@pytest.fixture(scope="module")
def shown(working: dict[str, str], server: Valkey) -> Iterator[tuple[str, int]]:
    """Where hostile tasks are shown, and how many."""
    server.flush(0, 14)
    with relay(_APP, env=working) as running:
        count = craft(server)
        name = str(everything.name)
        for number, how in enumerate(("return", "report", "fail", TEXT)):
            submitted(running.url, name, how, TEXT, tags=[TEXT[:200], *NAMES], task_id=f"real-{number}")
        submitted(running.url, "constructor")
        yield running.url, count + 5
        assert "Traceback" not in running.stderr


# Whether the colors are light or dark makes no difference to what runs: each width has one of them.
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (360, "dark")])
def test_hostile_tasks_are_texts(open_page: OpenPage, shown: tuple[str, int], width: int, scheme: str) -> None:
    url, count = shown
    watched = Watched(open_page, url, width=width, color_scheme=scheme)
    page = watched.page
    expect(rows(page)).to_have_count(count)
    _keep(page, f"table-{width}-{scheme}")
    for index in range(count):
        row = rows(page).nth(index)
        called = row.locator(".name").inner_text()
        row.click()
        region = page.locator("#detail")
        expect(region.get_by_role("heading", level=2)).to_contain_text(called[:20])
        expect(region.get_by_role("listitem").first).to_be_visible()
        _keep(page, f"detail-{width}-{scheme}-{index}")
        if width < 500:
            page.keyboard.press("Escape")
    watched.is_only_text()


_ELEMENTS = """async (ids) => {
  await import("/watcher.js");
  for (const id of ids) {
    const element = document.createElement("watcher-task");
    element.setAttribute("task", id);
    document.body.append(element);
  }
}"""
_SHADOWS = """[...document.querySelectorAll("watcher-task")].map(({ shadowRoot }) =>
  [shadowRoot.querySelectorAll(":not(div)").length, shadowRoot.querySelector(".name").textContent,
   shadowRoot.textContent.length])"""


def test_the_element_shows_texts(open_page: OpenPage, shown: tuple[str, int], server: Valkey) -> None:
    url, _ = shown
    crafted(server, "big", "SUCCESS", name=_MUCH, result=_MUCH)
    ids = ["javascript:pwned=1", "\u202eid", *NAMES, "big", "<img src=x onerror=window.pwned=1>"]
    watched = Watched(open_page, url)
    watched.page.evaluate(_ELEMENTS, ids)
    wait_for(lambda: all(each[1] for each in watched.page.evaluate(_SHADOWS)[:-1]), what="all tasks to be shown")
    for elements, _, length in watched.page.evaluate(_SHADOWS):
        assert elements == 0
        assert length < 10_000
    watched.is_only_text()


_ORDER = """(parts) => parts.map((part) => part.getBoundingClientRect()).map(({ left, right }) => [left, right])"""


def test_overrides_of_the_direction_move_nothing_beside_them(
    open_page: OpenPage, common: Relay, server: Valkey
) -> None:
    """Each part of a row stands where it would stand in another: none is drawn before the one that it follows."""
    override = "\u202e"
    fields = {"args": [1], "kwargs": {}, "tags": [f"{override}a", "b"], "result": 5, "hostname": f"{override}w"}
    crafted(server, "bidi", "SUCCESS", name=f"{override}tasks.{override}add", retries=1, **fields)
    page = Watched(open_page, common.url).page
    parts = rows(page).first.locator(":is(.word, .try, .module, .name, .call, .tag, .text, .runtime, time)")
    expect(parts.first).to_be_visible()
    places = [place for place in parts.evaluate_all(_ORDER) if place[0] != place[1]]
    assert len(places) >= 8
    assert all(before[1] <= after[0] + 1 for before, after in pairwise(places)), places
    rows(page).first.click()
    fact = page.locator("#detail dd", has_text="w").first
    expect(fact).to_be_visible()
    assert (
        page.locator("#detail :is(span, strong, button)").first.evaluate("e => getComputedStyle(e).unicodeBidi")
        == "isolate"
    )


def test_oversized_result_is_fetched_whole_as_json(open_page: OpenPage, common: Relay) -> None:
    identity = submitted(common.url, str(everything.name), "huge")
    watched = Watched(open_page, common.url)
    rows(watched.page).first.click()
    link = watched.page.get_by_role("link", name="Open the full result")
    expect(link).to_have_attribute("href", f"api/tasks/{identity}/result")
    watched.is_only_text()
    whole = httpx.get(f"{common.url}/api/tasks/{identity}/result")
    assert whole.json() == "<b>\u202e" * 1_000_000
    assert whole.headers["content-type"] == "application/json"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in whole.headers["content-security-policy"]


def test_forms_and_what_is_refused_are_texts(open_page: OpenPage, common: Relay) -> None:
    watched = Watched(open_page, common.url)
    page = watched.page
    form = choose(page, "constructor")
    form.get_by_text("Options").click()
    form.get_by_label("task_id").fill("<img src=x onerror=window.pwned=12>")
    form.get_by_label("queue").fill(TEXT[:200])
    submit(form)
    expect(form.locator(".error:not(:empty), .form-error:not(:empty)").first).to_be_visible()
    for words in ("constructor:x __proto__:x toString:y", "tag:<img>", TEXT):
        page.get_by_role("searchbox", name="Filter tasks").fill(words)
    watched.is_only_text()


@pytest.mark.parametrize(
    "fragment", ["#task/%", "#task/%E0%A4%A", "#task/<img src=x onerror=window.pwned=1>", "#task/__proto__"]
)
def test_an_address_that_somebody_else_made_opens_the_page(open_page: OpenPage, common: Relay, fragment: str) -> None:
    watched = Watched(open_page, f"{common.url}/{fragment}")
    expect(watched.page.get_by_text("Task not found")).to_be_visible()
    watched.is_only_text()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_five_million_characters_do_not_stop_the_page(open_page: OpenPage, relayed: Relay, valkey: Valkey) -> None:
    """Of each field a part is shown, and all of it can be copied."""
    huge: dict[str, dict[str, Any]] = {
        "name": {"name": _MUCH, "tags": [_MUCH]},
        "result": {"result": [_MUCH]},
        "argsrepr": {"argsrepr": _MUCH},
        "traceback": {"exception": {"type": "E", "message": "m", "traceback": _MUCH}},
    }
    watched = Watched(open_page, relayed.url)
    page = watched.page
    region = page.locator("#detail")
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    took = {}
    for count, (field, fields) in enumerate(huge.items(), start=1):
        state = "FAILURE" if "exception" in fields else "SUCCESS"
        crafted(valkey, field, state, **{"name": "tasks.big", **fields})
        expect(rows(page)).to_have_count(count, timeout=60_000)  # the browser's driver is told of each byte, too
        rows(page).first.click()
        expect(region.locator(".facts .mono").first).to_have_text(field, timeout=60_000)
        expect(region.get_by_role("listitem")).to_have_count(1)
        if field in ("result", "argsrepr", "traceback"):
            expect(region.get_by_text("of 5,000,00")).to_be_visible()
        page.keyboard.press("Escape")
        took[field] = page.evaluate("longest")
        page.evaluate("longest = 0")
    assert page.evaluate("document.body.textContent.length") < 200_000
    watched.is_only_text()
    assert max(took.values()) < _LONGEST, took


def _keep(page: Page, name: str) -> None:
    """A picture to look at, where one was asked for."""
    if folder := os.environ.get("PICTURES"):
        page.screenshot(path=f"{folder}/{name}.png")
