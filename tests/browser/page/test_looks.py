"""The page in both themes and all widths."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.pages import ERROR, choose, rows, submit
from tests.browser.stage import Stage


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_no_page_is_wider_than_its_window(open_page: OpenPage, play: Stage, width: int) -> None:
    error = {**ERROR, "message": "y" * 500}
    play.emit("a", "FAILURE", name=f"tasks.{'long_' * 40}", argsrepr="x" * 500, exception=error)
    page = open_page(play.url, width=width, height=740)
    overflow = "document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
    expect(rows(page)).to_have_count(1)
    assert page.evaluate(overflow) == 0
    rows(page).first.click()
    expect(page.get_by_label("Traceback", exact=True)).to_be_visible()
    assert page.evaluate(overflow) == 0
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    submit(choose(page, "tasks.add"))
    assert page.evaluate(overflow) == 0


_CONTRAST = """(element) => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const pixel = (...colours) => {
    paint.clearRect(0, 0, 1, 1);
    for (const colour of colours) { paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1); }
    return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = [];
  for (let node = element; node; node = node.parentElement) behind.unshift(getComputedStyle(node).backgroundColor);
  const [a, b] = [light(pixel(...behind)), light(pixel(...behind, getComputedStyle(element).color))];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""
_TEXTS = (
    ".word", ".module", ".name", ".call", ".outcome .text", ".percent", ".runtime", "time", ".count", "h2",
    ".badge span", ".facts dt", ".facts dd .mono", ".facts dd .link", ".entry strong", ".entry .at", ".value", ".quiet",
    ".error-line *", "#connection-text", ".label *", ".hint", ".error:not(:empty)", "button.primary", ".head div",
    "kbd",
)  # fmt: skip


