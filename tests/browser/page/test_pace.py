"""How often the page draws: never so often that drawing is all that it does."""

from __future__ import annotations

from itertools import pairwise

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.pages import rows
from tests.browser.stage import Stage

#: Frames that take this long to draw, in milliseconds, as on a slow machine; when each began.
_SLOW = """(milliseconds) => {
  window.began = [];
  const original = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (draw) => original((time) => {
    began.push(performance.now());
    draw(time);
    while (performance.now() - began.at(-1) < milliseconds);
  });
}"""


def test_a_slow_page_draws_less_often(open_page: OpenPage, play: Stage) -> None:
    page = open_page(play.url)
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    page.evaluate(_SLOW, 60)
    number = 0
    while page.evaluate("began.length") < 9:
        number += 1
        play.emit(f"t{number}", "STARTED", name="tasks.add")
    gaps = [after - before for before, after in pairwise(page.evaluate("began"))]
    assert min(gaps[3:]) > 4 * 60 * 0.9  # what the page drew as it began is past
    expect(rows(page).first).to_have_attribute("id", f"row-{number}")  # and in the end shows what is
