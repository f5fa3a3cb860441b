"""The order of a task's events: whatever legal life a task leads, the last word is that of Celery's backend."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from tests.support.events import event, record
from tests.support.lives import World
from tests.support.valkey import Valkey
from watcher.core.event import Event, Task, decode, task_of
from watcher.core.order import rank, standing
from watcher.journal.layout import Journal, entry
from watcher.journal.scripts import APPEND
from watcher.relay.safety_net.following import following
from watcher.relay.safety_net.orphans import Workers
from watcher.relay.stream.history import History


class Script:
    """A journal that is emptied before each life."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._journal = Journal()
        self._append = redis.register_script(APPEND)

    def fold(self, told: list[Event], sizes: Random) -> History:
        """What a relay makes of the events, appended a few at a time."""
        self._redis.flushall()
        history, number = History(1000, 1 << 20), 0
        while told:
            number, size = number + 1, sizes.choice((1, 2, 5))
            keys, arguments = self._journal.append("w", number, [record(each) for each in told[:size]])
            self._append(keys=keys, args=arguments)
            told = told[size:]
        for raw in self._redis.xrange(self._journal.stream):
            for line in entry(raw).lines:
                history.append(line)
        return history


def _event_at(history: History, offset: int) -> list[Event]:
    line = history.line(offset)
    return [decode(line)] if line else []


@pytest.fixture
def script(valkey: Valkey) -> Iterator[Script]:
    with valkey.client() as redis:
        yield Script(redis)


# A life is made of its seed: hypothesis need not know each choice, of which there are hundreds.
SEEDS = st.integers(0, 2**32)

many = settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(SEEDS, st.booleans())
def test_the_last_word_is_that_of_the_backend(script: Script, seed: int, plugin_sends: bool) -> None:
    chance = Random(seed)
    world = World(chance, plugin_sends=plugin_sends)
    world.live()
    told = world.arrivals()
    history = script.fold(told, chance)
    task = history.task("a")
    assert task is not None
    task = _after_the_net(history, task, world)
    truth = world.truth
    assert (task.state, task.retries or 0) == (truth.state, truth.retries), [standing(each) for each in told]


def _after_the_net(history: History, task: Task, world: World) -> Task:
    """Of two runs at once the journal shows the later one; what is stored is looked at a moment later."""
    if not world.truth.concurrent:
        return task
    stored = event("a", world.truth.state, world.now + 1000, retries=world.truth.retries)
    missing = following(stored, task, history.events_of("a"), Workers({}, 0.0))
    return task if missing is None else task_of([(1, missing)]) or task


@many
@given(SEEDS)
def test_events_in_causal_order_are_late_only_once_settled(script: Script, seed: int) -> None:
    """RETRY holds until the next try starts; what starts is shown as started, whatever was before."""
    chance = Random(seed)
    world = World(chance)
    world.live()
    told = sorted((each for process in world.told.values() for each in process), key=lambda each: each.number)
    history = script.fold([each.event for each in told], chance)
    stored = {_key(found): found.late for offset in range(1, len(told) + 1) for found in _event_at(history, offset)}
    shown = told[0].event
    for each in told:
        state, late = each.event.state, stored.get(_key(each.event), True)
        if state in ("STARTED", "PROGRESS", "RETRY") and not world.truth.concurrent:
            assert late is each.settled, standing(each.event)
        elif state == "RECEIVED":
            runs = each.event.sent == shown.sent and rank(shown.state) >= rank("STARTED")
            assert late is runs, "a run that was received waits behind one that has started"
        shown = shown if late else each.event


def _key(told: Event) -> tuple[str, float, str | None]:
    return told.state, told.timestamp, told.run


ONE, TWO = {"sent": 1.0, "run": "one"}, {"sent": 1.0, "run": "two"}
AGAIN = {**TWO, "redelivered": 1}


