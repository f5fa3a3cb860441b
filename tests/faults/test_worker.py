"""Tasks whose process is taken from under them, and workers that are."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync
from redis.asyncio import Redis

from tests.faults.names import RUNS
from tests.faults.size import LONG, Size, sized
from tests.faults.stage import Stage, staged
from tests.faults.verdict import ended, forget_what_celery_lost, memory_is_back, nothing_lost, told
from tests.faults.watching import Watcher
from tests.support.client import client
from tests.support.trees import descendants, wait_until_gone
from tests.support.valkey import valkey_server
from tests.support.waiting import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

#: How a task ends that loses its process, runs out of time or is ended by a revoke: the state, the reason.
ENDS: dict[str, tuple[str, str | None]] = {
    "vanish": ("FAILURE", "worker_lost"),
    "leave": ("FAILURE", "worker_lost"),
    "soft": ("FAILURE", "time_limit"),
    "hard": ("FAILURE", "time_limit"),
    "pause": ("REVOKED", "terminated"),
}
#: Seconds that a task runs that is to be caught by its worker's end; two run at a time.
LASTS = 0.04 if LONG else 0.4
ORDERS: dict[str, tuple[Any, ...]] = {**dict.fromkeys(ENDS, ()), "pause": (60,)}


async def end_as(stage: Stage, identities: list[str], state: str, reason: str | None) -> None:
    """Each watcher sees each of these tasks ended so."""
    await told(stage, identities, timeout=60)
    await all_see(stage, identities, {(state, reason)})


async def all_see(stage: Stage, identities: list[str], wanted: set[tuple[str, str | None]]) -> None:
    """Wait until these states and reasons, and no others, are what each watcher sees of these tasks."""
    for watcher in stage.watchers:

        def seen(watcher: Watcher = watcher) -> set[tuple[str, str | None]]:
            found = (watcher.tasks.get(identity) for identity in identities)
            return {(event.state, event.reason) if event else ("unknown", None) for event in found}

        def agrees(seen: Callable[[], Any] = seen) -> bool:
            return bool(seen() == wanted)

        try:
            await eventually(agrees, timeout=30, what=f"{wanted} to be told")
        except AssertionError as error:
            raise AssertionError(f"{error}; told was {seen()}") from None


async def revoke_when_running(stage: Stage, identities: list[str]) -> None:
    """Ask for the end of each task once it runs."""
    watching = stage.watchers[0].tasks
    waiting = set(identities)

    def running() -> list[str]:
        return [each for each in waiting if each in watching and watching[each].state == "STARTED"]

    async with client(stage.relays[0].ws_url) as asking:
        while waiting:
            for identity in await eventually(running, timeout=60, what=f"one of {len(waiting)} tasks to run"):
                await asking.rpc("revoke", id=identity, terminate=True)
                waiting.remove(identity)


@sized(Size(tasks=100, seconds=3, times=1), Size(tasks=2000, seconds=60, times=20))
async def test_a_lost_process_is_told_as_such(size: Size) -> None:
    with valkey_server() as server:
        async with staged("lost processes", size, server) as stage, anyio.create_task_group() as group:
            ending = {task: [stage.order(task, *given) for _ in range(size.times)] for task, given in ORDERS.items()}
            stage.order_mixture()
            stage.shuffle()
            group.start_soon(revoke_when_running, stage, ending["pause"])
            await stage.send(size.seconds)
            for task, identities in ending.items():
                await end_as(stage, identities, *ENDS[task])
            await nothing_lost(stage)


@pytest.mark.slow
@sized(Size(tasks=100, seconds=3, times=3), Size(tasks=2000, seconds=60, times=20))
async def test_killed_between_storing_the_result_and_telling_of_it(size: Size) -> None:
    """Celery stores SUCCESS, then takes the task for lost with its process: what it has stored is what counts."""
    with valkey_server() as server:
        async with staged("stored", size, server) as stage:
            ending = [stage.order("stored", number) for number in range(size.times)]
            stage.order_mixture()
            stage.shuffle()
            await stage.send(size.seconds)
            await end_as(stage, ending, "SUCCESS", None)
            for watcher in stage.watchers:
                assert watcher.faults == []
                assert [bytes(watcher.tasks[each].result) for each in ending] == [
                    b"%d" % (n * 2) for n in range(len(ending))
                ]


@sized(Size(tasks=100, seconds=3, times=2), Size(tasks=2000, seconds=60, times=12))
async def test_children_killed_at_random_moments(size: Size) -> None:
    with valkey_server() as server:
        async with staged("killed children", size, server) as stage:

            async def kill() -> None:
                children = descendants(stage.workers[0].pid)
                if children:
                    os.kill(stage.dice.choice(children), signal.SIGKILL)

            await stage.under(kill)
            await right_in_the_end(stage)


async def kill_worker(stage: Stage, name: str | None = None) -> None:
    """SIGKILL the newest worker with all its processes, and start another."""
    worker = stage.workers[-1]
    family = [worker.pid, *descendants(worker.pid)]
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    await run_sync(wait_until_gone, family)
    await stage.start_worker(name=name)


async def kill_busy_worker(stage: Stage) -> None:
    """The same, once it is seen to run something."""
    watching = stage.watchers[0].tasks

    def is_busy() -> bool:
        return any(event.state == "STARTED" for event in watching.values())

    await eventually(is_busy, timeout=30, what="a task to run")
    await kill_worker(stage)


@pytest.mark.slow
@sized(Size(tasks=20, seconds=3, times=1), Size(tasks=2000, seconds=60, times=4))
async def test_a_killed_worker_whose_tasks_are_delivered_again(size: Size) -> None:
    with valkey_server() as server:
        async with staged("killed worker", size, server, env={"VISIBILITY_TIMEOUT": "3"}) as stage:
            for _ in range(size.tasks):
                stage.order("late", LASTS)
            await stage.under(lambda: kill_busy_worker(stage))
            lost = await forget_what_celery_lost(stage)
            truth = await ended(stage)
            assert {each["status"] for each in truth.values()} == {"SUCCESS"}
            async with Redis.from_url(server.url(15)) as broker:
                runs: Any = await broker.hgetall(RUNS)
            assert Counter(map(int, runs.values()))[1] < size.tasks, "some were run again"
            assert not lost & {each.decode() for each in runs}, "what has begun was not acknowledged: it comes again"
            await right_in_the_end(stage)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["w0", "another"] if LONG else ["w0"])
@sized(Size(tasks=50, seconds=1, times=1), Size(tasks=2000, seconds=40, times=1))
async def test_lost_with_the_whole_worker(size: Size, name: str) -> None:
    """It is known at once where a worker of the same name starts, else when there were no signs of life for 10 s."""
    with valkey_server() as server:
        async with staged("lost worker", size, server) as stage:
            lost = [stage.order("pause", 600) for _ in range(2)]
            await stage.send()
            await all_see(stage, lost, {("STARTED", None)})
            await kill_worker(stage, name)
            await all_see(stage, lost, {("STARTED", "worker_lost")})
            for identity in lost:
                del stage.sent[identity]
            stage.order_mixture()
            await stage.send(size.seconds)
            await nothing_lost(stage)


@sized(Size(tasks=50, seconds=1, times=5), Size(tasks=2000, seconds=40, times=50))
async def test_a_task_that_nobody_took_in_time_has_expired(size: Size) -> None:
    with valkey_server() as server:
        async with staged("expired", size, server) as stage:
            # A relay says so only when it is over for 30 s, because a worker's word is better.
            late = [stage.order("work", 0, 0, queue="nobody's", expires=-28) for _ in range(size.times)]
            waiting = [stage.order("work", 0, 0, queue="nobody's", expires=3600) for _ in range(size.times)]
            await stage.send()
            await all_see(stage, late, {("REVOKED", "expired")})
            await all_see(stage, waiting, {("PENDING", None)})
            for identity in (*late, *waiting):
                del stage.sent[identity]
            stage.order_mixture()
            await stage.send(size.seconds)
            await nothing_lost(stage)


async def right_in_the_end(stage: Stage) -> None:
    """What Celery has stored is what each watcher sees; a task that was run again may have ended more than once."""
    truth = await ended(stage)
    await told(stage, truth)
    for watcher in stage.watchers:
        assert watcher.faults == []
        assert watcher.unrecovered == 0
        for identity, celery in truth.items():

            def agree(watcher: Watcher = watcher, identity: str = identity, state: str = celery["status"]) -> bool:
                return watcher.tasks[identity].state == state

            await eventually(agree, what=f"{celery} to be told, not {watcher.tasks[identity]}")
    memory_is_back(stage)
