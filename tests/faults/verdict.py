"""What must hold after a fault, told by Celery's own result backend, read as the JSON that it is.

Each watcher has been told of each task's end, once, and of the same state and result that is stored; no offset was left
out or came twice; and the relays' memory is back where it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import anyio
from redis.asyncio import Redis

from tests.faults.stage import Stage, resident
from tests.faults.watching import Told, Watcher
from tests.support.waiting import eventually

#: A relay may have grown by so much, in bytes: the history of some thousand tasks, and what its allocator keeps.
GROWTH = 32 * 1024 * 1024
_FINAL = {"SUCCESS", "FAILURE", "REVOKED", "REJECTED", "IGNORED"}
_AT_ONCE = 500
#: Of messages that Redis handed out when it died, or the worker did, Celery's transport loses at most so many a time.
LOST_BY_CELERY = 4

Stored = dict[str, Any]


async def stored(stage: Stage, identities: Iterable[str]) -> dict[str, Stored]:
    """What the result backend holds of these tasks."""
    found: dict[str, Stored] = {}
    wanted = list(identities)
    for start in range(0, len(wanted), _AT_ONCE):
        page = wanted[start : start + _AT_ONCE]
        payloads: Any = await stage.results.mget([f"celery-task-meta-{identity}" for identity in page])
        found |= {each: json.loads(payload) for each, payload in zip(page, payloads, strict=True) if payload}
    return found


async def ended(stage: Stage, identities: Iterable[str] | None = None, *, timeout: float = 60) -> dict[str, Stored]:
    """Wait until the result backend holds the end of each task, and return what it holds."""
    missing = list(stage.sent if identities is None else identities)
    found: dict[str, Stored] = {}

    async def all_stored() -> bool:
        nonlocal missing
        found.update({i: s for i, s in (await stored(stage, missing)).items() if s["status"] in _FINAL})
        missing = [identity for identity in missing if identity not in found]
        return not missing

    try:
        await eventually(all_stored, timeout=timeout, what="the tasks to end")
    except AssertionError as error:
        raise AssertionError(f"{error}; {len(missing)} of {len(stage.sent)} have not: {missing[:5]}") from None
    return found


async def told(stage: Stage, identities: Iterable[str], *, timeout: float = 40) -> None:
    """Wait until each watcher has been told of each end."""
    wanted = list(identities)
    for watcher in stage.watchers:

        def complete(watcher: Watcher = watcher) -> bool:
            return watcher.connected and all(map(watcher.has_ended, wanted))

        try:
            await eventually(complete, timeout=timeout, what="a watcher to be told of each end")
        except AssertionError as error:
            lacking = {each: watcher.tasks.get(each) for each in wanted if not watcher.has_ended(each)}
            raise AssertionError(f"{error}; it lacks {len(lacking)}: {list(lacking.items())[:5]}") from None


async def nothing_lost(stage: Stage, *, new_epochs: bool = False, again: bool = False) -> None:
    """Wait for the end of all that was sent, and hold the watchers' accounts against what Celery has stored.

    :param new_epochs: whether the journal was lost on the way. Then watchers were told so, ask for what they may have
        missed, and may be told of an end once in each epoch.
    :param again: whether the broker may have lost that a worker had taken a message: then its task has run twice, and
        each run has an end.
    """
    truth = await ended(stage)
    if new_epochs:
        for watcher in stage.watchers:
            await watcher.ask([identity for identity in truth if not watcher.has_ended(identity)])
    await told(stage, truth)
    if again:
        truth = await _of_the_last_run(stage, truth)
    for watcher in stage.watchers:
        assert not watcher.faults, watcher.faults[:5]
        twice = [events for events in watcher.ends.values() if len(events) > 1 and not (again and _runs(events))]
        assert not twice, f"{len(twice)} tasks were told to have ended more than once: {twice[:3]}"
        for identity, celery in truth.items():
            event = watcher.tasks[identity]
            assert event.state == _state_of(celery), f"{celery} was told as {event}"
            if event.state == "SUCCESS":
                assert json.loads(bytes(event.result)) == celery["result"]
        if not new_epochs:
            assert watcher.unrecovered == 0
            assert len(watcher.epochs) == 1
            assert {identity for _, identity in watcher.ends} >= set(truth)
    memory_is_back(stage)


async def _of_the_last_run(stage: Stage, truth: dict[str, Stored]) -> dict[str, Stored]:
    """What is stored now, once watchers know it: a task's second run may end, and otherwise, after its first was read.

    It is looked at for a while only; what still differs then is the verdict's to tell.
    """
    latest = truth

    async def known() -> bool:
        nonlocal latest
        latest = truth | await stored(stage, truth)
        states = {identity: _state_of(celery) for identity, celery in latest.items()}
        return all({i: watcher.tasks[i].state for i in states} == states for watcher in stage.watchers)

    with suppress(AssertionError):
        await eventually(known, what="watchers to know the ends of second runs")
    return latest


def _runs(events: list[Told]) -> bool:
    """Whether each of these ends is another run's: told by a worker, and at a time of its own."""
    return {event.source for event in events} == {"signal"} and len({each.timestamp for each in events}) == len(events)


def memory_is_back(stage: Stage) -> None:
    """No relay holds much more than at the beginning."""
    for running in stage.relays:
        assert running.process.poll() is None, f"a relay has ended\n{running.output}"
        grown = resident(running.pid) - stage.memory_before
        assert grown < GROWTH, f"a relay has grown by {grown / 1024 / 1024:.1f} MiB"


def _state_of(celery: dict[str, Any]) -> str:
    """What the plugin calls what Celery has stored: a rejected task is stored as a failure."""
    result = celery["result"]
    rejected = celery["status"] == "FAILURE" and isinstance(result, dict) and result.get("exc_type") == "Reject"
    return "REJECTED" if rejected else str(celery["status"])


async def forget_what_celery_lost(stage: Stage) -> set[str]:
    """Wait until no task ends any more; those that never will are few, not in the broker, and not shown as ended.

    :returns: their ids. A worker takes a message off its list (BRPOP), and only then notes it down as unacknowledged:
        where it is killed in between, the message is nowhere.
    """
    known: set[str] = set()
    quiet_since = anyio.current_time()
    while len(known) < len(stage.sent) and anyio.current_time() < quiet_since + 12:
        found = {i for i, each in (await stored(stage, stage.sent)).items() if each["status"] in ("SUCCESS", "FAILURE")}
        if found - known:
            known, quiet_since = found, anyio.current_time()
        await anyio.sleep(0.2)
    lost = set(stage.sent) - known
    held = await _held_by_the_broker(stage)
    assert not [identity for identity in lost if identity in held], "the broker has them still"
    bound = LOST_BY_CELERY * stage.size.times
    assert len(lost) <= bound, f"{len(lost)} were lost, {bound} at most are: {await stored(stage, lost)}"
    for identity in lost:
        del stage.sent[identity]
        assert not any(watcher.has_ended(identity) for watcher in stage.watchers)
    return lost


async def _held_by_the_broker(stage: Stage) -> str:
    """All messages that the broker has: in the queue, or taken and not acknowledged."""
    async with Redis.from_url(stage.broker.url(15)) as broker:
        queued: Any = await broker.lrange("celery", 0, -1)
        taken: Any = await broker.hvals("unacked")
    return b"\n".join([*queued, *taken]).decode(errors="replace")
