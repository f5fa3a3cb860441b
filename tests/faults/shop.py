"""A shop: tasks on five queues, which end, fail in two ways, are tried again, and wait where no worker looks.

As a program it sends them, over some time, and says of each what it is: ``{"id", "name", "queue", "end", "error"}``,
with the state in which the task ends, None where it never does.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from typing import Any

from celery import Celery, Task, chord

import watcher
from tests.faults.names import LEGACY, PARTS

app = Celery("shop", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_routes={
        "shop.legacy": "legacy",
        "shop.order": "orders",
        "shop.mail": "mail",
        "shop.media": "media",
        "shop.pause": "aside",
        "shop.part": "reports",
        "shop.report": "reports",
    },
)
watcher.install(app)


class CardDeclined(Exception):
    """No money."""


@app.task(name="shop.order")
def order(number: int) -> int:
    if number % 5 == 0:
        raise CardDeclined(f"card of order {number} declined")
    return number


@app.task(name="shop.mail")
def mail(number: int) -> int:
    if number % 7 == 0:
        raise TimeoutError("no answer")
    time.sleep(0.02)
    return number


@app.task(name="shop.media", bind=True, max_retries=2)
def media(self: Task[Any, Any], number: int) -> int:
    if self.request.retries < number % 3:
        raise self.retry(countdown=0.05, exc=ConnectionError("not yet"))
    return number


@app.task(name="shop.part")
def part(number: int) -> int:
    return number


@app.task(name="shop.report")
def report(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="shop.pause")
def pause() -> None:
    time.sleep(600)


@app.task(name="shop.legacy")
def legacy() -> None:
    raise NotImplementedError


def expected(name: str, number: int) -> tuple[str, str | None]:
    """How a task ends, and with which error."""
    if name == "shop.order" and number % 5 == 0:
        return "FAILURE", "CardDeclined"
    if name == "shop.mail" and number % 7 == 0:
        return "FAILURE", "TimeoutError"
    return "SUCCESS", None


def say(identity: str, name: str, queue: str, end: str | None = "SUCCESS", error: str | None = None) -> None:
    told = {"id": identity, "name": name, "queue": queue, "end": end, "error": error}
    print(json.dumps(told), flush=True)  # noqa: T201 - its answer


def main(count: int, seconds: float) -> None:
    """Send so many tasks, evenly, and the chord and what nobody takes at the beginning."""
    start = time.monotonic()
    for _ in range(LEGACY):
        say(legacy.delay().id, "shop.legacy", "legacy", None)
    say(pause.delay().id, "shop.pause", "aside", None)
    whole: Any = chord([part.s(number) for number in range(PARTS)])(report.s())
    for each in whole.parent.results:
        say(each.id, "shop.part", "reports")
    say(whole.id, "shop.report", "reports")
    kinds = (order, mail, media)
    for number in range(count):
        time.sleep(max(0.0, start + number * seconds / count - time.monotonic()))
        task = kinds[number % 3]
        identity = str(uuid.uuid4())
        task.apply_async((number,), task_id=identity)
        say(identity, task.name, {"order": "orders"}.get(task.name[5:], task.name[5:]), *expected(task.name, number))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
