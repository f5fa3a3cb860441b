"""One submission, repeated on two relays."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync
from redis.asyncio import Redis

from tests.faults.names import RUNS
from tests.faults.size import Size, sized
from tests.faults.stage import Stage, staged
from tests.faults.verdict import nothing_lost
from tests.support.valkey import valkey_server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


def post(url: str, body: Any, key: str | None = None) -> tuple[int, dict[str, Any]]:
    """Submit; status and answer, whichever they are."""
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    request = urllib.request.Request(f"{url}/api/tasks", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


async def submit_everywhere(stage: Stage, number: int, times: int) -> str:
    """Submit one task several times on each relay at once: by key, or by its own id."""
    key = f"key {number}" if number % 2 else None
    options = {} if key else {"task_id": f"given-{number}"}
    body = {"task": "once", "args": [], "options": options}
    answers: list[tuple[int, dict[str, Any]]] = []

    async def ask(url: str) -> None:
        answers.append(await run_sync(post, url, body, key))

    async with anyio.create_task_group() as group:
        for _ in range(times):
            for running in stage.relays:
                group.start_soon(ask, running.url)
    assert {status for status, _ in answers} == {202}, answers
    (identity,) = {answer["id"] for _, answer in answers}
    return str(identity)


@sized(Size(tasks=30, times=2), Size(tasks=2000, seconds=60, times=2))
async def test_the_same_submission_on_two_relays_runs_once(size: Size) -> None:
    with valkey_server() as server:
        async with staged("submitted twice", size, server) as stage:
            for number in range(size.tasks):
                stage.sent[await submit_everywhere(stage, number, size.times)] = "once"
            assert len(stage.sent) == size.tasks
            await nothing_lost(stage)
            async with Redis.from_url(server.url(15)) as broker:
                runs: Any = await broker.hgetall(RUNS)
            assert {identity.decode() for identity in runs} == set(stage.sent)
            assert set(map(int, runs.values())) == {1}
