"""`<watcher-task>`: what people see of a task, what they hear of it, and what scripts are told."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.pages import ERROR
from tests.browser.stage import Stage
from tests.support.waiting import wait_for

_ADD = """async (tasks) => {
  window.told = [];
  for (const name of ["change", "final", "error"]) {
    addEventListener(name, ({ target, detail }) => told.push([name, target.id, detail?.state ?? detail?.code ?? null]),
      { capture: name === "error" });
  }
  for (const [id, task, more] of tasks) {
    const element = document.createElement("watcher-task");
    window[id] = Object.assign(element, { id });
    for (const [name, value] of Object.entries({ task, ...more })) element.setAttribute(name, value);
    document.body.append(element);
  }
  await import("/watcher.js");
}"""


@pytest.fixture
def page(open_page: OpenPage, stage: Stage) -> Page:
    return open_page(f"{stage.url}/blank")


def add(page: Page, *tasks: Any) -> Locator:
    """Put elements into the page, before the module is there; the first of them."""
    page.evaluate(
        _ADD, [[f"e{number}", task, {}] if isinstance(task, str) else task for number, task in enumerate(tasks)]
    )
    return page.locator("watcher-task").first


def part(element: Locator, name: str) -> Locator:
    return element.locator(f"[part={name}]")


def test_from_pending_to_the_result(page: Page, stage: Stage) -> None:
    stage.emit("a", "PENDING", name="tasks.add")
    element = add(page, "a")
    bar = element.get_by_role("progressbar", name="tasks.add")
    expect(part(element, "state")).to_have_text("Pending")
    expect(bar).to_be_visible()
    assert bar.get_attribute("aria-valuenow") is None
    stage.emit("a", "PROGRESS", meta={"current": 1, "total": 3})
    expect(part(element, "percent")).to_have_text("33 %")
    expect(bar).to_have_attribute("aria-valuenow", "33")
    assert part(element, "fill").evaluate("fill => fill.offsetWidth / fill.parentElement.offsetWidth") < 0.5
    stage.emit("a", "SUCCESS", result={"sum": 5})
    expect(part(element, "result")).to_have_text('{ "sum": 5 }')
    expect(bar).to_be_hidden()
    expect(part(element, "error")).to_be_hidden()
    states = ["PENDING", "PROGRESS", "SUCCESS"]
    assert page.evaluate("told") == [*(["change", "e0", state] for state in states), ["final", "e0", "SUCCESS"]]
    assert page.evaluate("e0.value.result.sum") == 5


def test_only_the_end_is_said_aloud(page: Page, stage: Stage) -> None:
    element = add(page, "a", "b")
    expect(part(element, "note")).to_have_text("Task not found")
    for current in range(5):
        stage.emit("a", "PROGRESS", name="tasks.add", meta={"current": current, "total": 5})
    expect(part(element, "percent")).to_have_text("80 %")
    status = element.get_by_role("status")
    expect(status).to_be_empty()
    stage.emit("a", "FAILURE", exception=ERROR)
    expect(status).to_have_text("tasks.add: Failure ValueError: no such thing")


def test_hostile_texts_are_texts(page: Page, stage: Stage) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    stage.emit("a", "SUCCESS", name=hostile, result=hostile)
    stage.emit("b", "FAILURE", name=hostile, exception={"type": hostile, "message": hostile * 1000})
    stage.emit("c", hostile, name=hostile, meta={"current": hostile, "total": 1})
    element = add(page, "a", "b", "c")
    expect(part(element, "result")).to_have_text(hostile)
    expect(part(page.locator("#e1"), "error")).to_contain_text(hostile)
    expect(part(page.locator("#e2"), "name")).to_have_text(hostile)
    expect(page.locator("watcher-task img")).to_have_count(0)


@pytest.mark.parametrize(
    ("state", "fields", "shown"),
    [
        ("SUCCESS", {"result": "a text"}, "a text"),
        ("SUCCESS", {"result": None}, ""),
        ("SUCCESS", {"result": False}, "false"),
        ("SUCCESS", {"result_size": 70_000}, "a result of 70000 bytes"),
        ("FAILURE", {"exception": ERROR}, "ValueError: no such thing"),
        ("RETRY", {"exception": ERROR}, "ValueError: no such thing"),
        ("REVOKED", {"reason": "expired"}, "expired"),
        ("FAILURE", {"reason": "worker_lost"}, "worker lost"),
    ],
)
def test_outcomes(page: Page, stage: Stage, state: str, fields: dict[str, Any], shown: str) -> None:
    stage.emit("a", state, **fields)
    element = add(page, "a")
    expect(part(element, "state")).to_have_text(state.capitalize())
    outcome = element.locator("[part=result]:visible, [part=error]:visible")
    assert outcome.all_inner_texts() == ([shown] if shown else [])


def test_what_may_not_be_seen_is_said(page: Page, stage: Stage) -> None:
    stage.forbidden = {"task:a"}
    element = add(page, "a")
    expect(part(element, "note")).to_have_text("Can't watch this task: permission denied")
    expect(element.get_by_role("status")).to_have_text("Can't watch this task: permission denied")
    assert page.evaluate("told") == [["error", "e0", 103]]
    stage.emit("b", "STARTED")
    page.evaluate("e0.setAttribute('task', 'b')")
    expect(part(element, "state")).to_have_text("Started")
    expect(part(element, "note")).to_be_hidden()


def test_another_token_is_another_try(page: Page, stage: Stage) -> None:
    stage.token = "right"
    stage.emit("a", "STARTED")
    element = add(page, ["e0", "a", {"token": "wrong"}])
    expect(part(element, "note")).to_have_text("Can't watch this task: unauthorized")
    page.evaluate("e0.setAttribute('token', 'right')")
    expect(part(element, "state")).to_have_text("Started")


@pytest.mark.parametrize("address", ["http://[", "mailto:relay"])
def test_an_address_that_is_none_is_said(page: Page, address: str) -> None:
    element = add(page, ["e0", "a", {"relay": address}])
    expect(part(element, "note")).to_contain_text("Can't watch this task")


def test_elements_share_a_connection_and_leave_it(page: Page, stage: Stage) -> None:
    for name in "abc":
        stage.emit(name, "STARTED")
    add(page, "a", "b", "c")
    expect(part(page.locator("#e2"), "state")).to_have_text("Started")
    page.evaluate("document.body.prepend(e2)")  # moved, not begun anew
    page.evaluate("e1.remove()")
    wait_for(lambda: len(stage.sent("unsubscribe")) >= 1, what="the task to be left")
    assert len(stage.sent("connect")) == 1
    page.evaluate("() => { e0.remove(); e2.remove(); }")
    wait_for(lambda: not stage.clients, what="the connection to be closed")
    page.evaluate("document.body.append(e0)")
    expect(part(page.locator("#e0"), "state")).to_have_text("Started")


def test_a_connection_of_the_page_may_be_used(page: Page, stage: Stage) -> None:
    stage.emit("a", "STARTED")
    add(page, ["e0", "", {}])
    page.evaluate("""async () => {
      const { connect } = await import("/watcher.js");
      e0.connection = connect({ getToken: async () => "" });
      e0.setAttribute("task", "a");
    }""")
    expect(part(page.locator("#e0"), "state")).to_have_text("Started")
    assert len(stage.sent("connect")) == 1
    page.evaluate("e0.remove()")
    wait_for(lambda: stage.sent("unsubscribe"), what="the task to be left")
    assert len(stage.clients) == 1  # it is the page's to close


def test_a_lost_relay_is_said_and_made_good(page: Page, stage: Stage) -> None:
    stage.emit("a", "STARTED")
    element = add(page, "a")
    expect(part(element, "state")).to_have_text("Started")
    page.evaluate("Math.random = () => 0.999")
    stage.drop()
    expect(part(element, "note")).to_contain_text("Reconnecting")
    stage.happen("a", "SUCCESS", result=1)
    expect(part(element, "result")).to_have_text("1")
    expect(part(element, "note")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_looks_are_its_pages_to_choose(page: Page, stage: Stage, scheme: str) -> None:
    stage.emit("a", "FAILURE", exception=ERROR)
    element = add(page, "a")
    state = part(element, "state")
    expect(state).to_have_text("Failure")
    page.evaluate(f"document.documentElement.style.colorScheme = '{scheme}'")
    expect(state).to_have_css("color", "rgb(191, 37, 37)" if scheme == "light" else "rgb(255, 145, 138)")
    page.evaluate("e0.style.setProperty('--watcher-failed', 'rgb(1, 2, 3)')")
    expect(state).to_have_css("color", "rgb(1, 2, 3)")
    page.evaluate("""() => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync("watcher-task::part(state) { text-transform: uppercase; }");
      document.adoptedStyleSheets = [sheet];
    }""")
    expect(state).to_have_css("text-transform", "uppercase")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_bar_is_seen_in_the_systems_own_colours(page: Page, stage: Stage, scheme: Literal["light", "dark"]) -> None:
    """Where the system forces its colours on pages, it drops all others, and with them what is drawn by backgrounds."""
    page.emulate_media(forced_colors="active", color_scheme=scheme)
    stage.emit("a", "PROGRESS", name="tasks.add", meta={"current": 1, "total": 3})
    element = add(page, "a")
    bar = part(element, "bar")
    expect(bar).to_be_visible()
    page.evaluate("""() => {
      document.body.append(Object.assign(document.createElement("p"), { id: "system" }));
      Object.assign(document.getElementById("system").style, { background: "Highlight", color: "CanvasText" });
    }""")
    system = page.locator("#system")
    full, line = (system.evaluate(f"p => getComputedStyle(p).{name}") for name in ("backgroundColor", "color"))
    expect(part(element, "fill")).to_have_css("background-color", full)
    expect(bar).to_have_css("outline-color", line)
    expect(bar).to_have_css("outline-style", "solid")
    assert bar.evaluate("bar => getComputedStyle(bar).backgroundColor") not in (full, line)
