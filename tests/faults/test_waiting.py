"""Relays that die under clients of ours that wait: in an async program, in threads, on the command line.

Those that have nothing but HTTP are in test_http.py; tests/client/test_recovery.py looks at what one client is told.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import anyio
import httpx
import pytest
from anyio.to_thread import run_sync

import watcher
from tests.faults.size import LONG
from tests.faults.stage import APP
from tests.support.processes import ROOT, Relay, environment, free_port, relay, worker
from tests.support.valkey import valkey_server
from tests.support.waiting import eventually
from watcher.client import Relay as Client
from watcher.client import SyncRelay

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

#: Who wait, of each kind, and over how many connections. The command line is a process for each task in the long form;
#: in the short one, where two processors are to start them, 20 processes have a few lines of standard input each.
CLIENTS = 200 if LONG else 60
ASYNC, SYNC, PROCESSES = 4, 2, CLIENTS if LONG else 20
LINES = CLIENTS // PROCESSES
#: So many processes are started at a time.
BATCH = 10
#: How often the relay is killed before any task has ended; it is killed once more while they end.
KILLS = 5 if LONG else 1


class Waiters:
    """What each client has got in the end, by its number."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.results: dict[str, dict[int, Any]] = {"async": {}, "sync": {}, "command": {}}

    async def wait(self, client: Client, number: int) -> None:
        """In an async program."""
        self.results["async"][number] = await (await client.submit("work", 0.001, number))

    def wait_in_thread(self, client: SyncRelay, number: int) -> None:
        """In a program that is not async."""
        self.results["sync"][number] = client.submit("work", 0.001, number).result()

    async def run(self, number: int) -> None:
        """On the command line: one task, or one for each line."""
        numbers = range(number * LINES, (number + 1) * LINES)
        arguments = ["-"] if LINES > 1 else ["0.001", str(number)]
        lines = "".join(f"[0.001, {each}]\n" for each in numbers)
        done = await anyio.run_process(
            [sys.executable, "-m", "watcher", "submit", "work", *arguments],
            input=lines.encode(), env=environment({"WATCHER_URL": self.url}), cwd=ROOT, check=False,
        )  # fmt: skip
        results = list(map(json.loads, done.stdout.splitlines()))
        assert (done.returncode, len(results)) == (0, LINES), done.stderr.decode()
        self.results["command"].update(zip(numbers, results, strict=True))

    async def count(self, client: httpx.AsyncClient, name: str) -> float:
        """What the relay counts; 0 where it doesn't answer."""
        await anyio.sleep(0.1)  # counting takes it a few milliseconds, which it shouldn't spend all its time on
        try:
            lines = (await client.get(f"{self.url}/metrics")).text.splitlines()
        except httpx.TransportError:
            return 0
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    async def until_all_wait(self, client: httpx.AsyncClient) -> None:
        """Wait until the relay counts all of them."""

        async def all_wait() -> bool:
            return await self.count(client, "watcher_websocket_subscriptions") == 3 * CLIENTS

        await eventually(all_wait, timeout=90, what="all to wait")


async def come(waiters: Waiters, exits: ExitStack, start: Callable[..., Any], client: httpx.AsyncClient) -> None:
    """Let all of them come."""
    # What is left first is what was entered last: the connections, without which no thread waits any more.
    pool = exits.enter_context(ThreadPoolExecutor(CLIENTS))
    connections = [exits.enter_context(watcher.connect_sync(waiters.url)) for _ in range(SYNC)]
    threads = [pool.submit(waiters.wait_in_thread, connections[number % SYNC], number) for number in range(CLIENTS)]
    start(several, waiters, range(ASYNC))
    for first in range(0, PROCESSES, BATCH):
        for number in range(first, first + BATCH):
            start(waiters.run, number)

        async def connected(expected: int = ASYNC + SYNC + first + BATCH) -> bool:
            return await waiters.count(client, "watcher_websocket_connections") >= expected

        await eventually(connected, timeout=60, what=f"{first + BATCH} processes to be there")
    await waiters.until_all_wait(client)
    assert not any(thread.done() for thread in threads)


async def several(waiters: Waiters, connections: Iterable[int]) -> None:
    """All that wait in one async program."""
    async with anyio.create_task_group() as group:
        for first in connections:
            group.start_soon(over_one_connection, waiters, range(first, CLIENTS, ASYNC))


async def over_one_connection(waiters: Waiters, numbers: Iterable[int]) -> None:
    """Many waits over one connection."""
    async with watcher.connect(waiters.url) as client, anyio.create_task_group() as group:
        for number in numbers:
            group.start_soon(waiters.wait, client, number)


@pytest.mark.slow
async def test_all_who_wait_get_their_results_though_the_relay_is_killed() -> None:
    port = free_port()
    waiters = Waiters(f"http://127.0.0.1:{port}")
    expected = {number: number * 2 for number in range(CLIENTS)}
    with valkey_server() as server:
        env = {"CELERY_BROKER_URL": server.url(15), "CELERY_RESULT_BACKEND": server.url(14)}

        async def begin(exits: ExitStack) -> Relay:
            return await run_sync(exits.enter_context, relay(APP, port=port, env=env))

        async with httpx.AsyncClient() as client, anyio.create_task_group() as group:
            with ExitStack() as processes, ExitStack() as exits:
                running = await begin(processes)
                await come(waiters, exits, group.start_soon, client)
                for _ in range(KILLS):
                    running.kill()
                    running = await begin(processes)
                    await waiters.until_all_wait(client)
                await run_sync(processes.enter_context, worker(APP, env=env))
                await eventually(
                    lambda: len(waiters.results["async"]) > CLIENTS // 10, timeout=60, what="the first results"
                )
                running.kill()
                assert any(len(found) < CLIENTS for found in waiters.results.values()), "all were done already"
                await begin(processes)
                await eventually(
                    lambda: all(found.keys() == expected.keys() for found in waiters.results.values()),
                    timeout=120,
                    what="all results",
                )
    assert waiters.results == dict.fromkeys(waiters.results, expected)
