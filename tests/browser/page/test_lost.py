"""A task whose worker is gone doesn't look alive: in the table, its details, the counts, and `<watcher-task>`."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.pages import ERROR, calls, choose, details, rows, submit
from tests.browser.stage import Stage
from tests.support.processes import relay, worker
from tests.support.waiting import wait_for

_TASK: dict[str, Any] = {"name": "tasks.count", "hostname": "celery@gone", "queue": "celery"}


def lose(stage: Stage, identity: str, state: str, **fields: Any) -> None:
    """What a relay says of an unfinished task whose worker gives no sign of life any more."""
    stage.emit(identity, state, **{**_TASK, **fields}, source="backend", reason="worker_lost")


@pytest.mark.parametrize("state", ["RECEIVED", "STARTED", "PROGRESS", "RENDERING", "RETRY"])
def test_it_is_lost_whatever_it_was(open_page: OpenPage, play: Stage, state: str) -> None:
    more = {"exception": ERROR} if state == "RETRY" else {}
    play.emit("a", state, **_TASK, **more)
    page = open_page(play.url)
    expect(rows(page).first).to_contain_text(state.capitalize())
    lose(play, "a", state, **more)
    row = rows(page).first
    expect(row.get_by_role("gridcell").first).to_have_text("Lost")
    expect(row).to_have_attribute("data-kind", "lost")
    expect(page.get_by_role("button", name="Lost 1")).to_be_visible()
    for kind in ("Waiting", "Running", "Failed", "Other"):
        expect(page.get_by_role("button", name=f"{kind} 0")).to_be_visible()
    page.get_by_role("button", name="Lost 1").click()
    expect(rows(page)).to_have_count(1)
    page.get_by_role("button", name="Running 0").click()
    expect(rows(page)).to_have_count(0)


def test_neither_bar_nor_clock_goes_on(open_page: OpenPage, play: Stage) -> None:
    play.emit("a", "STARTED", **_TASK)
    play.emit("a", "PROGRESS", **_TASK, meta={"current": 2, "total": 5})
    page = open_page(play.url)
    rows(page).first.click()
    region = details(page)
    for place in (rows(page).first, region):
        expect(place.get_by_role("progressbar")).to_be_visible()
    lose(play, "a", "PROGRESS")
    for place in (rows(page).first, region):
        expect(place).to_contain_text("Lost")
        expect(place).to_contain_text("40 %")
        expect(place.get_by_role("progressbar")).to_be_hidden()
    expect(rows(page).first.get_by_role("gridcell").nth(2)).to_contain_text("worker lost, was Progress")
    expect(rows(page).first.get_by_role("gridcell").nth(3)).to_be_empty()
    expect(region).to_contain_text("Its worker celery@gone is gone")
    expect(region).to_contain_text(re.compile(r"Progress at \d\d:\d\d:\d\d"))
    expect(region).not_to_contain_text(re.compile(r"for \d"))
    expect(region).not_to_contain_text("result backend")
    expect(region.locator("pre:visible").first).to_contain_text('"current": 2')
    last = region.get_by_role("listitem").last
    expect(last.locator("strong")).to_have_text("Lost")
    expect(last).to_contain_text("reported by the relay")
    expect(region.get_by_role("listitem").nth(-2)).to_contain_text("Progress")


def test_another_worker_that_gets_it_brings_it_to_life(open_page: OpenPage, play: Stage) -> None:
    play.emit("a", "STARTED", **_TASK)
    lose(play, "a", "STARTED")
    page = open_page(play.url)
    rows(page).first.click()
    expect(details(page)).to_contain_text("is gone")
    play.emit("a", "STARTED", **{**_TASK, "hostname": "celery@other"})
    expect(rows(page).first).to_have_attribute("data-kind", "running")
    expect(details(page)).not_to_contain_text("is gone")
    expect(page.get_by_role("button", name=re.compile("Lost"))).to_be_hidden()
    expect(page.get_by_role("button", name="Running 1")).to_be_visible()


def test_a_task_of_ones_own_is_told_to_be_lost(open_page: OpenPage, play: Stage) -> None:
    page = open_page(play.url)
    form = choose(page, "tasks.word_count")
    form.get_by_label("text", exact=True).fill("a b")
    submit(form)
    expect(rows(page)).to_have_count(1)
    [identity] = [call["options"]["task_id"] for call in calls(play, "submit")]
    play.emit(identity, "STARTED", name="tasks.word_count")
    play.emit(identity, "STARTED", name="tasks.word_count", source="backend", reason="worker_lost")
    expect(page.get_by_role("status")).to_have_text("tasks.word_count: Lost, worker lost, was Started")
    rows(page).first.click()
    expect(details(page)).to_contain_text("Its worker is gone")


def test_the_element_says_so(open_page: OpenPage, stage: Stage) -> None:
    page = open_page(f"{stage.url}/blank")
    stage.emit("a", "PROGRESS", **_TASK, meta={"current": 2, "total": 5})
    page.evaluate("""async () => {
      document.body.append(Object.assign(document.createElement("watcher-task"), { id: "e" }));
      document.getElementById("e").setAttribute("task", "a");
      await import("/watcher.js");
    }""")
    element = page.locator("watcher-task")
    expect(element.get_by_role("progressbar")).to_be_visible()
    lose(stage, "a", "PROGRESS")
    expect(element.locator("[part=state]")).to_have_text("Lost")
    expect(element.get_by_role("progressbar")).to_be_hidden()
    expect(element.locator("[part=error]")).to_have_text("worker lost")
    expect(element.get_by_role("status")).to_have_text("tasks.count: Lost worker lost")
    stage.emit("a", "SUCCESS", **_TASK, result=5)
    expect(element.locator("[part=state]")).to_have_text("Success")
    expect(element.locator("[part=error]")).to_be_hidden()
    expect(element.get_by_role("status")).to_have_text("tasks.count: Success 5")


@pytest.mark.slow
def test_with_a_worker_that_was_killed(open_page: OpenPage, tasks_env: dict[str, str]) -> None:
    with relay(env=tasks_env) as serving, worker(env=tasks_env) as doomed:
        page = open_page(serving.url)
        body = {"task": "tasks.sleep", "args": [600], "options": {"task_id": "doomed"}}
        assert httpx.post(f"{serving.url}/api/tasks", json=body).status_code == 202
        expect(rows(page).first).to_contain_text("Started")
        os.killpg(doomed.process.pid, signal.SIGKILL)
        wait_for(lambda: doomed.process.poll() is not None, what="the worker to be gone")
        expect(rows(page).first).to_contain_text("Lost", timeout=30_000)
        expect(page.get_by_role("button", name="Lost 1")).to_be_visible()
        expect(page.get_by_role("button", name="Running 0")).to_be_visible()
