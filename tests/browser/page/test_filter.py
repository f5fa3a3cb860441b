"""The search box: what is wrong in it is told beside it, with what was probably meant."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.pages import rows
from tests.browser.stage import Stage


def test_a_wrong_term_is_told_and_put_right(open_page: OpenPage, play: Stage) -> None:
    play.emit("a", "FAILURE", name="tasks.add", exception={"type": "shop.CardDeclined", "message": "no money"})
    play.emit("b", "SUCCESS", name="tasks.add")
    page = open_page(play.url)
    box = page.get_by_role("searchbox", name="Filter tasks")
    box.fill("error:CardDeclined")
    expect(rows(page)).to_have_count(1)
    box.fill('"state:faild" state:faild')
    told = page.locator("#filter-error-text")
    expect(told).to_contain_text("there is no state faild")
    expect(box).to_have_attribute("aria-invalid", "true")
    expect(box).to_have_accessible_description(told.inner_text())
    expect(rows(page)).to_have_count(1)  # the list stays as it was
    page.get_by_role("button", name="Use state:failed").click()
    expect(box).to_have_value('"state:faild" state:failed')
    expect(box).to_be_focused()
    expect(told).to_be_hidden()
    expect(box).not_to_have_attribute("aria-invalid", "true")
    expect(rows(page)).to_have_count(0)
    box.fill("-state:succeeded since:1d")
    expect(rows(page)).to_have_count(0)  # these happened long ago
    box.fill("-state:succeeded until:1d")
    expect(rows(page)).to_have_count(1)
