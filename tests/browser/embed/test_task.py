"""task.js says of a task what watcher/core/event.py says of it."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
from playwright.sync_api import Page

from tests.support.events import event as told
from tests.support.order import Referee
from watcher.core.event import Task, decode, fold

_STATES = (
    "PENDING", "RECEIVED", "STARTED", "PROGRESS", "RENDERING", "RETRY",
    "FAILURE", "REVOKED", "REJECTED", "IGNORED", "SUCCESS",
)  # fmt: skip
_FOLD = """async (lives) => {
  const { fold } = await import("/embed/task.js");
  const tasks = lives.map((events) => events.reduce((task, event, index) => fold(task, event, index + 1), undefined));
  return JSON.stringify(tasks);
}"""


def any_event(dice: random.Random) -> dict[str, Any]:
    optional = {
        "name": "tasks.add", "hostname": f"celery@{dice.randint(1, 2)}", "retries": dice.randint(0, 2),
        "argsrepr": "(1,)", "args": [dice.randint(1, 9)], "tags": ["a", "b"], "runtime": dice.random(),
        "result": dice.choice([None, 0, "text", [1]]), "result_repr": True, "result_size": dice.randint(1, 9),
        "meta": dice.choice([None, {"current": 1, "total": 2}]), "meta_size": 4, "reason": "expired",
        "exception": {"type": "ValueError", "message": "no"}, "sent": dice.choice([1.5, 2.5]), "late": True,
        "run": dice.choice(["r1", "r2"]), "redelivered": 1, "eta": "2026-01-01T00:00:00+00:00", "expires": "never",
    }  # fmt: skip
    chosen = {name: value for name, value in optional.items() if dice.random() < 0.4}
    state = dice.choice(_STATES)
    return {"id": "t", "state": state, "timestamp": dice.randint(1, 20), "source": "signal", **chosen}


def folded(events: list[dict[str, Any]]) -> Any:
    task: Task | None = None
    for offset, event in enumerate(events, start=1):
        task = fold(task, decode(json.dumps(event).encode()), offset)
    return json.loads(msgspec.json.encode(task))


def test_page_and_relay_fold_alike(blank: Page) -> None:
    dice = random.Random(20260)
    lives = [[any_event(dice) for _ in range(dice.randint(1, 10))] for _ in range(500)]
    for events, theirs in zip(lives, json.loads(blank.evaluate(_FOLD, lives)), strict=True):
        assert theirs == folded(events), events


def test_arrival_does_not_decide_the_state(blank: Page) -> None:
    life = [
        told("t", state, at, retries=retries)
        for at, (state, retries) in enumerate(
            [("PENDING", 0), ("STARTED", 0), ("RETRY", 0), ("RECEIVED", 1), ("STARTED", 1), ("SUCCESS", 1)], start=1
        )
    ]
    dice = random.Random(7)
    orders = [dice.sample(life, len(life)) for _ in range(50)]
    lives = [json.loads(msgspec.json.encode(Referee().marked(order))) for order in orders]
    for task in json.loads(blank.evaluate(_FOLD, lives)):
        assert (task["state"], task["retries"], task["final"]) == ("SUCCESS", 1, True)
        assert task["times"] == {"RECEIVED": 4, "STARTED": 5, "SUCCESS": 6}
