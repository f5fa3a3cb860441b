"""What relays tell of a shop in numbers is true, as the test itself keeps the truth: under load, faults, and after."""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, cast

import anyio
import httpx
import pytest
from anyio.to_thread import run_sync
from redis import Redis

from tests.faults.names import LEGACY, PARTS, SHOP_QUEUES
from tests.faults.size import Size, sized
from tests.relay.support import JOURNAL
from tests.support.client import client
from tests.support.events import stored
from tests.support.processes import Program, Relay, free_port, program, relay, worker
from tests.support.trees import descendants, wait_until_gone
from tests.support.valkey import valkey_server
from tests.support.waiting import eventually
from watcher.core.event import Event, Task, task_of

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

APP = "tests.faults.shop"
#: What is counted by, one and two at a time.
BY = ("state", "name", "queue", "worker", "error", "state,name", "queue,state", "name,error", "worker,state")
#: Filters, and what is asked for by each, said once more.
FILTERS: dict[str, Callable[[Task], bool]] = {
    "": lambda task: True,
    "queue:legacy": lambda task: task.queue == "legacy",
    "state:failed": lambda task: task.state == "FAILURE",
    "error:CardDeclined": lambda task: task.exception is not None and task.exception.type.endswith("CardDeclined"),
    "name:shop.m* -state:succeeded": lambda task: (task.name or "").startswith("shop.m") and task.state != "SUCCESS",
    "declined": lambda task: task.exception is not None and "declined" in task.exception.message,
}


