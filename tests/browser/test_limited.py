"""Whoever may see some tasks sees those, live, and isn't told that others are denied. A real relay and a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import HELD, OpenPage
from tests.browser.pages import choose, details, follows, rows, submit
from tests.browser.stage import Stage
from tests.browser.test_log_in import connected, enter
from tests.support.gate import gate
from tests.support.processes import Relay, relay
from tests.support.tokens import lasting
from watcher.core.permissions import Grant, issue

_SECRET = "s" * 32
_ALL = lasting(_SECRET, watch=["*"], submit=["*"])


@pytest.fixture
def guarded(working: dict[str, str]) -> Iterator[Relay]:
    with relay(HELD, env={**working, "WATCHER_SECRET": _SECRET}) as running:
        yield running


@pytest.fixture
def send(guarded: Relay) -> Callable[..., None]:
    def send(identity: str, task: str, *args: Any, tags: tuple[str, ...] = (), wait: bool = False) -> None:
        body = {"task": task, "args": args, "options": {"task_id": identity, "tags": tags}}
        headers = {"Authorization": f"Bearer {_ALL}", **({"Prefer": "wait=10"} if wait else {})}
        response = httpx.post(f"{guarded.url}/api/tasks", json=body, headers=headers, timeout=20)
        assert response.status_code == (200 if wait else 202), response.text

    return send


def log_in(open_page: OpenPage, guarded: Relay, *watch: str, **more: Any) -> Page:
    page = open_page(guarded.url)
    enter(page, issue(_SECRET, watch=watch, **more))
    connected(page)
    return page


def not_told_denied(page: Page) -> None:
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator("body")).not_to_contain_text("denied")


def test_a_tag(open_page: OpenPage, guarded: Relay, send: Callable[..., None], working: dict[str, str]) -> None:
    send("before", "tasks.add", 1, 2, tags=("user:42",), wait=True)
    send("other", "tasks.add", 1, 2, tags=("user:43",), wait=True)
    page = log_in(open_page, guarded, "tag:user:42")
    expect(rows(page)).to_have_count(1)
    with gate(working["CELERY_RESULT_BACKEND"]) as held:
        send("now", "tasks.count_slowly", 10, held.name, tags=("user:42",))
        send("theirs", "tasks.add", 1, 2, tags=("user:43",), wait=True)
        expect(rows(page).first.get_by_role("progressbar")).to_be_visible()
        held.open()
    expect(rows(page).first).to_contain_text("Success")
    expect(rows(page)).to_have_count(2)
    not_told_denied(page)
    not_told_denied(page)
    states = details(page).get_by_role("listitem").locator("strong")
    rows(page).first.click()  # its own channel may not be watched
    expect(states).to_have_text(["Pending", "Received", "Started", "Progress", "Success"])
    expect(details(page)).to_contain_text("user:42")
    with gate(working["CELERY_RESULT_BACKEND"]) as held:
        send("later", "tasks.count_slowly", 10, held.name, tags=("user:42",))
        expect(rows(page)).to_have_count(3)
        rows(page).first.click()
        expect(states).to_have_text(["Pending", "Received", "Started", "Progress"])
        held.open()
    expect(states).to_have_text(["Pending", "Received", "Started", "Progress", "Success"])
    not_told_denied(page)
    page.goto(f"{guarded.url}/#task/theirs")
    expect(page.get_by_text("Could not load the task: permission denied")).to_be_visible()


def test_a_task_whose_details_are_open(
    open_page: OpenPage, guarded: Relay, send: Callable[..., None], working: dict[str, str]
) -> None:
    """List and details want the same channel, of which there is one subscription."""
    with gate(working["CELERY_RESULT_BACKEND"]) as held:
        page = log_in(open_page, guarded, "task:mine", "task:[*]odd")
        expect(page.get_by_text("No tasks that you may watch yet")).to_be_visible()
        send("mine", "tasks.count_slowly", 10, held.name)
        expect(rows(page)).to_have_count(1)
        rows(page).first.click()
        for place in (rows(page).first, details(page)):
            expect(place.get_by_role("progressbar")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#detail")).to_be_hidden()
        rows(page).first.click()
        page.reload()
        expect(details(page).get_by_role("progressbar")).to_be_visible()
        expect(rows(page).first.get_by_role("progressbar")).to_be_visible()
        details(page).get_by_role("button", name="Close").click()
        held.open()
    expect(rows(page).first).to_contain_text("Success")
    not_told_denied(page)


@pytest.mark.parametrize(
    "watch", [["name:tasks.add"], ["root:a"], ["task:b", "task:a", "nonsense", "no:channel"], ["task:a", "tag:user:42"]]
)
def test_any_kind_of_channel(open_page: OpenPage, guarded: Relay, send: Callable[..., None], watch: list[str]) -> None:
    page = log_in(open_page, guarded, *watch)
    expect(page.get_by_text("No tasks that you may watch yet")).to_be_visible()
    send("a", "tasks.add", 20, 22, tags=("user:42",))
    expect(rows(page)).to_have_count(1)
    expect(rows(page).first).to_contain_text("Success")
    expect(rows(page).first).to_contain_text("42")
    not_told_denied(page)


def test_globs_are_followed_as_far_as_names_are_known(
    open_page: OpenPage, guarded: Relay, send: Callable[..., None]
) -> None:
    send("a", "tasks.fail", tags=("user:1",), wait=True)
    page = log_in(open_page, guarded, "tag:user:*", "name:tasks.[ab]dd", submit=["tasks.*"])
    expect(rows(page)).to_have_count(1)
    send("b", "tasks.fail", tags=("user:1",))
    send("c", "tasks.fail", tags=("group:1",))
    expect(rows(page)).to_have_count(2)
    expect(page.get_by_role("main")).to_contain_text("Tasks with names that are new to this page appear after a reload")
    form = choose(page, "tasks.add")  # whose name the registry tells
    form.get_by_label("x", exact=True).fill("40")
    form.get_by_label("y", exact=True).fill("2")
    submit(form)
    expect(rows(page)).to_have_count(3)
    expect(rows(page).first).to_contain_text("42")
    expect(page.locator("body")).not_to_contain_text("denied")


@pytest.mark.parametrize("watch", [(), ("tag:user:42",)])
def test_what_one_submits_oneself(open_page: OpenPage, guarded: Relay, watch: tuple[str, ...]) -> None:
    page = log_in(open_page, guarded, *watch, submit=["tasks.*"])
    form = choose(page, "tasks.add")
    for name, value in (("x", "40"), ("y", "2")):
        form.get_by_label(name, exact=True).fill(value)
    submit(form)
    expect(rows(page)).to_have_count(1)
    expect(rows(page).first).to_contain_text("Success")
    rows(page).first.click()
    expect(details(page).get_by_role("listitem").locator("strong")).to_have_text(
        ["Pending", "Received", "Started", "Success"]
    )
    details(page).get_by_role("button", name="Run again").click()
    expect(rows(page)).to_have_count(2)
    expect(rows(page).first).to_contain_text("Success")
    expect(details(page)).to_contain_text("Repeat of")
    if watch:
        not_told_denied(page)


def test_another_token_shows_what_that_one_may_see(open_page: OpenPage, play: Stage) -> None:
    for identity, tag in (("a", "one"), ("b", "two")):
        play.emit(identity, "STARTED", name="tasks.add", tags=[tag])
    page = open_page(play.url)
    expect(rows(page)).to_have_count(2)
    play.watch, play.token = ["task:c"], "other"
    play.forbidden = {"tasks"}
    play.hidden = {"a", "b"}
    play.drop()
    enter(page, "other")
    expect(page.get_by_text("No tasks that you may watch yet")).to_be_visible()
    play.emit("c", "STARTED", name="tasks.add")
    expect(rows(page)).to_have_count(1)
    not_told_denied(page)


def test_a_limited_page_begins_anew_with_a_new_journal(open_page: OpenPage, play: Stage) -> None:
    play.watch, play.forbidden = ["task:a", "task:b"], {"tasks"}
    for identity in "ab":
        play.emit(identity, "STARTED", name="tasks.add")
    page = open_page(play.url)
    expect(rows(page)).to_have_count(2)
    play.lose_journal("e2")
    play.happen("b", "SUCCESS", name="tasks.add")
    play.drop()
    expect(page.get_by_role("main").get_by_text("Some events are missing")).to_be_visible()
    expect(rows(page)).to_have_count(1)
    play.emit("a", "STARTED", name="tasks.add")
    expect(rows(page)).to_have_count(2)


def test_who_may_see_everything_is_as_before(open_page: OpenPage, play: Stage) -> None:
    page = open_page(play.url)
    follows(page)
    play.emit("a", "STARTED", name="tasks.add")
    expect(rows(page)).to_have_count(1)
    assert [asked["channel"] for asked in play.sent("subscribe")] == ["overview", "tasks"]


_MATCH = """async (pairs) => {
  const { Grant } = await import("/model/grant.js");
  return pairs.map(([glob, channel]) => {
    const grant = new Grant([glob]);
    return grant.channels.includes(channel) || grant.opened([channel]).length === 1;
  });
}"""


def test_globs_match_as_they_do_in_the_relay(blank: Page) -> None:
    globs = [
        "tag:user:*", "tag:user:?", "task:a[*]b", "task:[!a]x", "task:[a-c]x", "task:[]]x", "task:a.b", "task:[x",
        "tag:[z-a]", "*:a", "name:tasks.[[]x]", "tag:\\\\d", "tag:[^a]", "tag:a|b", "t?g:*", "tag:a\nb*", "tag:[a\\]b]",
    ]  # fmt: skip
    channels = [
        "tag:user:42", "tag:user:4", "task:a*b", "task:axb", "task:bx", "task:ax", "task:]x", "task:a.b", "task:aXb",
        "task:[x", "tag:z", "tag:a", "name:tasks.[x]", "tag:\\\\d", "tag:^", "tag:b", "tag:a|b", "tag:a\nbc",
        "tag:\\]b]",
    ]  # fmt: skip
    pairs = [(glob, channel) for glob in globs for channel in channels]
    theirs = [Grant(watch=(glob,)).may_watch(channel) for glob, channel in pairs]
    found = blank.evaluate(_MATCH, pairs)
    assert [pair for pair, ours, right in zip(pairs, found, theirs, strict=True) if ours != right] == []