@pytest.mark.parametrize(
    ("told", "late"),
    [
        # 1: of two lives the later one
        ([("FAILURE", {"retries": 3, **ONE}), ("PENDING", {"sent": 2.0})], False),
        ([("PENDING", {"sent": 2.0}), ("SUCCESS", ONE)], True),
        ([("FAILURE", {}), ("PENDING", {"sent": 50.0})], False),
        ([("FAILURE", {}), ("PENDING", {"sent": 0.5})], True),
        ([("STARTED", {}), ("PENDING", {"sent": 50.0})], True),
        # 2: SUCCESS
        ([("SUCCESS", ONE), ("STARTED", AGAIN)], True),
        ([("STARTED", AGAIN), ("SUCCESS", ONE)], False),
        ([("SUCCESS", {"retries": 1, **TWO}), ("SUCCESS", ONE)], False),
        # 3: tries
        ([("RETRY", ONE), ("RECEIVED", {"retries": 1, **TWO})], True),
        ([("RECEIVED", {"retries": 1, **TWO}), ("RETRY", ONE)], False),
        ([("STARTED", {"retries": 1, **TWO}), ("RETRY", ONE)], True),
        ([("RECEIVED", {"retries": 2, **TWO}), ("RETRY", ONE)], True),
        ([("PROGRESS", ONE), ("RECEIVED", {"retries": 1, **TWO})], False),
        ([("FAILURE", ONE), ("STARTED", {"retries": 1, **TWO})], False),
        # 4, 5: deliveries
        ([("PROGRESS", ONE), ("RECEIVED", AGAIN)], True),
        ([("PROGRESS", {"reason": "worker_lost", **ONE}), ("RECEIVED", AGAIN)], False),
        ([("RETRY", ONE), ("STARTED", AGAIN)], False),
        ([("STARTED", AGAIN), ("FAILURE", ONE)], True),
        ([("STARTED", ONE), ("STARTED", TWO), ("FAILURE", ONE)], True),
        ([("RECEIVED", ONE), ("RECEIVED", TWO), ("STARTED", ONE)], False),
        # what says no run belongs to the one that is known, which stays known
        ([("STARTED", ONE), ("FAILURE", {"sent": 1.0}), ("STARTED", AGAIN)], False),
        ([("STARTED", ONE), ("FAILURE", {"sent": 1.0}), ("PROGRESS", ONE)], True),
        # 6: within a run
        ([("STARTED", ONE), ("RECEIVED", ONE)], True),
        ([("PROGRESS", ONE), ("PROGRESS", ONE)], False),
        ([("FAILURE", ONE), ("REVOKED", ONE)], False),
        # 7: hearsay
        ([("REVOKED", {"source": "backend", **ONE}), ("STARTED", ONE)], False),
        ([("REVOKED", ONE), ("STARTED", ONE)], True),
    ],
)
def test_each_rule(script: Script, told: list[tuple[str, dict[str, Any]]], late: bool) -> None:
    """Whatever the clocks say: each is a second earlier than the one before."""
    made = [event("a", state, 9.0 - at) for at, (state, _) in enumerate(told)]
    events = [structs.replace(each, **fields) for each, (_, fields) in zip(made, told, strict=True)]
    history = script.fold(events, Random(1))
    assert _event_at(history, len(events))[0].late is late


@pytest.mark.parametrize(("state", "late"), [("STARTED", True), ("SUCCESS", False)])
def test_what_is_known_from_before_lives_were_told_is_compared(valkey: Valkey, state: str, late: bool) -> None:
    with valkey.client() as redis:
        redis.hset(Journal().open, "a", "00000041795000000.500000 RETRY")
        keys, arguments = Journal().append("w", 1, [record(event("a", state, 1.0, **ONE))])
        redis.register_script(APPEND)(keys=keys, args=arguments)
        assert _told(redis)[0].late is late


@pytest.mark.parametrize("text", [b"", b"x", b"9" * 60, b"\xff" * 70, b"0000009" + b" " * 50, b"," * 80])
def test_whatever_else_stands_there_stops_nobody(valkey: Valkey, text: bytes) -> None:
    with valkey.client() as redis:
        redis.hset(Journal().open, "a", text)
        for number, state in enumerate(("STARTED", "RETRY", "SUCCESS"), start=1):
            keys, arguments = Journal().append("w", number, [record(event("a", state, 1.0, retries=number, **ONE))])
            redis.register_script(APPEND)(keys=keys, args=arguments)
        assert len(_told(redis)) == 3


def _told(redis: Any) -> list[Event]:
    return [decode(line) for raw in redis.xrange(Journal().stream) for line in entry(raw).lines]
