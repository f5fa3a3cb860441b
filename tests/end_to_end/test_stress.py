"""The main road under load: many tasks, many watchers, each end exactly once, no hole in the offsets."""

from __future__ import annotations

import sys
from collections import Counter

import anyio
import msgspec
import pytest
from websockets.asyncio.client import connect

from tests.faults.size import LONG
from tests.support.processes import program, relay, worker
from tests.support.valkey import Valkey

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

TASKS = 10_000 if LONG else 2_000
WATCHERS = 50
#: What bounds the whole, in seconds: on two cores that have nothing else to do the worker needs about 20.
LIMIT = 240

_SUBMIT = f"""
from tasks import add
with add.app.producer_pool.acquire(block=True) as producer:
    for number in range({TASKS}):
        add.apply_async((number, number), producer=producer)
"""


class Event(msgspec.Struct):
    """What is looked at of an event: decoding no more lets fifty clients keep up in one Python process."""

    id: str
    state: str


class Publication(msgspec.Struct):
    data: Event
    offset: int


class Push(msgspec.Struct):
    pub: Publication


class Position(msgspec.Struct):
    offset: int = 0


class Message(msgspec.Struct):
    push: Push | None = None
    subscribe: Position | None = None
    id: int = 0


class Watcher:
    """Counts ends and follows the offsets."""

    _decoder = msgspec.json.Decoder(Message)

    def __init__(self) -> None:
        self.last = 0
        self.holes: list[tuple[int, int]] = []
        self.ends: Counter[str] = Counter()
        self.states: Counter[str] = Counter()

    async def watch(self, url: str, ready: anyio.Semaphore) -> None:
        async with connect(url, max_size=None, ping_interval=None, compression=None) as socket:
            await socket.send('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"tasks"}}')
            # A worker's main process tells of what it received on its own, and may do so after the last end.
            while len(self.ends) < TASKS or self.states["RECEIVED"] < TASKS:
                frame = await socket.recv(decode=False)
                for message in map(self._decoder.decode, frame.split(b"\n")):
                    if message.push is not None:
                        self.take(message.push.pub)
                    elif message.subscribe is not None:
                        self.last = message.subscribe.offset
                        ready.release()
                    elif not message.id:
                        await socket.send("{}")

    def take(self, publication: Publication) -> None:
        if publication.offset != self.last + 1:
            self.holes.append((self.last, publication.offset))
        self.last = publication.offset
        event = publication.data
        self.states[event.state] += 1
        if event.state == "SUCCESS":
            self.ends[event.id] += 1


@pytest.mark.slow
async def test_thousands_of_tasks_before_fifty_watchers(valkey: Valkey, tasks_env: dict[str, str]) -> None:
    watchers = [Watcher() for _ in range(WATCHERS)]
    ready = anyio.Semaphore(0)
    with worker("tasks", env=tasks_env), relay("tasks", env=tasks_env) as serving:
        with anyio.fail_after(LIMIT):
            async with anyio.create_task_group() as group:
                for watcher in watchers:
                    group.start_soon(watcher.watch, serving.ws_url, ready)
                for _ in watchers:
                    await ready.acquire()
                with program(sys.executable, "-c", _SUBMIT, env=tasks_env) as script:
                    assert await anyio.to_thread.run_sync(script.wait, LIMIT) == 0, script.output
    for watcher in watchers:
        assert watcher.holes == []
        assert len(watcher.ends) == TASKS
        assert set(watcher.ends.values()) == {1}
        assert watcher.states == watchers[0].states
    with valkey.client(14) as redis:
        assert redis.hlen("{watcher}:open") == 0
