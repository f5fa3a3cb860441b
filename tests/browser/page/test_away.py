"""What is away is said across the page, and new failures in the tab."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.pages import ERROR, rows
from tests.browser.stage import Stage

#: The tab goes to the background, and comes back.
_HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_banner_says_that_the_relay_or_redis_is_away(open_page: OpenPage, play: Stage) -> None:
    play.emit("a", "STARTED", name="tasks.sleep")
    page = open_page(play.url, width=360, height=740)
    banner = page.locator("#banner")
    expect(rows(page)).to_have_count(1)
    expect(banner).to_be_hidden()
    play.push({"push": {"message": {"data": {"trouble": "Redis does not answer"}}}})
    expect(banner).to_contain_text("Redis is away (Redis does not answer)")
    play.push({"push": {"message": {"data": {"trouble": None}}}})
    expect(banner).to_be_hidden()
    play.token = "changed"
    page.evaluate("Math.random = () => 0.999")
    play.drop()
    expect(banner).to_contain_text("The relay asks for a token")
    page.keyboard.press("Escape")
    banner.get_by_role("button", name="Enter a token").click()
    page.get_by_role("textbox", name="Token").fill("changed")
    page.get_by_role("button", name="Connect").click()
    expect(banner).to_be_hidden()


def test_a_relay_that_is_gone(open_page: OpenPage, play: Stage) -> None:
    page = open_page(play.url)
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    page.evaluate("Math.random = () => 0.999")
    page.route_web_socket("**/connection/websocket", lambda socket: socket.close(code=3001))
    play.drop()
    expect(page.locator("#banner")).to_contain_text("No connection to the relay since")
    page.unroute_all()
    expect(page.locator("#banner").get_by_role("button", name="Try now")).to_be_visible()


def test_the_tab_shows_new_failures(open_page: OpenPage, play: Stage) -> None:
    play.emit("old", "FAILURE", name="tasks.fail", exception=ERROR)
    page = open_page(play.url)
    expect(rows(page)).to_have_count(1)
    icon = page.locator("link[rel=icon]")
    page.evaluate(_HIDE, True)
    play.emit("a", "FAILURE", name="tasks.fail", exception=ERROR)
    expect(page).to_have_title("(1 failed) celery-watcher")
    expect(icon).to_have_attribute("href", "icon-failed.svg")
    play.emit("b", "SUCCESS", name="tasks.add")
    play.emit("c", "FAILURE", name="tasks.fail", exception=ERROR)
    expect(page).to_have_title("(2 failed) celery-watcher")
    page.evaluate(_HIDE, False)
    expect(page).to_have_title("celery-watcher")
    expect(icon).to_have_attribute("href", "icon.svg")
    play.emit("d", "FAILURE", name="tasks.fail", exception=ERROR)
    expect(rows(page)).to_have_count(5)
    expect(page).to_have_title("celery-watcher")
