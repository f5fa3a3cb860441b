"""Everybody can use the page: axe finds nothing, letters have a size, and nothing lies over what is read."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.pages import details, rows
from tests.browser.stage import Stage
from tests.support.javascript import modules

_LIB = "/usr/lib/python3/dist-packages/celery/app/trace.py"
TRACEBACK = f"""Traceback (most recent call last):
  File "{_LIB}", line 453, in trace_task
    R = retval = fun(*args, **kwargs)
  File "{_LIB}", line 736, in __protected_call__
    return self.run(*args, **kwargs)
  File "/srv/shop/payments.py", line 31, in charge
    raise CardDeclined(card)
CardDeclined: no funds on {"4" * 200}"""


@cache
def _axe() -> str:
    return (modules() / "axe-core" / "axe.min.js").read_text()


def findings(page: Page) -> list[Any]:
    """What axe finds, each with where."""
    page.evaluate(f"() => {{ {_axe()} }}")
    run = "async () => (await axe.run()).violations.map(({ id, nodes }) => [id, nodes.map(({ target }) => target[0])])"
    found: list[Any] = page.evaluate(run)
    return found


#: Texts in letters of less than 12 px.
SMALL = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const small = new Set();
  while (walker.nextNode()) {
    const { parentElement: element, data } = walker.currentNode;
    if (!data.trim() || !element.checkVisibility()) continue;
    const size = Number.parseFloat(getComputedStyle(element).fontSize);
    if (size < 12) small.add(`${element.className || element.localName}: ${size}`);
  }
  return [...small];
}"""


def fill(stage: Stage) -> None:
    """Tasks of all kinds, one of them with all that there can be."""
    shop: dict[str, Any] = {"name": "tasks.charge", "queue": "payments", "hostname": "celery@web2"}
    error = {"type": "CardDeclined", "message": "no funds", "traceback": TRACEBACK}
    for state in ("PENDING", "RECEIVED", "STARTED", "SUCCESS", "REVOKED"):
        stage.emit(state, state, **shop, argsrepr="(1,)", kwargsrepr="{}", tags=["user:42", "b", "c"], result=1)
    stage.emit("p", "PROGRESS", **shop, meta={"current": 1, "total": 3})
    stage.emit("later", "PENDING", **shop, eta="2033-11-15T12:05:00Z")
    stage.emit("again", "RETRY", **shop, eta="2033-11-15T12:05:00Z", exception=error)
    stage.emit("bad", "FAILURE", **shop, tags=["user:42", "order:" + "7" * 60], exception=error)


@pytest.mark.parametrize(("width", "theme"), [(360, "dark"), (768, "light"), (1024, "dark"), (1440, "light")])
def test_every_width(open_page: OpenPage, play: Stage, width: int, theme: str) -> None:
    fill(play)
    play.clock = 1_700_000_060.0
    page = open_page(play.url, width=width, height=800, color_scheme=theme)
    expect(rows(page).first).to_contain_text("Failure")
    assert findings(page) == []
    assert page.evaluate(SMALL) == []
    for name in ("Failed", "All", "Other"):
        expect(page.get_by_role("button", name=f"{name} ")).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Waiting 4").click()
    for name in ("Queued 2", "Scheduled 1", "Retrying 1"):
        expect(page.get_by_role("button", name=name)).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="All 9").click()
    rows(page).first.click()
    expect(details(page).get_by_label("Traceback", exact=True)).to_contain_text("Last in your code")
    assert findings(page) == []
    assert page.evaluate(SMALL) == []
    covered = page.locator("#detail").bounding_box()
    left = page.locator("#tasks").bounding_box()
    assert covered
    assert left
    if width >= 768:
        assert left["x"] + left["width"] <= covered["x"] + 1, "the details lie over the list"
        assert left["width"] >= 360
    page.get_by_role("button", name="Saved filters").or_(
        page.get_by_role("button", name="Close the details")
    ).last.focus()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Saved filters").click()
    assert findings(page) == []


def test_a_traceback_shows_where_to_look(open_page: OpenPage, play: Stage) -> None:
    fill(play)
    page = open_page(f"{play.url}/#task/bad")
    trace = details(page).get_by_label("Traceback", exact=True)
    expect(trace.locator(".last-own")).to_contain_text('File "/srv/shop/payments.py", line 31, in charge')
    expect(trace.get_by_text("trace_task")).to_be_hidden()
    trace.get_by_text("2 library frames").click()
    expect(trace.get_by_text("trace_task")).to_be_visible()
    play.emit("bad", "FAILURE", late=True, name="tasks.charge", timestamp=1.0)
    expect(details(page).get_by_role("listitem")).to_have_count(2)
    expect(trace.get_by_text("trace_task")).to_be_visible()  # what was opened stays open
    assert trace.evaluate("(box) => box.scrollWidth <= box.clientWidth"), "it is wrapped"
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    details(page).get_by_role("button", name="Copy the result or traceback").click()
    assert page.evaluate("navigator.clipboard.readText()") == TRACEBACK
