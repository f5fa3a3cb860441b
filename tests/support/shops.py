"""Tasks of a made-up shop, led through legal lives, and what is known of them by plain means: a fold, and a loop."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from tests.support.lives import World
from tests.support.order import Referee
from watcher.core.event import Event, ExceptionInfo, Task, encode, fold, is_final
from watcher.core.filters import Filter
from watcher.core.kinds import kind_of, runtime_of
from watcher.core.permissions import Grant

NAMES = ("mail.send", "mail.retry_all", "shop.order", "shop.Ärger", "cron.nightly")
QUEUES = ("default", "legacy", "mail")
ERRORS = ("shop.errors.CardDeclined", "CardDeclined", "TimeoutError")


def history(chance: Random, count: int) -> list[bytes]:
    """The lines of a journal in which so many tasks have lived, and some are yet to end."""
    lives = [_life(chance, f"task-{number}", number) for number in range(count)]
    lives = [life[: chance.randint(1, len(life))] if chance.random() < 0.3 else life for life in lives]
    events: list[Event] = []
    while any(lives):
        life = chance.choice([each for each in lives if each])
        count = chance.choice((1, 1, 2, 5))
        events += life[:count]
        del life[:count]
    return [encode(each) for each in Referee().marked(events)]


def _life(chance: Random, identity: str, number: int) -> list[Event]:
    world = World(chance, plugin_sends=chance.random() < 0.8, now=1_000_000.0 + chance.random() * 3000)
    world.live()
    name, queue = chance.choice(NAMES), chance.choice(QUEUES)
    lasting: dict[str, Any] = {
        "name": name, "queue": queue, "root_id": chance.choice((None, identity, "task-0", "task-1")),
        "parent_id": chance.choice((None, identity, "task-0")), "group_id": chance.choice((None, None, "g1")),
        "argsrepr": "(1, 'Straße')", "kwargsrepr": "{}",
    }  # fmt: skip
    if chance.random() < 0.5:
        lasting |= {"args": Raw(b'[1,"Stra\xc3\x9fe %d"]' % number), "kwargs": Raw(b'{"a_b":50}')}
    if chance.random() < 0.5:
        lasting["tags"] = tuple(chance.sample(("user:1", "user:42", "vip", "a%b"), 2))
    if chance.random() < 0.3:
        lasting["eta"] = chance.choice(("1970-01-12T14:10:00+00:00", "1970-01-12T18:00:00", "never"))
    return [_told(chance, replace(each, id=identity, **lasting)) for each in world.arrivals()]


def _told(chance: Random, event: Event) -> Event:
    host = event.hostname or chance.choice(("celery@web1", "celery@web2", "solo"))
    event = replace(event, hostname=None if event.state == "PENDING" else host)
    if event.state == "FAILURE":
        return replace(event, exception=ExceptionInfo(chance.choice(ERRORS), "no money", "Trace"), runtime=0.25)
    if event.state == "SUCCESS":
        return replace(event, runtime=round(chance.expovariate(0.5), 3), result=Raw(b"1"))
    if event.state == "PROGRESS":
        return replace(event, meta=Raw(b'{"percent":50}'))
    return event


class Folded:
    """The tasks of a journal, folded one event after the other."""

    def __init__(self, lines: Sequence[tuple[int, Event]]) -> None:
        self.tasks: dict[str, Task] = {}
        for offset, event in lines:
            task = self.tasks.get(event.id)
            if task is not None or not event.late:
                self.tasks[event.id] = fold(task, event, offset)

    def wanted(self, chosen: Filter, grant: Grant, now: float) -> list[Task]:
        """Those that a filter and a grant leave, newest first."""
        found = [task for task in self.tasks.values() if chosen.matches(task, now) and grant.may_see(task.channels())]
        return sorted(found, key=lambda task: -task.offset)

    @staticmethod
    def counted(tasks: Sequence[Task], by: Sequence[str]) -> Counter[tuple[str | None, ...]]:
        """How many there are by some values."""
        return Counter(tuple(_value(task, name) for name in by) for task in tasks)


def _value(task: Task, name: str) -> str | None:
    if name == "kind":
        return kind_of(task.state, task.reason)
    if name == "error":
        return task.exception.type if task.exception else None
    value: str | None = getattr(task, {"worker": "hostname"}.get(name, name))
    return value


def ended(tasks: Sequence[Task], since: float, until: float) -> Counter[str]:
    """How many ended in a span of time, by kind."""
    kinds = [kind_of(task.state) for task in tasks if is_final(task.state) and since <= task.timestamp < until]
    return Counter(kinds)


def quantile(tasks: Sequence[Task], share: float) -> float | None:
    """The runtime that a share of those that have ended are no longer than."""
    taken = sorted(taken for task in tasks if task.final and (taken := runtime_of(task, 0.0)) is not None)
    return taken[max(1, math.ceil(share * len(taken))) - 1] if taken else None
