"""The table: ten thousand tasks, and nobody is pushed about."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.pages import follows, grid, rows
from tests.browser.stage import Stage
from tests.support.waiting import wait_for

#: The index of the row in the middle of the view.
_MIDDLE = """(grid) => {
  const { left, top, bottom } = grid.getBoundingClientRect();
  return document.elementFromPoint(left + 50, (top + bottom) / 2).closest("[role=row]")?.ariaRowIndex;
}"""


def test_ten_thousand_tasks_are_a_few_elements(open_page: OpenPage, play: Stage) -> None:
    page = open_page(play.url)
    follows(page)
    event = {"state": "SUCCESS", "name": "tasks.add"}
    lines = [
        play.publication("tasks", {**event, "id": f"t{n}", "timestamp": n, "result": n}, n) for n in range(1, 10_001)
    ]
    for start in range(0, len(lines), 1000):
        play.push(*lines[start : start + 1000])
    expect(grid(page)).to_have_attribute("aria-rowcount", "10001")
    expect(rows(page).first).to_contain_text("10000")
    assert rows(page).count() < 60
    for share in (0.5, 1.0, 0.1):
        grid(page).evaluate(
            "(grid, share) => { grid.scrollTop = (grid.scrollHeight - grid.clientHeight) * share; }", share
        )
        index = wait_for(lambda: grid(page).evaluate(_MIDDLE), what="a row in the middle of the view")
        assert abs(int(index) - 10_000 * share) < 30
        assert rows(page).count() < 60
    page.get_by_role("searchbox", name="Filter tasks").fill("t9999")
    expect(rows(page)).to_have_count(1)


def test_nobody_is_pushed_away_from_what_they_read(open_page: OpenPage, play: Stage) -> None:
    for n in range(200):
        play.emit(f"t{n}", "SUCCESS", name="tasks.add", result=n)
    page = open_page(play.url)
    expect(grid(page)).to_have_attribute("aria-rowcount", "201")
    grid(page).evaluate("grid => { grid.scrollTop = 2000; }")
    expect(page.get_by_text("Paused")).to_be_visible()
    read = rows(page).nth(15).inner_text()
    for n in range(30):
        play.emit(f"new{n}", "SUCCESS", name="tasks.add", result=n)
    page.get_by_role("button", name="30 new tasks").wait_for()
    assert rows(page).nth(15).inner_text() == read
    page.get_by_role("button", name="30 new tasks").click()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(rows(page).first).to_contain_text("29")


def test_by_keyboard_alone(open_page: OpenPage, play: Stage) -> None:
    for n in range(50):
        play.emit(f"t{n}", "SUCCESS", name="tasks.add", result=n)
    page = open_page(play.url)
    expect(page.get_by_role("list", name="Registered tasks").get_by_role("listitem")).to_have_count(2)
    keys = page.keyboard
    keys.press("n")
    keys.type("word")
    keys.press("Enter")
    expect(page.get_by_label("text", exact=True)).to_be_focused()
    keys.type("some words")
    keys.press("Control+Enter")
    expect(rows(page).first).to_contain_text('("some words")')
    keys.press("Escape")
    for key in ("j", "j", "ArrowDown", "k"):
        keys.press(key)
    active = page.locator(f"#{grid(page).get_attribute('aria-activedescendant')}")
    expect(active).to_contain_text("49")
    keys.press("Enter")
    expect(page.get_by_role("heading", name="tasks.add")).to_be_focused()
    keys.press("Escape")
    expect(grid(page)).to_be_focused()
    expect(active).to_have_attribute("data-active", "")
    keys.press("End")
    expect(page.locator("[data-active]")).to_have_attribute("aria-rowindex", "52")
    keys.press("/")
    keys.type("t7")
    expect(rows(page)).to_have_count(1)
    keys.press("Escape")
    keys.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()


def test_escape_clears_what_was_looked_for(open_page: OpenPage, play: Stage) -> None:
    for n in range(3):
        play.emit(f"t{n}", "SUCCESS", name="tasks.add", result=n)
    page = open_page(play.url)
    registered = page.get_by_role("list", name="Registered tasks").get_by_role("listitem")
    for name, text, found, everything in (
        ("Filter tasks", "t2", rows(page), 3),
        ("Search the registered tasks", "word", registered, 2),
    ):
        expect(found).to_have_count(everything)
        box = page.get_by_role("searchbox", name=name)
        box.fill(text)
        expect(found).to_have_count(1)
        box.press("Escape")
        expect(box).to_have_value("")
        expect(box).not_to_be_focused()
        expect(found).to_have_count(everything)


def test_escape_closes_the_form_that_lies_over_the_list(open_page: OpenPage, play: Stage) -> None:
    page = open_page(play.url, width=360, height=740)
    opener = page.get_by_role("button", name="Run a task")
    opener.click()
    search = page.get_by_role("searchbox", name="Search the registered tasks")
    search.fill("word")
    for _ in range(2):  # out of the field, then out of the form
        expect(search).to_be_visible()
        page.keyboard.press("Escape")
    expect(search).to_be_hidden()
    expect(opener).to_be_focused()


def test_a_list_that_is_uncovered_can_be_used_again(open_page: OpenPage, play: Stage) -> None:
    for n in range(2):
        play.emit(f"t{n}", "SUCCESS", name="tasks.add", result=n, tags=["user:42"])
    page = open_page(play.url, width=360, height=740)
    rows(page).first.click()
    expect(page.locator("#tasks")).to_have_js_property("inert", True)
    page.set_viewport_size({"width": 1440, "height": 900})  # turned, or zoomed out
    rows(page).nth(1).click()
    expect(page).to_have_url(f"{play.url}/#task/t0")
    page.set_viewport_size({"width": 360, "height": 740})
    expect(page.locator("#tasks")).to_have_js_property("inert", True)
    page.keyboard.press("Escape")
    expect(page.locator("#tasks")).to_have_js_property("inert", False)


def test_cells_are_read_as_words(open_page: OpenPage, play: Stage) -> None:
    play.emit(
        "a", "SUCCESS", name="tasks.add", argsrepr="(1,)", kwargsrepr="{}", tags=["user:42", "order:" + 50 * "7", "b"]
    )
    page = open_page(play.url)
    expect(rows(page).get_by_role("gridcell").nth(1)).to_have_accessible_name("tasks.add(1) user:42 b +1")
