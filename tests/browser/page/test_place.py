"""What is shown stands in the address, and whatever leads somewhere is a link."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.pages import ERROR, details, rows
from tests.browser.stage import Stage


def fill(stage: Stage) -> None:
    for number in range(3):
        places = {"queue": f"q{number}", "hostname": f"celery@w{number}", "tags": [f"user:{number}"]}
        stage.emit(f"t{number}", "FAILURE" if number else "SUCCESS", name=f"tasks.n{number}", exception=ERROR, **places)


def test_back_reload_and_a_link_show_the_same(open_page: OpenPage, play: Stage) -> None:
    fill(play)
    page = open_page(play.url)
    box = page.get_by_role("searchbox", name="Filter tasks")
    expect(rows(page)).to_have_count(3)
    page.get_by_role("button", name="Failed 2").click()
    expect(page).to_have_url(f"{play.url}/#tasks?kind=failed")
    box.press_sequentially("queue:q1", delay=1)
    expect(rows(page)).to_have_count(1)
    expect(page).to_have_url(f"{play.url}/#tasks?kind=failed&filter=queue%3Aq1")
    rows(page).first.click()
    expect(page).to_have_url(f"{play.url}/#task/t1?kind=failed&filter=queue%3Aq1")
    page.reload()
    expect(details(page).get_by_role("heading", level=2)).to_have_text("tasks.n1")
    expect(box).to_have_value("queue:q1")
    expect(rows(page)).to_have_count(1)
    page.go_back()
    expect(page.locator("#detail")).to_be_hidden()
    expect(box).to_have_value("queue:q1")
    page.go_back()  # what was typed is one step
    expect(box).to_have_value("")
    expect(rows(page)).to_have_count(2)
    page.go_back()
    expect(rows(page)).to_have_count(3)
    page.go_forward()
    expect(page.get_by_role("button", name="Failed 2")).to_have_attribute("aria-pressed", "true")


def test_what_leads_somewhere_opens_in_a_tab_of_its_own(open_page: OpenPage, play: Stage) -> None:
    fill(play)
    page = open_page(play.url)
    rows(page).first.click(button="middle", position={"x": 5, "y": 5})
    with page.context.expect_page() as opened:
        rows(page).first.get_by_role("link", name="tasks.n2").click(modifiers=["ControlOrMeta"])
    other = opened.value
    expect(other).to_have_url(f"{play.url}/#task/t2")
    expect(page.locator("#detail")).to_be_hidden()
    rows(page).first.get_by_role("link", name="user:2").click()
    expect(page).to_have_url(f"{play.url}/#tasks?filter=tag%3Auser%3A2")
    expect(page.locator("#detail")).to_be_hidden()
    wanted = {
        "tasks.n2": "name:tasks.n2", "q2": "queue:q2", "celery@w2": "worker:celery@w2", "user:2": "tag:user:2",
        "ValueError": "error:ValueError",
    }  # fmt: skip
    for name, filtered in wanted.items():
        link = details(other).get_by_role("link", name=name, exact=True)
        with other.context.expect_page() as opened:
            link.click(modifiers=["ControlOrMeta"])
        expect(opened.value.get_by_role("searchbox", name="Filter tasks")).to_have_value(filtered)
        opened.value.close()


def test_filters_are_saved_in_the_browser(open_page: OpenPage, play: Stage) -> None:
    fill(play)
    page = open_page(play.url)
    box = page.get_by_role("searchbox", name="Filter tasks")
    page.get_by_role("button", name="Failed 2").click()
    box.fill("queue:q1")
    page.get_by_role("button", name="Saved filters").click()
    dialog = page.get_by_role("dialog", name="Saved filters")
    dialog.get_by_role("textbox", name="Name").fill("q1 fails")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("link", name="q1 fails")).to_be_visible()
    page.keyboard.press("Escape")
    page.goto(play.url)
    page.reload()
    expect(rows(page)).to_have_count(3)
    page.get_by_role("button", name="Saved filters").click()
    dialog.get_by_role("link", name="q1 fails").click()
    expect(dialog).to_be_hidden()
    expect(box).to_have_value("queue:q1")
    expect(rows(page)).to_have_count(1)
    page.get_by_role("button", name="Saved filters").click()
    dialog.get_by_role("button", name="Remove q1 fails").click()
    expect(dialog.get_by_text("None yet")).to_be_visible()


def test_without_storage_they_last_as_long_as_the_page(open_page: OpenPage, play: Stage) -> None:
    page = open_page("about:blank")
    page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('none'); } })")
    page.goto(play.url)
    page.get_by_role("button", name="Saved filters").click()
    dialog = page.get_by_role("dialog", name="Saved filters")
    dialog.get_by_role("textbox", name="Name").fill("all")
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(dialog.get_by_role("link", name="all")).to_be_visible()
