"""From the Celery signal to the WebSocket: every road in, every state out, in every pool."""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any

import pytest

from tests.support.client import Client, client
from tests.support.processes import Relay, program, relay, worker
from tests.support.ways import by_the_end

pytestmark = pytest.mark.anyio

#: In the journal in any order but for the end: sender, worker and its child are three processes.
WAY = ["PENDING", "RECEIVED", "STARTED", "SUCCESS"]


def post(url: str, body: Any) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.status, json.load(response)


async def ends_well(watching: Client, identity: str, result: Any) -> None:
    ended = await watching.until_final(identity)
    assert (ended["state"], ended["result"], ended["source"]) == ("SUCCESS", result, "signal")


async def test_over_the_websocket(running: Relay) -> None:
    async with client(running.ws_url) as watching:
        await watching.subscribe("tasks")
        sent = await watching.rpc("submit", task="tasks.add", args=[2, 3])
        await ends_well(watching, sent["id"], 5)
        assert by_the_end(watching.states(sent["id"])) == by_the_end(WAY)
        assert sent["channel"] == f"task:{sent['id']}"


async def test_over_http(running: Relay) -> None:
    async with client(running.ws_url) as watching:
        await watching.subscribe("tasks")
        status, sent = post(f"{running.url}/api/tasks", {"task": "tasks.add", "args": [20, 3]})
        assert status == 202
        await ends_well(watching, sent["id"], 23)
        assert by_the_end(watching.states(sent["id"])) == by_the_end(WAY)


async def test_by_delay_in_another_process(running: Relay, env: dict[str, str]) -> None:
    code = "from tasks import test; r = test.delay(7); print(r.id); assert r.get(timeout=10) == 8; assert r.ready()"
    async with client(running.ws_url) as watching:
        await watching.subscribe("tasks")
        with program(sys.executable, "-c", code, env=env) as script:
            assert script.wait() == 0, script.output
            identity = script.stdout.strip()
        await ends_well(watching, identity, 8)
        assert sorted(by_the_end(watching.states(identity))) == sorted(by_the_end(WAY))


async def test_progress_is_seen_on_the_way(running: Relay) -> None:
    async with client(running.ws_url) as watching:
        await watching.subscribe("name:tasks.count_primes")
        sent = await watching.rpc("submit", task="tasks.count_primes", kwargs={"limit": 300000})
        await watching.until_final(sent["id"], "name:tasks.count_primes")
        told = [e for _, e in watching.publications("name:tasks.count_primes") if e["state"] == "PROGRESS"]
        assert told
        assert all(set(event["meta"]) >= {"current", "total"} for event in told)


async def test_whoever_comes_after_the_submission_has_the_task(running: Relay) -> None:
    async with client(running.ws_url) as one, client(running.ws_url) as other:
        for _ in range(20):
            sent = await one.rpc("submit", task="tasks.add", args=[1, 1])
            assert (await other.rpc("get", id=sent["id"]))["task"]["id"] == sent["id"]
            found = await other.subscribe(sent["channel"], recover=True, epoch="", offset=0)
            assert found["data"]["task"]["id"] == sent["id"]
            assert found["recovered"]
            assert found["publications"][0]["data"]["state"] == "PENDING"


async def test_a_failure_says_what_was_raised(running: Relay) -> None:
    async with client(running.ws_url) as watching:
        await watching.subscribe("name:tasks.fail")
        sent = await watching.rpc("submit", task="tasks.fail", args=["no luck"])
        ended = await watching.until_final(sent["id"], "name:tasks.fail")
        assert ended["state"] == "FAILURE"
        assert ended["exception"]["message"].endswith("no luck")
        assert "Traceback" in ended["exception"]["traceback"]
        assert (await watching.rpc("get", id=sent["id"]))["task"]["exception"] == ended["exception"]


async def test_a_task_nobody_knows_is_null(running: Relay) -> None:
    async with client(running.ws_url) as watching:
        assert (await watching.rpc("get", id="nobody")) == {"task": None}
        assert (await watching.subscribe("task:nobody"))["data"] == {"task": None}


