"""Run again: the same queue, tags and priority, and the new task says of which one it is a repeat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import HELD, OpenPage
from tests.browser.pages import ADD, calls, choose, details, rows, submit
from tests.browser.stage import Refusal, Stage
from tests.support.processes import Relay, relay
from tests.support.waiting import wait_for

_CALL: dict[str, Any] = {"name": "tasks.add", "args": [1], "kwargs": {"y": 2}, "argsrepr": "(1,)", "kwargsrepr": "{}"}


def sent(stage: Stage, number: int) -> dict[str, Any]:
    """The options of a submission, without the id that the page has chosen."""
    wait_for(lambda: len(calls(stage, "submit")) > number, what="a submission")
    options: dict[str, Any] = calls(stage, "submit")[number]["options"]
    return {name: value for name, value in options.items() if name != "task_id"}


def press(page: Page, name: str = "Run again") -> None:
    details(page).get_by_role("button", name=name).click()


@pytest.mark.parametrize(
    ("told", "options"),
    [
        ({}, {"tags": ["again:a"]}),
        ({"queue": "slow"}, {"queue": "slow", "tags": ["again:a"]}),
        ({"queue": "slow", "tags": ["user:42", "a b, c"]}, {"queue": "slow", "tags": ["user:42", "a b, c", "again:a"]}),
        ({"tags": ["again:z", "user:42"]}, {"tags": ["user:42", "again:a"]}),
        ({"tags": [f"t{n}" for n in range(64)]}, {"tags": [*(f"t{n}" for n in range(63)), "again:a"]}),
        ({"tags": ["x" * 252, "y" * 251]}, {"tags": ["y" * 251, "again:a"]}),
    ],
)
def test_what_it_was_sent_with_is_kept(
    open_page: OpenPage, play: Stage, told: dict[str, Any], options: dict[str, Any]
) -> None:
    play.emit("a", "FAILURE", **_CALL, **told)
    page = open_page(f"{play.url}/#task/a")
    press(page)
    assert sent(play, 0) == options


def test_a_priority_is_kept_where_it_is_known(open_page: OpenPage, play: Stage) -> None:
    page = open_page(play.url)
    form = choose(page, "tasks.add")
    form.get_by_label("x", exact=True).fill("1")
    form.get_by_text("Options").click()
    form.get_by_label("priority").fill("7")
    form.get_by_label("countdown").fill("30")
    submit(form)
    assert sent(play, 0) == {"priority": 7, "countdown": 30}
    rows(page).first.click()
    for number in (1, 2):  # the repeat of a repeat has it too
        press(page)
        options = sent(play, number)
        assert (options["priority"], "countdown" in options) == (7, False)
        expect(page).to_have_url(f"{play.url}/#task/{calls(play, 'submit')[number]['options']['task_id']}")


def test_the_new_task_says_of_which_one_it_is_a_repeat(open_page: OpenPage, play: Stage) -> None:
    tags = ["user:42", "again:a"]
    play.emit("a", "SUCCESS", **_CALL, root_id="a", tags=["user:42"])
    play.emit("b", "SUCCESS", **_CALL, root_id="b", tags=tags)
    play.emit("c", "SUCCESS", **_CALL, root_id="b", parent_id="b", tags=tags)
    page = open_page(f"{play.url}/#task/b")
    facts = details(page).locator("dl")
    expect(facts).to_contain_text("Repeat ofa")
    expect(facts.get_by_text("again:a")).to_have_count(0)
    facts.get_by_title("Open this task").click()
    expect(page).to_have_url(f"{play.url}/#task/a")
    page.goto(f"{play.url}/#task/c")  # which was sent by the repeat, and has its tags from it
    expect(facts).to_contain_text("Parentb")
    expect(facts).to_contain_text("again:a")
    expect(facts).not_to_contain_text("Repeat of")


def test_a_queue_that_may_not_be_named_is_said(open_page: OpenPage, play: Stage) -> None:
    take = play.methods["submit"]

    def refuse(data: dict[str, Any]) -> dict[str, Any]:
        if "queue" in data["options"]:
            raise Refusal(103, "option 'queue': tasks may not be sent to the queue 'slow'")
        return take(data)

    play.methods["submit"] = refuse
    play.emit("a", "SUCCESS", **_CALL, queue="slow", tags=["user:42"])
    page = open_page(f"{play.url}/#task/a")
    press(page)
    expect(page.get_by_role("main")).to_contain_text(
        "Sent to the queue that the app routes it to, not to the original queue"
    )
    assert sent(play, 1) == {"tags": ["user:42", "again:a"]}
    expect(rows(page)).to_have_count(2)


@pytest.mark.parametrize("tags", [["user:42", "b"], ["a, b", " c"], ["[x"]])
def test_edit_and_run_starts_from_them_too(open_page: OpenPage, play: Stage, tags: list[str]) -> None:
    play.registry = [ADD]
    play.emit("a", "SUCCESS", **_CALL, queue="slow", tags=[*tags, "again:z"])
    page = open_page(f"{play.url}/#task/a")
    press(page, "Edit and run")
    form = page.get_by_role("form", name="tasks.add")
    expect(form.get_by_label("queue")).to_have_value("slow")
    submit(form)
    assert sent(play, 0) == {"queue": "slow", "tags": tags}


@pytest.fixture
def relayed(working: dict[str, str]) -> Iterator[Relay]:
    with relay(HELD, env=working) as running:
        yield running


def test_with_a_real_relay(open_page: OpenPage, relayed: Relay) -> None:
    body = {"task": "tasks.add", "args": [40, 2], "options": {"task_id": "first", "tags": ["user:42"]}}
    first = httpx.post(f"{relayed.url}/api/tasks", json=body, headers={"Prefer": "wait=10"}).json()
    assert first["state"] == "SUCCESS"
    page = open_page(f"{relayed.url}/#task/first")
    press(page)
    expect(rows(page)).to_have_count(2)
    expect(rows(page).first).to_contain_text("Success")
    expect(details(page).locator("dl")).to_contain_text("Repeat offirst")
    [again] = httpx.get(f"{relayed.url}/api/tasks", params={"tag": "again:first"}).json()["tasks"]
    assert (again["queue"], again["tags"]) == (first["queue"], ["user:42", "again:first"])
