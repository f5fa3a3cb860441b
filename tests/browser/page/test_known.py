"""All that the relay knows is found and counted, whatever its age: a real relay, and a journal with a past."""

from __future__ import annotations

import csv
import io
import itertools
import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import HELD, OpenPage
from tests.browser.page.test_accessible import SMALL, findings
from tests.browser.pages import grid, rows
from tests.support.events import event, record
from tests.support.processes import Relay, relay
from tests.support.valkey import Valkey
from watcher.core.event import Event, ExceptionInfo
from watcher.journal.layout import Journal
from watcher.journal.scripts import APPEND

_ENDED, _FAILED, _OLD, _LATER = 440, 44, 7, 2
_numbers = itertools.count()


def append(server: Valkey, *events: Event) -> None:
    """Let these events be in the journal, as a plugin writes them."""
    with server.client(14) as redis:
        told = [record(each) for each in events]
        keys, arguments = Journal(database=14).append(f"past-{next(_numbers)}", 1, told)
        redis.register_script(APPEND)(keys=keys, args=arguments)


def ended(number: int, at: float, failed: bool) -> list[Event]:
    """A task that was sent, and ended a second later."""
    known = {"name": "mail.send" if number % 4 else "shop.charge", "queue": "main", "sent": at, "tags": ("past",)}
    declined = ExceptionInfo(type="CardDeclined", message="no funds")
    end = {"exception": declined} if failed else {"runtime": number / 100}
    return [
        event(f"t{number}", "PENDING", at, **known),
        event(f"t{number}", "FAILURE" if failed else "SUCCESS", at + 1, **known, **end),
    ]


@pytest.fixture
def known(server: Valkey) -> Iterator[Relay]:
    """A relay that has a past of an hour, and some of two days ago that nobody has run."""
    now = time.time()
    old = [
        event(f"old{n}", timestamp=now - 172_800 + n, sent=now - 172_800 + n, name="old.stuck", queue="legacy")
        for n in range(_OLD)
    ]
    later = [
        event(
            f"later{n}",
            timestamp=now - 3000,
            sent=now - 3000,
            name="mail.send",
            queue="main",
            eta="2099-11-30T12:00:00Z",
        )
        for n in range(_LATER)
    ]
    past = [each for n in range(_ENDED) for each in ended(n, now - 2700 + 5 * n, n % 10 == 0)]
    server.flush(14)
    env = {"CELERY_BROKER_URL": server.url(15), "CELERY_RESULT_BACKEND": server.url(14)}
    with relay(HELD, env=env) as running:
        append(server, *old, *later)
        for start in range(0, len(past), 100):
            append(server, *past[start : start + 100])
        yield running


def chip(page: Page, name: str, number: int) -> None:
    expect(page.get_by_role("button", name=re.compile(rf"^{name}\W+{number}$"))).to_be_visible()


def shown(page: Page, number: int) -> None:
    expect(grid(page)).to_have_attribute("aria-rowcount", str(number + 1))


def test_lists_and_numbers_are_of_all(open_page: OpenPage, known: Relay, server: Valkey) -> None:
    whole = _ENDED + _OLD + _LATER
    page = open_page(known.url)
    box = page.get_by_role("searchbox", name="Filter tasks")
    shown(page, 200)
    chip(page, "All", whole)
    chip(page, "Failed", _FAILED)
    page.get_by_role("button", name="Waiting 9").click()
    shown(page, _OLD + _LATER)
    expect(rows(page).last).to_contain_text("waiting for 2 d")
    page.get_by_role("button", name=f"Queued {_OLD}").click()
    shown(page, _OLD)
    page.get_by_role("button", name=f"Scheduled {_LATER}").click()
    shown(page, _LATER)
    page.get_by_role("button", name=f"All {whole}").click()
    shown(page, 200)
    page.get_by_role("button", name="Load older tasks").click()
    shown(page, 400)
    grid(page).focus()
    page.keyboard.press("End")
    shown(page, whole)
    expect(page.get_by_text(f"That is all: {whole} tasks")).to_be_visible()
    page.keyboard.press("End")
    expect(rows(page).last).to_contain_text("old.stuck")
    box.fill("error:CardDeclined -name:shop.*")
    failed = len([n for n in range(0, _ENDED, 10) if n % 4])
    shown(page, failed)
    chip(page, "All", failed)
    chip(page, "Succeeded", 0)
    page.get_by_role("combobox", name="Sort").select_option("Longest runtime first")
    box.fill("state:succeeded")
    expect(rows(page).first).to_contain_text("4.39 s")
    box.fill("state:faild")
    page.get_by_role("button", name="Use state:failed").click()
    expect(box).to_have_value("state:failed")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Export as CSV").click()
    table = list(csv.DictReader(io.StringIO(saved.value.path().read_text())))
    assert {row["state"] for row in table} == {"FAILURE"}
    assert len(table) == _FAILED
    box.fill("")
    append(server, *ended(9999, time.time(), True))
    chip(page, "Failed", _FAILED + 1)
    assert page.evaluate("location.hash") == "#tasks?sort=runtime"


def test_a_span_is_chosen_on_the_chart(open_page: OpenPage, known: Relay) -> None:
    page = open_page(known.url)
    box = page.get_by_role("searchbox", name="Filter tasks")
    chart = page.get_by_role("region", name="Finished and failed per minute")
    image = chart.get_by_role("img")
    expect(image).to_have_accessible_name(re.compile(rf"{_ENDED - _FAILED} succeeded, {_FAILED} failed, most of them"))
    expect(chart).to_contain_text("All tasks are known")
    area = image.bounding_box()
    assert area
    page.mouse.move(area["x"] + area["width"] * 0.5, area["y"] + 10)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.75, area["y"] + 10)
    page.mouse.up()
    expect(box).to_have_value(re.compile(r"^since:\S+Z until:\S+Z$"))
    matched = page.locator("#matches")
    expect(matched).to_have_text(re.compile(r"^\d+$"))
    assert 100 < int(matched.inner_text()) < 260
    page.go_back()
    expect(box).to_have_value("")
    begin = page.get_by_role("slider", name="Span from")
    begin.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    expect(chart.get_by_role("button", name="Show")).to_be_visible()
    page.keyboard.press("Enter")
    expect(box).to_have_value(re.compile(r"^since:\S+Z until:\S+Z$"))


def test_tasks_by_name(open_page: OpenPage, known: Relay) -> None:
    page = open_page(known.url)
    page.get_by_role("link", name="By name").click()
    table = page.get_by_role("table")
    mail = table.get_by_role("row").filter(has_text="mail.send")
    expect(mail.get_by_role("cell").first).to_have_text(str(_ENDED * 3 // 4 + _LATER))
    expect(mail.get_by_role("cell").nth(1)).to_have_text(re.compile(r"^22 \(6\.6 %\)$"))
    expect(mail.get_by_role("img")).to_have_accessible_name(re.compile("succeeded"))
    table.get_by_role("button", name="Failed").click()
    expect(table.get_by_role("columnheader", name="Failed")).to_have_attribute("aria-sort", "descending")
    expect(table.get_by_role("row").nth(1)).to_contain_text("shop.charge")
    assert findings(page) == []
    assert page.evaluate(SMALL) == []
    mail.get_by_role("link", name="mail.send").click()
    expect(page.get_by_role("searchbox", name="Filter tasks")).to_have_value("name:mail.send")
    expect(rows(page).first).to_contain_text("mail.send")
    page.go_back()
    expect(table).to_be_visible()
    page.reload()
    expect(mail).to_be_visible()