async def test_two_relays_on_one_redis_say_the_same(running: Relay, env: dict[str, str]) -> None:
    with relay("tasks", env=env) as other:
        async with client(running.ws_url) as one, client(other.ws_url) as two:
            await one.subscribe("tasks")
            await two.subscribe("tasks")
            sent = [await each.rpc("submit", task="tasks.add", args=[1, 2]) for each in (one, two) * 10]
            for each in sent:
                await one.until_final(each["id"])
                await two.until_final(each["id"])
            assert one.publications() == two.publications()


async def test_a_client_moves_between_relays_without_a_gap(running: Relay, env: dict[str, str]) -> None:
    with relay("tasks", env=env) as other:
        async with client(running.ws_url) as watching:
            position = await watching.subscribe("tasks")
            sent = await watching.rpc("submit", task="tasks.add", args=[1, 2])
            await watching.until_final(sent["id"])
            seen = watching.publications()
        async with client(other.ws_url) as watching:
            await watching.rpc("submit", task="tasks.add", args=[3, 4])
            back = await watching.subscribe("tasks", recover=True, epoch=position["epoch"], offset=seen[-1][0])
            assert back["recovered"]


async def test_a_task_that_waits_is_known_after_a_restart_of_the_relay(env: dict[str, str]) -> None:
    settings = {**env, "WATCHER_HISTORY": "1000"}
    with relay("tasks", env=settings) as first:
        async with client(first.ws_url) as watching:
            waiting = await watching.rpc("submit", task="tasks.add", args=[1, 1], options={"queue": "nobody-serves"})
            for _ in range(6):
                numbers = [
                    await watching.send(rpc={"method": "submit", "data": {"task": "tasks.add", "args": [1, 1]}})
                    for _ in range(60)
                ]
                for number in numbers:
                    await watching.answer(number)
    with relay("tasks", env=settings) as second:
        async with client(second.ws_url) as watching:
            task = (await watching.rpc("get", id=waiting["id"]))["task"]
            assert (task["state"], task["queue"], task["args"]) == ("PENDING", "nobody-serves", [1, 1])


@pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
async def test_every_pool_tells_the_same_story(pool: str, running: Relay, env: dict[str, str]) -> None:
    queue = f"pool-{pool}"
    with worker("tasks", "-Q", queue, "-n", f"{pool}@%h", pool=pool, env=env):
        async with client(running.ws_url) as watching:
            await watching.subscribe("tasks")
            sent = await watching.rpc("submit", task="tasks.add", args=[4, 5], options={"queue": queue})
            await ends_well(watching, sent["id"], 9)
            assert sorted(watching.states(sent["id"])) == sorted(WAY)


async def test_a_worker_without_a_line_of_code_in_the_app_is_watched(running: Relay, env: dict[str, str]) -> None:
    with worker("tests.support.plain", "-I", "watcher.worker", "-Q", "plain", "-n", "plain@%h", env=env):
        code = "from tests.support.plain import double; print(double.apply_async((4,), queue='plain').id)"
        async with client(running.ws_url) as watching:
            await watching.subscribe("name:plain.double")
            with program(sys.executable, "-c", code, env=env) as script:
                assert script.wait() == 0, script.output
                identity = script.stdout.strip()
            await watching.until_final(identity, "name:plain.double")
            assert by_the_end(watching.states(identity, "name:plain.double")) == by_the_end(WAY[1:])


async def test_revoking_a_running_task_ends_it(running: Relay) -> None:
    async with client(running.ws_url) as watching:
        await watching.subscribe("tasks")
        sent = await watching.rpc("submit", task="tasks.sleep", args=[60])
        await watching.until(lambda: "STARTED" in watching.states(sent["id"]), "the task to start")
        assert await watching.rpc("revoke", id=sent["id"], terminate=True) == {}
        ended = await watching.until_final(sent["id"])
        assert (ended["state"], ended["reason"]) == ("REVOKED", "terminated")
