"""The HTTP API over a real relay with a real journal and broker."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest
from celery import Celery
from msgspec import Raw

from tests.relay.serving import append, is_problem, known, serving
from tests.relay.support import celery_app
from tests.support.events import event
from tests.support.processes import free_port
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio


async def test_submit_answers_with_where_the_task_is(valkey: Valkey, app: Celery) -> None:
    async with serving(valkey.url(), app) as (client, relay):
        response = await client.post("/api/tasks", json={"task": "tasks.add", "args": [1, 2]})
        assert response.status_code == 202
        body = response.json()
        assert body == {
            "id": body["id"], "channel": f"task:{body['id']}", "epoch": relay.hub.history.epoch, "offset": 1,
        }  # fmt: skip
        assert response.headers["location"] == f"/api/tasks/{body['id']}"
        task = await client.get(response.headers["location"])
        assert task.status_code == 200
        assert task.json()["state"] == "PENDING"
        assert (task.headers["watcher-epoch"], task.headers["watcher-offset"]) == (body["epoch"], "1")
        assert task.headers["cache-control"] == "no-store"


async def test_submit_again_with_the_same_key_is_the_same_task(valkey: Valkey, app: Celery) -> None:
    async with serving(valkey.url(), app) as (client, _):

        async def submit(*args: int, key: str = "k") -> httpx.Response:
            body = {"task": "tasks.add", "args": args}
            return await client.post("/api/tasks", json=body, headers={"Idempotency-Key": key})

        first = await submit(1, 2)
        assert (await submit(1, 2)).json() == first.json()
        body = is_problem(await submit(1, 3), 422, "'k' was used for another request")
        assert body["title"] == "already used"
        is_problem(await submit(1, 2, key=""), 400, "idempotency key")


async def test_prefer_wait_answers_with_the_task_once_it_is_final(valkey: Valkey, app: Celery) -> None:
    async with serving(valkey.url(), app) as (client, relay):
        answers: list[httpx.Response] = []

        async def submit(wait: str) -> None:
            body = {"task": "tasks.add", "args": [1, 2], "options": {"task_id": "t"}}
            answers.append(await client.post("/api/tasks", json=body, headers={"Prefer": wait}))

        await submit("respond-async, wait=0")
        waited = answers.pop()
        assert waited.status_code == 202
        assert (waited.json()["state"], waited.json()["queue"]) == ("PENDING", "celery")
        async with anyio.create_task_group() as group:
            group.start_soon(submit, "respond-async, wait=20")
            await eventually(relay.hub.subscribers, what="the request to wait")
            append(valkey, event("t", "STARTED", 9e9, root_id="t"))
            append(valkey, event("t", "SUCCESS", 9e9 + 1, root_id="t"))
        (response,) = answers
        assert response.status_code == 200
        assert (response.json()["state"], response.json()["final"]) == ("SUCCESS", True)
        assert response.headers["preference-applied"] == "wait=20"
        assert response.headers["location"] == "/api/tasks/t"
        assert not relay.hub.subscribers()


@pytest.mark.parametrize("prefer", ["", "wait", "wait=abc", "wait=-1", "await=5", "respond-async"])
async def test_a_preference_that_cannot_be_read_is_none(valkey: Valkey, app: Celery, prefer: str) -> None:
    async with serving(valkey.url(), app) as (client, _):
        body = {"task": "tasks.add", "args": [1, 2]}
        response = await client.post("/api/tasks", json=body, headers={"Prefer": prefer})
    assert response.status_code == 202
    assert "preference-applied" not in response.headers


async def test_what_is_wrong_with_a_submission_is_a_problem(valkey: Valkey, app: Celery) -> None:
    async with serving(valkey.url(), app) as (client, _):

        async def post(content: str | bytes, **headers: str) -> httpx.Response:
            told = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
            return await client.post("/api/tasks", content=content, headers=told)

        is_problem(await post("{"), 400, "expected")
        is_problem(await post(""), 400, "expected")
        is_problem(await post('{"task": "tasks.add", "foo": 1}'), 400, "unknown field `foo`")
        assert is_problem(await post('{"task": "nope"}'), 422, "'nope'")["title"] == "unknown task"
        is_problem(
            await post('{"task": "task.add"}'), 422, "no task 'task.add' is registered; did you mean 'tasks.add'?"
        )
        body = is_problem(await post('{"task": "tasks.add", "args": [1]}'), 422, "argument 'y': is required")
        assert body["argument"] == "y"
        is_problem(await post('{"task": "tasks.add", "args": [1, 2], "options": {"exchange": "x"}}'), 422, "'exchange'")
        is_problem(await post("a=1", Content_Type="application/x-www-form-urlencoded"), 415, "application/json")
        is_problem(await post("{}", Content_Type="text/plain"), 415, "application/json")
        is_problem(await post(b"[" + b" " * (1024 * 1024)), 413, "1048576")

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(200):
                yield b" " * 10_000

        response = await client.post("/api/tasks", content=endless(), headers={"Content-Type": "application/json"})
        is_problem(response, 413, "1048576")
        assert (
            await post('{"task": "tasks.add", "args": [1, 2]}', Content_Type="application/json; charset=utf-8")
        ).is_success


async def test_without_an_app_there_is_nothing_to_submit_to(valkey: Valkey) -> None:
    async with serving(valkey.url()) as (client, _):
        is_problem(await client.post("/api/tasks", json={"task": "x"}), 501, "without a Celery app")
        is_problem(await client.get("/api/registry"), 501, "without a Celery app")
        is_problem(await client.post("/api/tasks/x/revoke"), 501, "without a Celery app")
        assert (await client.get("/api/tasks")).json()["tasks"] == []


async def test_more_submissions_than_can_wait_are_a_429(valkey: Valkey, app: Celery) -> None:
    async with serving(valkey.url(), app) as (client, relay):
        relay.gateway._batcher._bound = 2
        answers: list[httpx.Response] = []

        async def submit() -> None:
            answers.append(await client.post("/api/tasks", json={"task": "tasks.add", "args": [1, 2]}))

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(submit)
        refused = [answer for answer in answers if answer.status_code != 202]
        assert 0 < len(refused) < 50
        for answer in refused:
            is_problem(answer, 429, "too many submissions")
            assert answer.headers["retry-after"] == "1"


async def test_broker_away_is_a_503_that_says_what_became_of_the_task(valkey: Valkey) -> None:
    app = celery_app(f"redis://127.0.0.1:{free_port()}/15")
    async with serving(valkey.url(), app) as (client, _):
        response = await client.post("/api/tasks", json={"task": "tasks.add", "args": [1, 2]})
        assert is_problem(response, 503, "broker")["submitted"] == "no"
        assert response.headers["retry-after"] == "1"
        body = is_problem(await client.post("/api/tasks/x/revoke"), 503, "broker")
        assert "submitted" not in body


async def test_redis_away_is_a_503_within_three_seconds(valkey: Valkey, app: Celery) -> None:
    with valkey_server() as other:
        async with serving(other.url(), app) as (client, _):
            with other.frozen():
                start = anyio.current_time()
                response = await client.post("/api/tasks", json={"task": "tasks.add", "args": [1, 2]})
                assert anyio.current_time() - start < 3
            assert is_problem(response, 503, "Redis")["submitted"] == "no"


async def test_get_waits_for_the_end(valkey: Valkey) -> None:
    async with serving(valkey.url()) as (client, relay):
        append(valkey, event("a/b", "STARTED", 1.0))
        await known(relay, "a/b", "STARTED")
        answers: list[httpx.Response] = []

        async def get(path: str) -> None:
            answers.append(await client.get(path))

        await get("/api/tasks/a/b?wait=0.05")
        assert answers.pop().json()["state"] == "STARTED"
        async with anyio.create_task_group() as group:
            group.start_soon(get, "/api/tasks/a%2Fb?wait=20")
            await eventually(relay.hub.subscribers, what="the request to wait")
            append(valkey, event("a/b", "PROGRESS", 2.0))
            append(valkey, event("a/b", "FAILURE", 3.0))
        assert (answers[0].status_code, answers[0].json()["state"]) == (200, "FAILURE")
        assert answers[0].headers["watcher-offset"] == "3"
        assert not relay.hub.subscribers()
        start = anyio.current_time()
        assert (await client.get("/api/tasks/a/b?wait=60")).json()["state"] == "FAILURE"
        assert anyio.current_time() - start < 1


async def test_a_waiting_request_is_answered_when_the_relay_stops(valkey: Valkey) -> None:
    async with serving(valkey.url()) as (client, relay):
        append(valkey, event("t", "STARTED", 1.0))
        await known(relay, "t", "STARTED")
        answers: list[httpx.Response] = []

        async def get() -> None:
            answers.append(await client.get("/api/tasks/t?wait=60"))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(get)
                await eventually(relay.hub.subscribers, what="the request to wait")
                relay.draining = True
                for subscriber in relay.hub.subscribers():
                    subscriber.restart()
        assert answers[0].json()["state"] == "STARTED"


async def test_an_unknown_task_is_not_found_and_not_waited_for(valkey: Valkey, app: Celery) -> None:
    async with serving(valkey.url(), app) as (client, _):
        start = anyio.current_time()
        assert is_problem(await client.get("/api/tasks/x?wait=30"), 404, "task not found")["title"] == "not found"
        assert anyio.current_time() - start < 3


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("wait=abc", "'wait'"),
        ("wait=-1", "'wait'"),
        ("wait=", "'wait'"),
        ("wait=1e5", "'wait'"),
        ("wait=nan", "'wait'"),
        ("wait=1&wait=2", "'wait'"),
        ("foo=1", "'foo'"),
    ],
)
async def test_a_bad_wait_is_a_problem(valkey: Valkey, query: str, detail: str) -> None:
    async with serving(valkey.url()) as (client, _):
        is_problem(await client.get(f"/api/tasks/x?{query}"), 400, detail)


async def test_list_is_newest_first_filtered_and_paged(valkey: Valkey) -> None:
    async with serving(valkey.url()) as (client, relay):
        for number in range(10):
            name, tag = ("even" if number % 2 == 0 else "odd"), f"third:{number % 3}"
            append(
                valkey, event(f"t{number}", timestamp=float(number), name=name, tags=(tag,), root_id=f"r{number // 5}")
            )
        append(valkey, event("t0", "SUCCESS", 20.0, name="even", tags=("third:0",), root_id="r0", group_id="g"))
        await known(relay, "t0", "SUCCESS")

        async def ids(query: str = "") -> list[str]:
            response = await client.get(f"/api/tasks{query}")
            assert response.status_code == 200
            return [task["id"] for task in response.json()["tasks"]]

        assert await ids() == ["t0", "t9", "t8", "t7", "t6", "t5", "t4", "t3", "t2", "t1"]
        assert await ids("?name=odd") == ["t9", "t7", "t5", "t3", "t1"]
        assert await ids("?state=SUCCESS") == ["t0"]
        assert await ids("?state=a state of its own") == []
        assert len(await ids("?state=SUCCESS&state=PENDING")) == 10
        assert await ids("?tag=third:0") == ["t0", "t9", "t6", "t3"]
        assert await ids("?root=r1&name=even") == ["t8", "t6"]
        assert await ids("?group=g") == ["t0"]
        assert await ids("?name=nothing") == []
        first = (await client.get("/api/tasks?limit=4")).json()
        assert [task["id"] for task in first["tasks"]] == ["t0", "t9", "t8", "t7"]
        assert (first["epoch"], first["offset"]) == (relay.hub.history.epoch, 11)
        assert await ids(f"?before={first['next']}") == ["t6", "t5", "t4", "t3", "t2", "t1"]
        assert (await client.get("/api/tasks")).json()["next"] is None


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("limit=0", "parameter 'limit': must be a whole number from 1 to 1000, not '0'"),
        ("limit=1001", "'limit'"),
        ("limit=x", "'limit'"),
        ("limit=1&limit=2", "parameter 'limit': may be given once"),
        ("limit=" + "1" * 5000, "'limit'"),
        ("before=-1", "'before'"),
        ("before=١", "'before'"),
        ("sate=SUCCESS", "parameter 'sate': is unknown; accepted are filter, "),
        ("state=", "parameter 'state': must not be empty"),
        ("state=FAILED", "parameter 'state': no such state 'FAILED', did you mean FAILURE?"),
        ("state=PENDING&state=success", "did you mean SUCCESS?"),
        ("&".join(["state=PENDING"] * 101), "parameter 'state': may be given 100 times at most"),
        ("name=a&name=b", "'name'"),
    ],
)
async def test_a_bad_parameter_is_named(valkey: Valkey, query: str, detail: str) -> None:
    async with serving(valkey.url()) as (client, _):
        is_problem(await client.get(f"/api/tasks?{query}"), 400, detail)


async def test_registry(valkey: Valkey, app: Celery) -> None:
    async with serving(valkey.url(), app) as (client, _):
        tasks = (await client.get("/api/registry")).json()["tasks"]
    (task,) = [task for task in tasks if task["name"] == "tasks.add"]
    assert (task["name"], task["signature"], task["doc"]) == (
        "tasks.add", "(x: float, y: float) -> float", "Return the sum.",
    )  # fmt: skip
    assert task["parameters"][0] == {
        "name": "x", "kind": "positional_or_keyword", "required": True, "annotation": "float",
    }  # fmt: skip


async def test_revoke(valkey: Valkey, app: Celery) -> None:
    async with serving(valkey.url(), app) as (client, _):
        assert ((await client.post("/api/tasks/x/revoke")).status_code) == 202
        response = await client.post("/api/tasks/x/revoke", json={"terminate": True})
        assert (response.status_code, response.json()) == (202, {})
        is_problem(await client.post("/api/tasks/x/revoke", json={"signal": "KILL"}), 400, "unknown field `signal`")
        is_problem(await client.post("/api/tasks/x/revoke", json={"terminate": "yes"}), 400, "Expected `bool`")


async def test_health_and_readiness(valkey: Valkey) -> None:
    async with serving(valkey.url()) as (client, relay):
        for path in ("/healthz", "/readyz"):
            # A load balancer asks by address.
            assert (await client.get(path, headers={"Host": "10.1.2.3:5556"})).status_code == 200
        relay.draining = True
        assert (await client.get("/healthz")).status_code == 200
        is_problem(await client.get("/readyz"), 503, "draining")


async def test_the_router_answers_with_problems_too(valkey: Valkey) -> None:
    async with serving(valkey.url()) as (client, _):
        for path in ("/nothing", "/api/nothing", "/index.html/x", "/..%2fpyproject.toml", "/api/tasks/"):
            is_problem(await client.get(path), 404, "")
        response = await client.delete("/api/tasks/x")
        is_problem(response, 405, "DELETE is not allowed at this address")
        assert "GET" in response.headers["allow"]
        is_problem(await client.post("/"), 405, "POST")
        is_problem(await client.put("/api/registry"), 405, "PUT")


async def test_head_matches_get_and_options_is_only_for_preflight(valkey: Valkey) -> None:
    async with serving(valkey.url()) as (client, _):
        for path in ("/", "/api/tasks", "/api/openapi.json", "/healthz", "/metrics"):
            head, get = await client.head(path), await client.get(path)
            assert (head.status_code, head.headers["content-type"]) == (200, get.headers["content-type"])
        assert (await client.head("/api/tasks/nobody")).status_code == 404
        response = await client.options("/api/tasks")
        is_problem(response, 405, "OPTIONS is not allowed at this address")
        assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


async def test_what_nobody_foresaw_is_a_problem_without_a_traceback(valkey: Valkey) -> None:
    async with serving(valkey.url()) as (client, relay):
        del relay.feed
        response = await client.get("/readyz")
        is_problem(response, 500, "its log says why")
        assert "feed" not in response.text
        assert "content-security-policy" in response.headers


async def test_values_of_tasks_are_passed_on_as_they_are(valkey: Valkey) -> None:
    value = Raw(json.dumps({"markup": "<script>alert(1)</script>", "big": 2**60}).encode())
    async with serving(valkey.url()) as (client, relay):
        append(valkey, event("t", "SUCCESS", 1.0, result=value))
        await known(relay, "t", "SUCCESS")
        response = await client.get("/api/tasks/t")
    assert response.headers["content-type"] == "application/json"
    assert response.json()["result"] == {"markup": "<script>alert(1)</script>", "big": 2**60}


async def test_a_result_is_had_bare_and_whole(valkey: Valkey, app: Celery) -> None:
    async with serving(valkey.url(), app) as (client, relay):
        append(valkey, event("small", "SUCCESS", 1.0, result=Raw(b'{"a":[1]}')))
        append(valkey, event("large", "SUCCESS", 1.0, result_size=100_000))
        append(valkey, event("gone", "SUCCESS", 1.0, result_size=100_000))
        append(valkey, event("odd", "SUCCESS", 1.0, result=Raw(b'"<x>"'), result_repr=True))
        append(valkey, event("ignored", "IGNORED", 1.0))
        append(valkey, event("failed", "FAILURE", 1.0))
        await known(relay, "failed", "FAILURE")
        await anyio.to_thread.run_sync(app.backend.store_result, "large", "x" * 100_000, "SUCCESS")
        small = await client.get("/api/tasks/small/result")
        assert (small.status_code, small.json(), small.headers["content-type"]) == (200, {"a": [1]}, "application/json")
        assert (await client.get("/api/tasks/large/result")).json() == "x" * 100_000
        is_problem(await client.get("/api/tasks/gone/result"), 410, "no longer stored")
        is_problem(await client.get("/api/tasks/odd/result"), 415, "not JSON")
        is_problem(await client.get("/api/tasks/ignored/result"), 410, "ignored its result")
        is_problem(await client.get("/api/tasks/failed/result"), 409, "FAILURE")
        is_problem(await client.get("/api/tasks/nobody/result"), 404, "task not found")
