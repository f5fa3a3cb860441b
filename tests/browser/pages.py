"""The page by its accessible names, and what is played to it."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.browser.stage import Stage

ERROR = {
    "type": "ValueError",
    "message": "no such thing",
    "traceback": "Traceback (most recent call last):\n  <b>here</b>\nValueError",
}


def parameter(name: str, annotation: str = "", **default: Any) -> dict[str, Any]:
    """A parameter as the registry has it."""
    kind = "positional_or_keyword"
    return {"name": name, "annotation": annotation, "kind": kind, "required": not default, **default}


ADD = {
    "name": "tasks.add",
    "signature": "(x: int, y: int = 2)",
    "doc": "Return x + y.",
    "parameters": [parameter("x", "int"), parameter("y", "int", default=2)],
}
COUNT = {
    "name": "tasks.word_count",
    "signature": "(text: str)",
    "doc": "Count the words of a text.\n\nAll of them.",
    "parameters": [parameter("text", "str")],
}


def offer_tasks(stage: Stage) -> None:
    """Let the stage have an app of two tasks, which takes what is submitted."""
    stage.registry = [ADD, COUNT]

    def submit(data: dict[str, Any]) -> dict[str, Any]:
        identity = data["options"]["task_id"]
        known = {"name": data["task"], "args": data["args"], "kwargs": data["kwargs"]}
        stage.emit(identity, "PENDING", argsrepr="()", kwargsrepr="{}", **known)
        return {"id": identity, "channel": f"task:{identity}", "epoch": stage.epoch, "offset": stage.offset}

    stage.methods["submit"] = submit


def calls(stage: Stage, method: str) -> list[dict[str, Any]]:
    """What was given to an rpc method, call by call."""
    return [call["data"] for call in stage.sent("rpc") if call["method"] == method]


def grid(page: Page) -> Locator:
    """The table."""
    return page.get_by_role("grid", name="Tasks")


def rows(page: Page) -> Locator:
    """Its rows that exist, without the head."""
    return grid(page).get_by_role("rowgroup").nth(1).get_by_role("row")


def details(page: Page) -> Locator:
    """The open details of a task whose name begins with `tasks`."""
    return page.get_by_role("region", name=re.compile("tasks"))


def follows(page: Page) -> None:
    """Wait until the page follows a stage that has no task yet."""
    expect(page.get_by_text("No tasks yet")).to_be_visible()


def choose(page: Page, name: str) -> Locator:
    """Choose a registered task; its form."""
    page.get_by_role("list", name="Registered tasks").get_by_role("button", name=name).click()
    return page.get_by_role("form", name=name)


def submit(form: Locator) -> None:
    """Press the button."""
    form.get_by_role("button", name="Submit").click()
