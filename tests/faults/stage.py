"""The stage of a fault test: servers, workers, relays, watchers and a flow of tasks, all of them real."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync
from redis.asyncio import Redis

from tests.faults import flow
from tests.faults.size import Size, chance
from tests.faults.watching import Watcher
from tests.support.processes import Program, Relay, free_port, relay, worker
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

APP = "tests.faults.app"
RELAYS = 2


class Stage:
    """What runs.

    :param broker: the server of the broker and of the result backend.
    :param env: of all processes.
    :param relay_env: what is different for relays.
    """

    def __init__(
        self, size: Size, dice: random.Random, broker: Valkey, env: Mapping[str, str], relay_env: Mapping[str, str]
    ) -> None:
        self.size = size
        self.dice = dice
        self.broker = broker
        self.env = dict(env)
        self.relays: list[Relay] = []
        self.workers: list[Program] = []
        self.watchers: list[Watcher] = []
        self.sent: dict[str, str] = {}
        self.results = Redis.from_url(broker.url(14))
        self.memory_before = 0
        self._relay_env = {**env, **relay_env}
        self._ports = [free_port() for _ in range(RELAYS)]
        self._orders: list[flow.Order] = []
        self._exits: dict[Program, ExitStack] = {}

    # Processes.

    async def start_relay(self, number: int) -> None:
        """Start a relay at its own address, and wait until it is ready."""
        self.relays[number : number + 1] = [
            await self._enter(relay(APP, port=self._ports[number], env=self._relay_env))
        ]

    async def start_worker(self, *, name: str | None = None) -> Program:
        """Start a worker with two processes, and wait until it is ready.

        :param name: of the node; None is one of its own.
        """
        node = f"{name or f'w{len(self.workers)}'}@%h"
        started: Program = await self._enter(worker(APP, "-n", node, env=self.env))
        self.workers.append(started)
        return started

    async def supervise(self) -> None:
        """Start a worker in the place of one that has ended, until cancelled: what systemd and the like do."""
        while True:
            await eventually(lambda: self.workers[-1].process.poll() is not None, timeout=600, what="an end")
            await self.start_worker()

    async def _enter(self, running: Any) -> Any:
        exits = ExitStack()
        program = await run_sync(exits.enter_context, running)
        self._exits[program] = exits
        return program

    async def close(self, program: Program) -> None:
        """End a process, by force where needed."""
        await run_sync(self._exits.pop(program).close)

    async def close_all(self) -> None:
        """End all processes."""
        with anyio.CancelScope(shield=True):
            await self.results.aclose()
            async with anyio.create_task_group() as group:
                for program in list(self._exits):
                    group.start_soon(self.close, program)

    def memory(self) -> int:
        """Resident bytes of the largest relay; 0 where there is no /proc."""
        return max(resident(running.pid) for running in self.relays)

    async def watch(self, group: anyio.abc.TaskGroup) -> None:
        """Let the watchers come, and wait until each is there."""
        urls = [running.ws_url for running in self.relays]
        for _ in range(self.size.watchers):
            watcher = Watcher(urls, random.Random(self.dice.random()))
            self.watchers.append(watcher)
            group.start_soon(watcher.run)
        await eventually(lambda: all(each.connected for each in self.watchers), what="the watchers to be there")
        self.memory_before = self.memory()

    # Tasks.

    def order(self, task: str, *args: Any, **options: Any) -> str:
        """Note down a task that is to be sent; returns its id."""
        identity = str(uuid.UUID(int=self.dice.getrandbits(128), version=4))
        self.sent[identity] = task
        self._orders.append({"id": identity, "task": task, "args": args, "options": options})
        return identity

    def order_mixture(self) -> None:
        """Order as many tasks as belong to the size: short ones, some of which fail, retry or report."""
        for number in range(self.size.tasks):
            task = self.dice.choices(("work", "report", "flaky", "fail"), (85, 5, 5, 5))[0]
            given = {"work": (self.dice.uniform(0, 0.015), number), "fail": (f"no {number}",)}
            self.order(task, *given.get(task, (number,)))

    def shuffle(self) -> None:
        """Send what was ordered in any order."""
        self.dice.shuffle(self._orders)

    async def send(self, seconds: float = 0) -> list[dict[str, Any]]:
        """Send what was ordered, spread over some seconds; returns what sending each was like."""
        orders, self._orders = self._orders, []
        return await flow.send(orders, seconds, self.env)

    async def under(self, fault: Callable[[], Awaitable[Any]], *, until: float = 0.9) -> None:
        """Let tasks flow while the fault is repeated at random moments; returns when both have come to their end.

        :param until: the share of the time after which it isn't begun any more.
        """
        if not self._orders:
            self.order_mixture()
        moments = sorted(self.dice.uniform(0.1, until) * self.size.seconds for _ in range(self.size.times))

        async def repeat() -> None:
            start = anyio.current_time()
            for moment in moments:
                await anyio.sleep_until(start + moment)
                await fault()

        async with anyio.create_task_group() as group:
            group.start_soon(repeat)
            group.start_soon(self.send, self.size.seconds)


def resident(pid: int) -> int:
    """A process's resident memory in bytes; 0 where there is no /proc to tell."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmRSS"))


@asynccontextmanager
async def staged(
    name: str,
    size: Size,
    broker: Valkey,
    *,
    journal_url: str | None = None,
    env: Mapping[str, str] | None = None,
    relay_env: Mapping[str, str] | None = None,
) -> AsyncIterator[Stage]:
    """A worker, two relays and the watchers, for the time of an `async with` block.

    :param name: of the test: what its randomness comes from.
    :param broker: the server of the broker and of the result backend.
    :param journal_url: of the journal's Redis; None: that of the result backend.
    :param relay_env: what is different for the relays.
    """
    settings = {"CELERY_BROKER_URL": broker.url(15), "CELERY_RESULT_BACKEND": broker.url(14), **(env or {})}
    if journal_url is not None:
        settings["WATCHER_REDIS_URL"] = journal_url
    stage = Stage(size, chance(name), broker, settings, relay_env or {})
    try:
        with anyio.fail_after(size.limit):
            async with anyio.create_task_group() as group:
                group.start_soon(stage.start_worker)
                for number in range(RELAYS):
                    await stage.start_relay(number)
            async with anyio.create_task_group() as group:
                await stage.watch(group)
                yield stage
                group.cancel_scope.cancel()
    finally:
        await stage.close_all()