class Journal:
    """What the journal holds, read by the test for itself."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._events: list[tuple[int, Event]] = []
        self._upto = functools.lru_cache(maxsize=1)(self._folded)

    def upto(self, offset: int) -> list[Task]:
        """The tasks as of this offset."""
        return self._upto(offset)

    def _folded(self, offset: int) -> list[Task]:
        if not self._events or self._events[-1][0] < offset:
            self._events = stored(cast(Any, self._redis.xrange(JOURNAL.stream)))
        told: dict[str, list[tuple[int, Event]]] = {}
        for place, event in self._events:
            if place <= offset:
                told.setdefault(event.id, []).append((place, event))
        return [task for events in told.values() if (task := task_of(events)) is not None]

    def last(self) -> int:
        """Offset of the newest event."""
        return stored(cast(Any, self._redis.xrevrange(JOURNAL.stream, count=1)))[-1][0]


def value(task: Task, by: str) -> str | None:
    """What a task is counted by."""
    if by == "worker":
        return task.hostname
    if by == "error":
        return task.exception.type if task.exception is not None else None
    found: str | None = getattr(task, by)
    return found


def counted(tasks: list[Task], by: str) -> Counter[tuple[str | None, ...]]:
    return Counter(tuple(value(task, name) for name in by.split(",")) for task in tasks)


async def numbers_are_true(http: httpx.AsyncClient, journal: Journal, url: str, by: str, written: str) -> None:
    """One answer of one relay is the truth as of the offset that it names."""
    response = await http.get(f"{url}/api/counts", params={"by": by, "filter": written})
    assert response.status_code == 200, response.text
    told = response.json()
    wanted = FILTERS[written]
    tasks = [task for task in journal.upto(told["offset"]) if wanted(task)]
    rows = {tuple(row.get(name) for name in by.split(",")): row["count"] for row in told["counts"]}
    assert rows == counted(tasks, by), f"{url}: {by} of {written!r} as of {told['offset']}"
    assert told["total"] == len(tasks)


async def pages(http: httpx.AsyncClient, url: str, **asked: Any) -> list[dict[str, Any]]:
    """All tasks of a list."""
    found: list[dict[str, Any]] = []
    before: dict[str, Any] = {}
    while True:
        page = (await http.get(f"{url}/api/tasks", params={**asked, **before})).json()
        assert page["archive"] is None
        found += page["tasks"]
        if page["next"] is None:
            return found
        before = {"before": page["next"]}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as exits:
        yield exits


class Shop:
    """Its processes: two workers, and two relays, of which the second keeps its archive in a file."""

    def __init__(self, stack: ExitStack, env: dict[str, str], archive: Path) -> None:
        self._stack = stack
        self.env = env
        self._envs = (env, {**env, "WATCHER_ARCHIVE": f"sqlite:///{archive}"})
        self._ports = (free_port(), free_port())
        self.relays: dict[int, Relay] = {}
        self.workers: list[Program] = []

    @property
    def urls(self) -> list[str]:
        return [self.relays[number].url for number in sorted(self.relays)]

    async def open(self) -> None:
        async with anyio.create_task_group() as group:
            for number in (1, 2):
                group.start_soon(self._hire, f"w{number}@%h")
            for number in (0, 1):
                group.start_soon(self.serve, number)

    async def _hire(self, name: str) -> None:
        queues = [*SHOP_QUEUES, *(["aside"] if name.startswith("w2") else [])]
        served = ("-n", name, "-Q", ",".join(queues))
        self.workers.append(await run_sync(self._stack.enter_context, worker(APP, *served, env=self.env)))

    async def serve(self, number: int) -> None:
        """Start a relay, at the same address as before."""
        running = relay(APP, port=self._ports[number], env=self._envs[number])
        self.relays[number] = await run_sync(self._stack.enter_context, running)

    async def kill_worker(self) -> None:
        """SIGKILL the second one with all its processes."""
        doomed = next(each for each in self.workers if " w2@" in each.name)
        family = [doomed.pid, *descendants(doomed.pid)]
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        await run_sync(wait_until_gone, family)


@sized(Size(tasks=60, seconds=3, times=1), Size(tasks=1200, seconds=60, times=10))
async def test_every_number_is_the_truth_during_the_load_and_after(
    size: Size, stack: ExitStack, tmp_path: Path
) -> None:
    server = stack.enter_context(valkey_server())
    redis = stack.enter_context(server.client())
    env = {
        "CELERY_BROKER_URL": server.url(15), "CELERY_RESULT_BACKEND": server.url(14),
        "WATCHER_REDIS_URL": server.url(0),
    }  # fmt: skip
    shop, journal = Shop(stack, env, tmp_path / "archive.db"), Journal(redis)
    await shop.open()
    async with httpx.AsyncClient(timeout=30) as http:
        sender = stack.enter_context(program(sys.executable, "-m", APP, str(size.tasks), str(size.seconds), env=env))
        async with anyio.create_task_group() as group:
            group.start_soon(load, shop, sender, size)
            await ask_meanwhile(http, shop, journal, sender)
        sent = {told["id"]: told for told in map(json.loads, sender.stdout.splitlines())}
        assert len(sent) == size.tasks + PARTS + 1 + LEGACY + 1
        await settled(journal, sent)
        await shop.kill_worker()  # with the one task that it runs, and with nothing that it has yet to tell
        await right_after(http, shop, journal, sent)


async def load(shop: Shop, sender: Program, size: Size) -> None:
    """While tasks flow, kill a relay in the midst of it, some times."""
    for turn in range(size.times):
        wanted = LEGACY + PARTS + 1 + (turn + 1) / (size.times + 1) * size.tasks

        def sent(wanted: float = wanted) -> bool:
            return len(sender.stdout.splitlines()) >= wanted

        await eventually(sent, timeout=60 + size.seconds, what="tasks to be sent")
        dead = shop.relays.pop(1)
        dead.kill()
        await shop.serve(1)


async def ask_meanwhile(http: httpx.AsyncClient, shop: Shop, journal: Journal, sender: Program) -> None:
    """Ask the relays one thing after the other, until all is sent."""
    questions = zip(itertools.cycle(BY), itertools.cycle(FILTERS), strict=False)
    asked = 0
    while sender.process.poll() is None or asked < len(BY):
        asked += 1
        for url in shop.urls:
            with suppress(httpx.TransportError):  # it was killed just now
                await numbers_are_true(http, journal, url, *next(questions))


async def settled(journal: Journal, sent: dict[str, dict[str, Any]]) -> None:
    """Wait until every task has ended that is to end, and the one runs that is to be lost."""

    def over() -> bool:
        tasks = {task.id: task for task in journal.upto(journal.last())}
        ends = [tasks.get(each["id"]) for each in sent.values() if each["end"]]
        paused = [task for task in tasks.values() if task.name == "shop.pause" and task.state == "STARTED"]
        return all(task and task.final for task in ends) and len(paused) == 1

    await eventually(over, timeout=60, what="the tasks to end")


async def right_after(http: httpx.AsyncClient, shop: Shop, journal: Journal, sent: dict[str, dict[str, Any]]) -> None:
    """All doors tell the same, and it is what was sent and what the tasks do."""
    tasks = journal.upto(journal.last())
    ended = [task for task in tasks if task.final]
    lost = len([task for task in tasks if not task.final and task.queue != "legacy"])
    assert {task.id for task in tasks} == sent.keys()
    assert counted(tasks, "name,queue") == Counter((each["name"], each["queue"]) for each in sent.values())
    for task in ended:
        raised = value(task, "error")
        expected = (sent[task.id]["end"], sent[task.id]["error"])
        assert (task.state, raised and raised.rpartition(".")[2]) == expected
    for url in shop.urls:
        for by, written in [*((by, "") for by in BY), *(("state,name", written) for written in FILTERS)]:
            await numbers_are_true(http, journal, url, by, written)
        queued = await http.get(f"{url}/api/counts", params={"filter": "state:queued queue:legacy"})
        assert queued.json()["total"] == LEGACY
        kinds = (await http.get(f"{url}/api/counts?by=kind")).json()["counts"]
        assert {row["kind"]: row["count"] for row in kinds}["failed"] == counted(tasks, "state")["FAILURE",]
        listed = await pages(http, url, limit=100)
        assert [each["offset"] for each in listed] == sorted((task.offset for task in tasks), reverse=True)
        assert {each["id"]: each["state"] for each in listed} == {task.id: task.state for task in tasks}
        parts = await pages(http, url, filter="name:shop.part", sort="sent", limit=77)
        assert len({each["id"] for each in parts}) == len(parts) == PARTS
        assert [each["sent"] for each in parts] == sorted((each["sent"] for each in parts), reverse=True)
        await spans_and_names_are_true(http, url, tasks, lost)
        await files_are_whole(http, url, tasks)
        await overview_is_true(shop, tasks)


async def spans_and_names_are_true(http: httpx.AsyncClient, url: str, tasks: list[Task], lost: int) -> None:
    series = (await http.get(f"{url}/api/series", params={"since": "30m", "buckets": 30})).json()
    sums = {name: sum(each[name] for each in series["buckets"]) for name in ("sent", "succeeded", "failed", "other")}
    states = counted(tasks, "state")
    assert sums == {"sent": len(tasks), "succeeded": states["SUCCESS",], "failed": states["FAILURE",], "other": 0}
    told = {each["name"]: each for each in (await http.get(f"{url}/api/names")).json()["names"]}
    assert {name: (each["count"], each["failed"]) for name, each in told.items()} == {
        name: (count, counted(tasks, "name,state")[name, "FAILURE"])
        for (name,), count in counted(tasks, "name").items()
    }
    longest = max(task.runtime for task in tasks if task.name == "shop.mail" and task.runtime is not None)
    assert told["shop.mail"]["runtime"]["max"] == pytest.approx(longest)
    assert lost == 1, "what the killed worker had"


async def files_are_whole(http: httpx.AsyncClient, url: str, tasks: list[Task]) -> None:
    text = (await http.get(f"{url}/api/tasks?format=csv")).text
    assert {line.partition(",")[0] for line in text.splitlines()[1:]} == {task.id for task in tasks}
    lines = (await http.get(f"{url}/api/tasks?filter=state:failed", headers={"Accept": "application/x-ndjson"})).text
    failed = {task.id for task in tasks if task.state == "FAILURE"}
    assert {json.loads(line)["id"] for line in lines.splitlines()} == failed


async def overview_is_true(shop: Shop, tasks: list[Task]) -> None:
    states = {state: count for (state,), count in counted(tasks, "state").items()}
    for running in shop.relays.values():
        async with client(running.ws_url) as socket:
            told = (await socket.subscribe("overview"))["data"]
            assert (told["states"], told["total"]) == (states, len(tasks))
            assert (told["since"], told["archive"]) == (None, None)