def unreadable(page: Page, selectors: tuple[str, ...]) -> dict[str, float]:
    """Texts that stand out too little from what is behind them (WCAG 2, 1.4.3), with their contrast."""
    found = {}
    for selector in selectors:
        elements = [element for element in page.locator(f"{selector}:visible").all() if element.inner_text()]
        assert elements, f"no {selector} to look at"
        for element in elements:
            ratio = element.evaluate(_CONTRAST)
            if ratio < 4.5:
                found[f"{selector} {element.inner_text()[:20]!r}"] = ratio
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_can_be_read(open_page: OpenPage, play: Stage, theme: str) -> None:
    states = ["PENDING", "RECEIVED", "STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "IGNORED", "RENDERING"]
    said: dict[str, dict[str, Any]] = {
        "SUCCESS": {"result": 1},
        "RETRY": {"exception": ERROR},
        "FAILURE": {"exception": ERROR},
    }
    for state in states:
        more = said.get(state, {"meta": "m"})
        play.emit(state, state, name="tasks.add", argsrepr="(1,)", tags=["t"], hostname="w", **more)
    play.emit("p", "PROGRESS", name="tasks.add", meta={"current": 1, "total": 2, "description": "half"})
    page = open_page(play.url, color_scheme=theme)
    expect(rows(page)).to_have_count(len(states) + 1)
    poor = unreadable(page, (".signature", ".doc", "#follow-text", ".registry-list .module", ".tag"))
    submit(choose(page, "tasks.add"))
    rows(page).filter(has_text="Failure").click()
    page.locator("summary").click()
    expect(page.get_by_label("Traceback", exact=True)).to_be_visible()
    page.mouse.move(0, 0)
    poor |= unreadable(page, _TEXTS)
    assert not poor


def test_a_chosen_theme_is_kept(open_page: OpenPage, stage: Stage) -> None:
    page = open_page(stage.url, color_scheme="dark")
    background = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Theme: system").click()
    light = page.evaluate(background)
    assert light != dark
    page.reload()
    assert page.evaluate(background) == light
    page.get_by_role("button", name="Theme: light").click()
    assert page.evaluate(background) == dark
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()


#: What of a text is not to be seen: it goes beyond its box, or into the next.
_CUT = """(cells) => cells.flatMap((cell, index) => {
  const box = cell.getBoundingClientRect();
  const range = document.createRange();
  range.selectNodeContents(cell);
  const text = range.getBoundingClientRect();
  const after = cells[index + 1]?.getBoundingClientRect();
  const cut = text.left < box.left - 0.5 || text.right > box.right + 0.5 || cell.scrollWidth > cell.clientWidth;
  const over = after && after.top < box.bottom && after.left > box.left && text.right > after.left;
  return box.width === 0 || cut || over ? [[cell.textContent, box.width, text.width]] : [];
})"""


@pytest.mark.parametrize("width", [1440, 1280, 1024, 768, 720, 640, 600, 512, 360])
def test_when_a_task_was_sent_is_shown_whole(open_page: OpenPage, play: Stage, width: int) -> None:
    """At 200 % zoom a window has half its width; 1440 becomes 720."""
    more = {"name": "tasks.count", "argsrepr": "x" * 100, "runtime": 4000.0}
    play.emit("a", "SUCCESS", **more, result="y" * 200)
    play.emit("b", "SUCCESS", **more, timestamp=time.time())
    page = open_page(play.url, width=width, height=450)
    expect(rows(page)).to_have_count(2)
    for index in range(2):
        cells = rows(page).nth(index).locator(".runtime, .when")
        assert cells.evaluate_all(_CUT) == []
        expect(rows(page).nth(index).locator("time")).to_be_visible()


@pytest.mark.parametrize("width", [1440, 640])
def test_rows_grow_with_the_text(open_page: OpenPage, play: Stage, width: int) -> None:
    """Who has set the browser to larger letters, without a zoom, sees them whole too."""
    play.emit("a", "SUCCESS", name="tasks.count", result=1, runtime=1.0)
    page = open_page(play.url, width=width)
    expect(rows(page)).to_have_count(1)
    page.evaluate("document.documentElement.style.fontSize = '28px'")
    row = rows(page).first
    assert row.evaluate("row => row.scrollHeight <= row.clientHeight")
    inside = """row => [...row.children].filter((cell) => cell.textContent).every((cell) => {
      const [box, text] = [row, cell].map((element) => element.getBoundingClientRect());
      return text.height >= 27 && text.top >= box.top && text.bottom <= box.bottom;
    })"""
    assert row.evaluate(inside)


@pytest.mark.parametrize("width", [1440, 720, 639, 360])
def test_no_heading_is_empty(open_page: OpenPage, play: Stage, width: int) -> None:
    play.emit("a", "SUCCESS", name="tasks.add", argsrepr="(1,)")
    page = open_page(play.url, width=width)
    rows(page).first.click()
    expect(page.get_by_role("heading", name="tasks.add")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", level=1)).to_have_accessible_name("celery-watcher")
    expect(page.get_by_role("columnheader")).to_have_text(["State", "Task", "Result", "Runtime", "When"])
    for heading in page.get_by_role("heading").all():
        expect(heading).to_have_accessible_name(re.compile(r"\S"))


def test_forced_colors_keep_progress_and_selection_visible(open_page: OpenPage, play: Stage) -> None:
    play.emit("a", "PROGRESS", name="tasks.add", meta={"current": 1, "total": 2})
    page = open_page(play.url)
    page.emulate_media(forced_colors="active")
    bar = rows(page).first.get_by_role("progressbar")
    expect(bar).to_have_css("outline-style", "solid")
    box = bar.bounding_box()
    assert box is not None
    filled, empty = (
        page.screenshot(clip={"x": box["x"] + share * box["width"], "y": box["y"] + 2, "width": 8, "height": 2})
        for share in (0.3, 0.7)
    )
    assert filled != empty
    rows(page).first.click()
    expect(rows(page).first).to_have_css("outline-style", "solid")
    chosen, other = (page.get_by_role("button", name=name) for name in ("All 1", "Failed 0"))
    expect(chosen).to_have_css("text-decoration-line", "underline")
    expect(other).to_have_css("text-decoration-line", "none")
