"""The page: submitting, submitting again, revoking."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.pages import calls, choose, details, follows, parameter, rows, submit
from tests.browser.stage import Refusal, Stage


def test_submitting(open_page: OpenPage, play: Stage) -> None:
    page = open_page(play.url)
    form = choose(page, "tasks.add")
    expect(form.get_by_label("y", exact=True)).to_have_value("2")
    form.get_by_label("x", exact=True).fill("40")
    before = form.get_by_role("button", name="Submit").bounding_box()
    submit(form)
    expect(rows(page).first).to_contain_text("Pendingtasks.add(40, 2)")
    expect(rows(page).first).to_have_attribute("data-mine", "")
    expect(form).to_be_visible()
    assert form.get_by_role("button", name="Submit").bounding_box() == before
    [sent] = calls(play, "submit")
    identity = sent["options"]["task_id"]
    assert sent == {"task": "tasks.add", "args": [40, 2], "kwargs": {}, "options": {"task_id": identity}}
    expect(page.get_by_role("status")).to_have_text("tasks.add submitted")
    play.emit(identity, "SUCCESS", name="tasks.add", result=42)
    expect(page.get_by_role("status")).to_have_text("tasks.add: Success, 42")


def test_a_mistake_is_shown_at_its_field(open_page: OpenPage, play: Stage) -> None:
    page = open_page(play.url)
    form = choose(page, "tasks.add")
    form.get_by_label("x", exact=True).fill("forty")
    submit(form)
    field = form.get_by_label("x", exact=True)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description("Enter a whole number")
    expect(field).to_be_focused()
    assert not [call for call in play.sent("rpc") if call["method"] == "submit"]
    field.fill("40")
    expect(field).not_to_have_attribute("aria-invalid", "true")


def test_what_the_relay_refuses_is_shown_where_it_belongs(open_page: OpenPage, play: Stage) -> None:
    answers = iter([Refusal(107, "argument 'y': too many"), Refusal(100, "the broker is away", temporary=True)])

    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        raise next(answers)

    play.methods["submit"] = refuse
    page = open_page(play.url)
    form = choose(page, "tasks.add")
    form.get_by_label("x", exact=True).fill("1")
    submit(form)
    expect(form.get_by_label("y", exact=True)).to_have_accessible_description("argument 'y': too many")
    expect(form.get_by_label("y", exact=True)).to_be_focused()
    submit(form)
    expect(form.get_by_role("alert")).to_have_text("the broker is away")


#: Names that objects, and forms, of a browser have something under already.
TAKEN = ("__proto__", "constructor", "toString", "hasOwnProperty", "hidden", "replaceChildren", "contains", "elements")


def test_a_parameter_may_have_any_name(open_page: OpenPage, play: Stage) -> None:
    """What was typed is submitted under it, what was not is left out, and a refusal is shown at its field."""
    values: dict[str, Any] = {name: name.upper() for name in TAKEN}
    named = [{**parameter(name, "str"), "kind": "keyword_only"} for name in TAKEN]
    for each, kind in (("rest", "var_keyword"), ("valueOf", "keyword_only")):
        named.append({**parameter(each), "kind": kind, "required": False})
    odd = {"name": "tasks.odd", "signature": "(…)", "doc": "", "parameters": [parameter("isPrototypeOf"), *named]}
    play.registry.append(odd)
    page = open_page(play.url)
    form = choose(page, "tasks.odd")
    for field in form.get_by_role("textbox").all():
        expect(field).to_have_value("")
    submit(form)
    for name in TAKEN:
        expect(form.get_by_label(name, exact=True)).to_have_accessible_description(re.compile("This is required"))
        form.get_by_label(name, exact=True).fill(values[name])
    form.get_by_label("isPrototypeOf", exact=True).fill('{"__proto__": [1], "constructor": 9007199254740993}')
    form.get_by_label("**rest", exact=True).fill('{"__defineGetter__": {"__proto__": 1}}')
    submit(form)
    expect(form.get_by_role("button", name=re.compile("-.*-"))).to_be_visible()
    [sent] = calls(play, "submit")
    assert sent["args"] == [{"__proto__": [1], "constructor": 9007199254740993}]
    assert sent["kwargs"] == {**values, "__defineGetter__": {"__proto__": 1}}
    rows(page).first.click()
    details(page).get_by_role("button", name="Edit").click()
    for name in TAKEN:
        expect(form.get_by_label(name, exact=True)).to_have_value(values[name])
    play.methods["submit"] = refuse_of("__proto__")
    submit(form)
    field = form.get_by_label("__proto__", exact=True)
    expect(field).to_have_accessible_description("argument '__proto__': no")
    expect(form.get_by_label("constructor", exact=True)).not_to_have_attribute("aria-invalid", "true")
    assert calls(play, "submit")[1]["args"] == sent["args"]
    assert calls(play, "submit")[1]["kwargs"] == sent["kwargs"]
    form.get_by_role("button", name="Back to all tasks").click()
    expect(form).to_be_hidden()
    choose(page, "tasks.add")


def refuse_of(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A relay's refusal of an argument."""

    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        raise Refusal(107, f"argument {name!r}: no")

    return refuse


def test_the_task_that_stands_for_it_is_the_one_that_is_shown(open_page: OpenPage, play: Stage) -> None:
    """The task's own code had one in its place, and sent nothing."""
    play.emit("first", "STARTED", name="tasks.add")

    def submit_instead(_: dict[str, Any]) -> dict[str, Any]:
        return {"id": "first", "channel": "task:first", "epoch": "1", "offset": 1, "existing": True}

    play.methods["submit"] = submit_instead
    page = open_page(play.url)
    form = choose(page, "tasks.add")
    form.get_by_label("x", exact=True).fill("40")
    submit(form)
    expect(form.get_by_role("button", name="first")).to_be_visible()
    expect(rows(page).first).to_have_attribute("data-mine", "")
    play.emit("first", "SUCCESS", name="tasks.add", result=42)
    expect(page.get_by_role("status")).to_have_text("tasks.add: Success, 42")


def test_revoking_and_terminating(open_page: OpenPage, play: Stage) -> None:
    play.methods["revoke"] = lambda _: {}
    play.emit("a", "STARTED", name="tasks.sleep")
    page = open_page(play.url)
    rows(page).first.click()
    for terminate in (False, True):
        details(page).get_by_role("button", name="Revoke…").click()
        dialog = page.get_by_role("dialog", name="Revoke this task?")
        expect(dialog.get_by_role("checkbox")).not_to_be_checked()
        if terminate:
            dialog.get_by_role("checkbox").check()
        dialog.get_by_role("button", name="Revoke and terminate" if terminate else "Revoke", exact=True).click()
    details(page).get_by_role("button", name="Revoke…").click()
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    revoked = calls(play, "revoke")
    assert revoked == [{"id": "a"}, {"id": "a", "terminate": True}]


def test_submitting_on_a_phone_leads_to_the_task(open_page: OpenPage, play: Stage) -> None:
    page = open_page(play.url, width=360, height=740, has_touch=True)
    follows(page)
    page.get_by_role("button", name="Run a task").tap()
    form = choose(page, "tasks.word_count")
    form.get_by_label("text", exact=True).fill("one two\nthree")
    form.get_by_role("button", name="Submit").tap()
    expect(form).to_be_hidden()
    rows(page).first.tap()
    expect(details(page)).to_contain_text('"one two\\nthree"')
    details(page).get_by_role("button", name="Close").tap()
    expect(rows(page).first).to_be_visible()
