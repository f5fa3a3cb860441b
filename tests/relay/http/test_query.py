"""Which tasks a list has for whom: what may not be seen leaves no trace in it, nor in where it goes on."""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import Any

import pytest

from tests.support.events import event
from watcher.core.event import encode
from watcher.core.permissions import OPEN, Grant, literally
from watcher.relay.api.parameters import read
from watcher.relay.api.queries import ListQuery
from watcher.relay.api.schemas import LIST, TaskList
from watcher.relay.http import query
from watcher.relay.stream.history import History

#: What somebody may watch who may not watch everything: names, and globs.
GRANTS = {
    "nothing": (),
    "a task": ("task:mine-1", "task:none"),
    "a task with a star": (literally("task:mine-*"), "tag:mine"),
    "a tag": ("tag:mine",),
    "tags": ("tag:min?", "group:nothing"),
    "a name and tasks": ("name:mine", "task:mine-*"),
}
ASKED: list[dict[str, str]] = [
    {}, {"tag": "mine"}, {"tag": "theirs"}, {"name": "mine"}, {"name": "theirs", "tag": "mine"}, {"root": "mine-1"},
    {"state": "SUCCESS"}, {"tag": "both", "state": "STARTED"}, {"filter": "tag:theirs"},
    {"filter": "state:running name:m*", "tag": "both"}, {"filter": "-state:succeeded mine-1"},
]  # fmt: skip


def told(page: TaskList) -> tuple[list[str], int | str | None]:
    return [f"{task.id} {task.state} {task.offset}" for task in page.tasks], page.next


def step(steps: Generator[None, None, TaskList]) -> TaskList | None:
    """One step; the list, once it is there."""
    try:
        next(steps)
    except StopIteration as done:
        found: TaskList = done.value
        return found
    return None


def begun(history: History, grant: Grant, **asked: Any) -> Generator[None, None, TaskList]:
    """A page, not a step of it yet."""
    given = ListQuery.read(read([(name, str(value)) for name, value in asked.items()], LIST))
    return query.page(given, history, grant, 100.0)


def page(history: History, grant: Grant, **asked: Any) -> TaskList:
    """A page, all steps at once."""
    steps = begun(history, grant, **asked)
    while (found := step(steps)) is None:
        pass
    return found


def journal(seed: int, *, hidden: bool, theirs: int = 40) -> History:
    """Some events of mine at the same offsets whatever others do; theirs, or nothing that is an event."""
    chance = random.Random(seed)
    history = History(10_000, 1 << 30)
    history.reset("e", 1)
    for number in range(60):
        for _ in range(chance.randrange(theirs)):
            line = event(
                f"theirs-{chance.randrange(30)}", chance.choice(["PENDING", "STARTED", "SUCCESS"]), float(number),
                name="theirs", tags=("theirs", "both"), root_id=chance.choice(["mine-1", "r"]),
            )  # fmt: skip
            if hidden:
                history.append(encode(line))
            else:
                history.window.add(b"", None, 0)  # as for what is no event
        state = chance.choice(["PENDING", "STARTED", "SUCCESS"])
        mine = event(
            f"mine-{chance.randrange(8)}", state, float(number), name="mine", tags=("mine", "both"), root_id="mine-1"
        )
        history.append(encode(mine))
    return history


@pytest.mark.parametrize("watch", GRANTS.values(), ids=GRANTS)
def test_list_does_not_reveal_hidden_tasks(watch: tuple[str, ...]) -> None:
    grant = Grant(watch=watch)
    for seed in range(3):
        with_theirs, without = journal(seed, hidden=True), journal(seed, hidden=False)
        for asked in ASKED:
            for limit in (1, 3, 100):
                before: int | str | None = with_theirs.last + 1
                while before is not None:
                    this = told(page(with_theirs, grant, limit=limit, before=before, **asked))
                    assert this == told(page(without, grant, limit=limit, before=before, **asked)), (asked, before)
                    before = this[1]


@pytest.mark.parametrize("watch", GRANTS.values(), ids=GRANTS)
def test_what_may_be_seen_is_in_it(watch: tuple[str, ...]) -> None:
    grant, history = Grant(watch=watch), journal(7, hidden=True)
    for asked in ASKED:
        everything = page(history, OPEN, limit=1000, **asked).tasks
        wanted = [task.id for task in everything if grant.may_see(task.channels())]
        assert [task.id for task in page(history, grant, limit=1000, **asked).tasks] == wanted, asked


def test_list_is_a_snapshot_unaffected_by_events_between_steps() -> None:
    history = journal(7, hidden=True)
    for grant in (OPEN, Grant(watch=("tag:mine",)), Grant(watch=("tag:min*",))):
        expected = page(history, grant)
        steps = begun(history, grant)
        turns = 0
        while (found := step(steps)) is None:
            turns += 1
            history.append(encode(event("mine-1", "SUCCESS", 99.0, name="mine", tags=("mine",))))
        assert [task.id for task in found.tasks] == [task.id for task in expected.tasks]
        assert (found.offset, found.next) == (expected.offset, expected.next)
        assert turns or grant == Grant(watch=("tag:mine",))
    steps = begun(history, OPEN)
    assert step(steps) is None
    history.reset("another", 1)
    assert step(steps) == TaskList([], "another", 0, None)


def test_page_scan_is_bounded_and_returns_a_cursor() -> None:
    history = History(10_000, 1 << 30)
    history.reset("e", 1)
    for number in range(5000):
        history.append(encode(event(f"t{number}", "PENDING", 1.0, tags=("mine",) if number % 2 else ("theirs",))))
    assert told(page(history, OPEN, state="SUCCESS")) == ([], 3001)
    for watch in (("tag:mine",), ("tag:min*",)):
        assert told(page(history, Grant(watch=watch), state="SUCCESS")) == ([], 1002)
        assert told(page(history, Grant(watch=watch), tag="theirs")) == ([], None if watch == ("tag:min*",) else 1002)
    assert told(page(history, Grant(watch=("task:*7",)), tag="theirs")) == ([], None)
