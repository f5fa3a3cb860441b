"""The page: what people see of the tasks, and what it does when the relay is lost."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from threading import Event
from typing import Any

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.pages import ADD, ERROR, details, parameter, rows
from tests.browser.stage import Refusal, Stage
from tests.support.waiting import wait_for

_HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\u202egnp.exe\u0007\u0000 http://example.org/"


def test_what_is_known_is_shown_newest_first(open_page: OpenPage, play: Stage) -> None:
    play.emit("a", "SUCCESS", name="tasks.add", argsrepr="(2, 3)", kwargsrepr="{}", runtime=0.25, result=5)
    play.emit("b", "FAILURE", name="tasks.fail", exception=ERROR)
    page = open_page(play.url)
    expect(rows(page)).to_have_count(2)
    expect(rows(page).nth(0)).to_contain_text("Failuretasks.failValueError: no such thing")
    expect(rows(page).nth(1)).to_contain_text("Successtasks.add(2, 3)5250 ms")
    play.emit("c", "PROGRESS", name="tasks.count", meta={"current": 2, "total": 5})
    expect(rows(page).nth(0)).to_contain_text("40 %")
    assert rows(page).nth(0).get_by_role("progressbar").evaluate("bar => bar.value / bar.max") == 0.4
    expect(page.get_by_role("button", name="Running 1")).to_be_visible()


def test_the_whole_of_a_task(open_page: OpenPage, play: Stage) -> None:
    known = {"name": "tasks.add", "root_id": "r", "group_id": "g", "tags": ["user:42"], "queue": "celery"}
    args = {"args": [1], "kwargs": {"y": 2}, "argsrepr": "(1,)", "kwargsrepr": "{'y': 2}"}
    play.emit("a", "PENDING", timestamp=100.0, **args, **known)
    play.emit("a", "STARTED", hostname="celery@here", timestamp=100.5, **known)
    play.emit("a", "RETRY", exception=ERROR, timestamp=101.0, **known)
    play.emit("a", "STARTED", hostname="celery@here", retries=1, timestamp=103.0, **known)
    page = open_page(play.url)
    rows(page).first.click()
    region = details(page)
    play.emit("a", "SUCCESS", retries=1, timestamp=104.0, runtime=1.0, result={"sum": [3]}, **known)
    expect(region.get_by_text('"sum"')).to_have_text('{\n  "sum": [\n    3\n  ]\n}')
    timeline = [item.split("\n") for item in region.get_by_role("listitem").all_inner_texts()]
    assert [words[0] for words in timeline] == ["Pending", "Started", "Retry", "Started", "Success"]
    deltas = [next((word for word in words if word.startswith("+")), "") for words in timeline]
    assert deltas == ["", "+500 ms", "+500 ms", "+2.00 s", "+1.00 s"]
    for fact in ("celery@here", "user:42", "Retries", "Root", "Group"):
        expect(region.get_by_text(fact, exact=True).first).to_be_visible()
    region.get_by_role("link", name="user:42").click()
    expect(page.get_by_role("searchbox", name="Filter tasks")).to_have_value("tag:user:42")
    region.get_by_role("button", name="Run again").click()
    expect(rows(page).first).to_contain_text("(1, y=2)")
    # Its row is there before the answer that lets its details be opened.
    wait_for(lambda: len(play.sent("subscribe")) == 4, what="the new task to be opened")
    region.get_by_role("button", name="Close").click()
    expect(region).to_be_hidden()
    wait_for(lambda: len(play.sent("unsubscribe")) == 2, what="both tasks to be left")


def test_details_closed_before_the_answer_stay_closed(open_page: OpenPage, play: Stage) -> None:
    take, answered = play.methods["submit"], Event()

    def submit(data: dict[str, Any]) -> dict[str, Any]:
        answer = take(data)
        assert answered.wait(20)
        return answer

    play.methods["submit"] = submit
    play.emit("a", "SUCCESS", name="tasks.add", args=[1], kwargs={}, argsrepr="(1,)", kwargsrepr="{}", result=3)
    page = open_page(play.url)
    rows(page).first.click()
    details(page).get_by_role("button", name="Run again").click()
    details(page).get_by_role("button", name="Close").click()
    answered.set()
    expect(page.get_by_text("tasks.add submitted")).to_be_attached()
    expect(details(page)).to_be_hidden()


def test_an_error_with_its_traceback(open_page: OpenPage, play: Stage) -> None:
    play.emit("a", "FAILURE", name="tasks.fail", exception=ERROR, argsrepr="('***',)", kwargsrepr="{}")
    page = open_page(play.url)
    rows(page).first.click()
    region = details(page)
    expect(region.get_by_label("Traceback", exact=True)).to_have_text(ERROR["traceback"], use_inner_text=True)
    expect(region.get_by_role("button", name="Run again")).to_be_disabled()
    expect(region.get_by_text("Only their text is known")).to_be_visible()
    expect(region.get_by_role("button", name="Revoke")).to_be_hidden()


def test_hostile_texts_are_texts(open_page: OpenPage, play: Stage) -> None:
    play.registry = [{**ADD, "name": f"tasks.{_HOSTILE}", "doc": _HOSTILE, "signature": _HOSTILE}]
    error = {"type": _HOSTILE, "message": _HOSTILE, "traceback": _HOSTILE * 100}
    args = {"args": [_HOSTILE], "kwargs": {_HOSTILE: _HOSTILE}, "argsrepr": _HOSTILE, "kwargsrepr": _HOSTILE}
    places = {"hostname": _HOSTILE, "queue": _HOSTILE, "tags": [_HOSTILE], "group_id": _HOSTILE}
    names = {"name": f"tasks.{_HOSTILE}", **places}
    play.emit("a", "PENDING", **names, **args)
    play.emit("a", "FAILURE", **names, exception=error)
    play.emit("b", "SUCCESS", **names, **args, result={_HOSTILE: [_HOSTILE * 1000]})
    play.emit("c", _HOSTILE, **names, meta=_HOSTILE)
    page = open_page(play.url)
    markup = page.locator("body :is(img, script, b, a[href^='http'])")
    for index in range(3):
        rows(page).nth(index).click()
        expect(details(page).get_by_role("heading", level=2)).to_have_text(f"tasks.{_HOSTILE}", use_inner_text=False)
        expect(markup).to_have_count(0)


def test_the_address_names_the_open_task(open_page: OpenPage, play: Stage) -> None:
    play.emit("a/b c", "SUCCESS", name="tasks.sleep")
    page = open_page(play.url)
    rows(page).first.click()
    expect(details(page)).to_be_visible()
    page.reload()
    expect(details(page).get_by_role("heading", level=2)).to_have_text("tasks.sleep")
    page.go_back()
    expect(page.locator("#detail")).to_be_hidden()
    page.goto(f"{play.url}/#task/nobody")
    expect(page.get_by_text("Task not found")).to_be_visible()


def test_a_lost_connection_is_said_and_made_good(open_page: OpenPage, play: Stage) -> None:
    play.emit("a", "STARTED", name="tasks.sleep")
    page = open_page(play.url)
    expect(rows(page)).to_have_count(1)
    play.token = "changed"
    page.evaluate("Math.random = () => 0.999")
    play.drop()
    expect(page.get_by_text("Token required")).to_be_visible()
    play.emit("a", "SUCCESS", name="tasks.sleep")
    page.get_by_role("textbox", name="Token").fill("changed")
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    expect(rows(page).first).to_contain_text("Success")
    assert page.evaluate("[sessionStorage.length, localStorage.length, location.search + location.hash]") == [1, 0, ""]
    assert len([path for path in play.paths if "/api/tasks" in path]) == 2  # the newest, and the unfinished ones


def test_a_new_epoch_begins_anew(open_page: OpenPage, play: Stage) -> None:
    play.emit("a", "STARTED", name="tasks.sleep")
    page = open_page(play.url)
    expect(rows(page)).to_have_count(1)
    play.lose_journal("e2")
    play.happen("b", "STARTED", name="tasks.other")
    play.drop()
    expect(page.get_by_role("main").get_by_text("Some events are missing")).to_be_visible()
    expect(rows(page)).to_have_count(1)
    expect(rows(page).first).to_contain_text("tasks.other")


def test_without_an_app_it_only_watches(open_page: OpenPage, play: Stage) -> None:
    def no_app(_: dict[str, Any]) -> dict[str, Any]:
        raise Refusal(108, "not available")

    play.methods["registry"] = no_app
    page = open_page(play.url)
    expect(page.get_by_text("This relay can't submit tasks")).to_be_visible()
    expect(page.get_by_text("No tasks yet")).to_be_visible()


def test_empty_page_shows_a_task_of_the_app_and_the_install_hint(open_page: OpenPage, stage: Stage) -> None:
    take = {"name": "shop.orders.take", "signature": "(order)", "doc": "", "parameters": [parameter("order", "Order")]}
    mail = {**take, "name": "shop.mail", "parameters": [parameter("to", "str"), parameter("copies", "int", default=1)]}
    stage.registry = [take, mail]
    page = open_page(stage.url)
    empty = page.locator("#empty")
    expect(empty).to_contain_text('app.send_task("shop.mail", ["text"])')
    expect(empty).to_contain_text("watcher.install(app)")
    expect(empty).not_to_contain_text("tasks.")
    stage.emit("a", "PENDING", name="shop.mail")
    expect(empty).to_be_hidden()


def test_an_empty_page_without_an_app_still_asks_for_the_plugin(open_page: OpenPage, stage: Stage) -> None:
    page = open_page(stage.url)
    expect(page.locator("#empty")).to_contain_text("watcher.install(app)")
    expect(page.locator("#empty")).not_to_contain_text("send_task")


def test_a_task_is_not_its_own_parent_or_root(open_page: OpenPage, play: Stage) -> None:
    play.emit("a", "SUCCESS", name="tasks.add", root_id="a", parent_id="a")
    play.emit("b", "SUCCESS", name="tasks.word_count", root_id="a", parent_id="a")
    page = open_page(play.url)
    rows(page).nth(1).click()
    expect(details(page).get_by_role("definition").first).to_contain_text("a")
    for label in ("Parent", "Root"):
        expect(details(page).get_by_text(label, exact=True)).to_have_count(0)
    page.get_by_role("searchbox", name="Filter tasks").fill("parent:a")
    expect(rows(page)).to_have_count(1)
    rows(page).first.click()
    for label in ("Parent", "Root"):
        expect(details(page).get_by_text(label, exact=True)).to_be_visible()
    details(page).get_by_title("Open this task").click()
    expect(page.get_by_role("heading", name="tasks.add")).to_be_visible()
    assert page.url.endswith("#task/a?filter=parent%3Aa")


def test_moments_say_their_day_where_it_is_another(open_page: OpenPage, play: Stage) -> None:
    noon = 1_700_049_600.0  # 15 November 2023, 12:00 UTC
    for identity, eta in (("soon", "2023-11-15T12:05:00+00:00"), ("later", "2023-11-18T09:30:00Z"), ("odd", "soon")):
        play.emit(
            identity, "RECEIVED", name=f"tasks.{identity}", timestamp=noon, eta=eta, expires="2023-11-19T09:30:00"
        )
    play.clock = noon + 60
    page = open_page(play.url, timezone_id="UTC")
    row = {name: rows(page).filter(has_text=f"tasks.{name}") for name in ("soon", "later", "odd")}
    expect(row["soon"]).to_contain_text("in 3 min, not before 12:05:00")
    expect(row["later"]).to_contain_text("in 2 d 21 h, not before 18 Nov, 09:30")
    expect(row["odd"]).to_contain_text("waiting for 1 min")
    row["later"].click()
    expect(details(page)).to_contain_text("Not before18 Nov 2023, 09:30:00 UTC")
    expect(details(page)).to_contain_text("Expires2023-11-19T09:30:00")  # in whose zone, nobody says


def test_retry_shows_send_time_next_worker_and_due_time(open_page: OpenPage, play: Stage) -> None:
    sent, now = 1_700_000_000.5, time.time()
    eta = datetime.fromtimestamp(now + 3600, UTC).isoformat()
    known: dict[str, Any] = {"name": "tasks.flaky", "hostname": "celery@one", "sent": sent}
    play.happen("b", "PENDING", name="tasks.between", timestamp=sent + 1)
    play.happen("a", "RETRY", **known, retries=0, run="r1", timestamp=sent + 2, eta=eta, exception=ERROR)
    more = {**known, "hostname": "celery@two", "retries": 1, "run": "r2", "late": True}
    play.happen("a", "RECEIVED", **more, timestamp=sent + 3, eta=eta)
    page = open_page(play.url)
    expect(rows(page).last).to_contain_text("flaky")  # it was sent before the other
    moment = page.evaluate("(sent) => new Date(Math.floor(sent * 1000)).toISOString()", sent)
    expect(rows(page).last.locator("time")).to_have_attribute("datetime", moment)
    rows(page).last.click()
    region = details(page)
    expect(region.locator(".detail-state")).to_contain_text(re.compile(r"try 2 at .*\d\d:\d\d"))
    facts = region.locator("dl")
    expect(facts).to_contain_text(re.compile(r"Next try\s*received at \d\d:\d\d:\d\d by celery@two"))
    expect(facts).to_contain_text(re.compile(r"Sent\s*14 Nov 2023"))


def test_when_a_task_was_lost_is_not_made_up(open_page: OpenPage, play: Stage) -> None:
    play.emit("a", "STARTED", name="tasks.add", hostname="celery@gone", timestamp=1_700_000_000.0)
    lost = {"source": "backend", "reason": "worker_lost", "timestamp": 1_700_000_000.0}
    play.emit("a", "STARTED", name="tasks.add", hostname="celery@gone", **lost)
    page = open_page(play.url)
    rows(page).first.click()
    first, last = (details(page).get_by_role("listitem").nth(place) for place in (0, 1))
    expect(first.locator("time")).not_to_be_empty()
    expect(last).to_contain_text("Lost")
    expect(last.locator("time")).to_be_empty()
    expect(last.locator(".delta")).to_be_empty()


def test_what_the_relay_would_not_take_is_not_offered(open_page: OpenPage, play: Stage) -> None:
    play.methods["registry"] = lambda _: {"tasks": play.registry, "revoke": False}
    play.emit("a", "STARTED", name="tasks.add")
    page = open_page(play.url)
    rows(page).first.click()
    expect(details(page)).to_be_visible()
    expect(page.get_by_role("list", name="Registered tasks").get_by_role("listitem")).to_have_count(2)
    expect(details(page).get_by_role("button", name="Revoke…")).to_be_hidden()
