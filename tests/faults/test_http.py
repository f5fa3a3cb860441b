"""Relays that die under clients that have nothing but HTTP, and wait."""

from __future__ import annotations

import random
import ssl
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import anyio
import httpx
import pytest
from anyio.to_thread import run_sync

from tests.faults.size import LONG, chance
from tests.faults.stage import APP
from tests.support.processes import free_port, relay, worker
from tests.support.sse import EventSource
from tests.support.valkey import valkey_server
from tests.support.waiting import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

#: Clients of each kind, and how often the relay is killed under them before any task has ended, and while they end.
CLIENTS = 200 if LONG else 60
KILLS = 5 if LONG else 1
#: Each client has a pool of its own: one of 600 connections would be busy with itself. Making this takes a while.
_TLS = ssl.create_default_context()
_ENDS = {"SUCCESS", "FAILURE", "REVOKED", "REJECTED", "IGNORED"}


class Waiters:
    """What each client has got in the end, by its number."""

    def __init__(self, url: str, dice: random.Random) -> None:
        self.url = url
        self.dice = dice
        self.results: dict[str, dict[int, Any]] = {"submit": {}, "get": {}, "sse": {}}
        self.streams: list[EventSource] = []
        self.lost = 0

    async def order(self, client: httpx.AsyncClient, numbers: Iterable[int]) -> None:
        """Submit what the others wait for."""

        async def submit(kind: str, number: int) -> None:
            body = {"task": "work", "args": [0.001, number], "options": {"task_id": f"{kind}-{number}"}}
            assert (await client.post(f"{self.url}/api/tasks", json=body)).status_code == 202

        for number in numbers:
            async with anyio.create_task_group() as group:
                group.start_soon(submit, "get", number)
                group.start_soon(submit, "sse", number)

    async def until_all_wait(self, client: httpx.AsyncClient) -> None:
        """Wait until the relay counts all of them."""

        async def all_wait() -> bool:
            await anyio.sleep(
                0.2
            )  # counting costs a relay a few milliseconds, which it shouldn't spend all its time on
            try:
                text = (await client.get(f"{self.url}/metrics")).text
            except httpx.TransportError:
                return False
            told = {f"watcher_sse_streams {float(CLIENTS)}", f"watcher_http_requests_waiting {float(2 * CLIENTS)}"}
            return told <= set(text.splitlines())

        await eventually(all_wait, timeout=30, what="all to wait")

    async def submit(self, number: int) -> None:
        """A script with one request: submit and wait. With the same key again it is the same task."""
        body = {"task": "work", "args": [0.001, number], "options": {"task_id": f"submit-{number}"}}
        headers = {"Prefer": "wait=60", "Idempotency-Key": f"key-{number}"}
        while (task := await self._ask("POST", "/api/tasks", json=body, headers=headers)) is None:
            pass
        self.results["submit"][number] = task["result"]

    async def get(self, number: int) -> None:
        """A script that waits for a task of somebody else's."""
        while (task := await self._ask("GET", f"/api/tasks/get-{number}?wait=60")) is None:
            pass
        self.results["get"][number] = task["result"]

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        """The task once it is final; None where it isn't, or nobody answered."""
        try:
            async with httpx.AsyncClient(verify=_TLS) as client:
                response = await client.request(method, self.url + path, timeout=90, **options)
        except httpx.TransportError:
            self.lost += 1
            await anyio.sleep(self.dice.uniform(0.1, 1))
            return None
        assert response.status_code in (200, 202, 503), response.text
        task = response.json()
        if response.status_code == 503:
            await anyio.sleep(float(response.headers["Retry-After"]))
        return task if task.get("final") else None

    async def listen(self, number: int) -> None:
        """What a page has: an EventSource."""
        async with httpx.AsyncClient(verify=_TLS) as client:
            source = EventSource(client, f"{self.url}/api/events?channel=task:sse-{number}")
            self.streams.append(source)
            async for message in source:
                assert message.kind == "message", message
                if message.json["state"] in _ENDS:
                    self.results["sse"][number] = message.json["result"]
                    return


@pytest.mark.slow
async def test_http_waiters_get_all_results_despite_relay_crashes() -> None:
    port = free_port()
    waiters = Waiters(f"http://127.0.0.1:{port}", chance("http"))
    numbers = range(CLIENTS)
    with valkey_server() as server:
        env = {"CELERY_BROKER_URL": server.url(15), "CELERY_RESULT_BACKEND": server.url(14)}
        async with (
            httpx.AsyncClient(verify=_TLS) as client,
            anyio.create_task_group() as all_,
        ):
            with ExitStack() as exits:
                running = await run_sync(exits.enter_context, relay(APP, port=port, env=env))
                await waiters.order(client, numbers)
                for number in numbers:
                    all_.start_soon(waiters.submit, number)
                    all_.start_soon(waiters.get, number)
                    all_.start_soon(waiters.listen, number)
                for _ in range(KILLS):
                    await waiters.until_all_wait(client)
                    running.kill()
                    running = await run_sync(exits.enter_context, relay(APP, port=port, env=env))
                await waiters.until_all_wait(client)
                await run_sync(exits.enter_context, worker(APP, env=env))
                await eventually(
                    lambda: len(waiters.results["sse"]) > CLIENTS // 10, timeout=60, what="the first results"
                )
                running.kill()
                await run_sync(exits.enter_context, relay(APP, port=port, env=env))
                expected = {number: number * 2 for number in numbers}
                await eventually(
                    lambda: all(found.keys() == expected.keys() for found in waiters.results.values()),
                    timeout=90,
                    what="all results",
                )
    assert waiters.results == dict.fromkeys(waiters.results, expected)
    assert waiters.lost >= 2 * CLIENTS * KILLS, "the relay was killed under all of them"
    assert all(stream.connections > KILLS for stream in waiters.streams)
