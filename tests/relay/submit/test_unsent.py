"""What was not sent by the task's own code, told over HTTP, a WebSocket, the command line and in Python."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

import watcher
from tests.cli.calls import run
from tests.relay.support import SECRET
from tests.support.client import client
from tests.support.processes import Relay, relay, worker
from tests.support.valkey import Valkey, valkey_server
from watcher.client import RelayRefused, TaskRejected
from watcher.core.permissions import issue

pytestmark = pytest.mark.anyio

APP = "tests.relay.unsent"


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with valkey_server() as running:
        yield running


@pytest.fixture(scope="module")
def env(server: Valkey) -> dict[str, str]:
    return {"CELERY_BROKER_URL": server.url(15), "CELERY_RESULT_BACKEND": server.url(14)}


@pytest.fixture(scope="module")
def serving(env: dict[str, str]) -> Iterator[Relay]:
    with worker(APP, "-I", "watcher.worker", pool="solo", env=env), relay(APP, env=env) as running:
        yield running


@pytest.fixture
def held(server: Valkey) -> Iterator[str]:
    """The id of a task that ended long ago, and holds the lock of those that come after it."""
    with server.client(14) as redis:
        for name in ("own.singleton", "own.refusing"):
            redis.set(f"lock:{name}", "first")
        yield "first"


async def test_over_http(serving: Relay, held: str) -> None:
    async with httpx.AsyncClient(base_url=serving.url) as http:
        await http.post("/api/tasks", json={"task": "own.later", "options": {"task_id": held}})
        submitted = {"task": "own.singleton", "args": [5], "options": {"task_id": "second"}}
        answer = await http.post("/api/tasks", json=submitted)
        told = answer.json()
        assert (answer.status_code, told["id"], told["channel"], told["existing"]) == (202, held, f"task:{held}", True)
        assert answer.headers["location"] == f"/api/tasks/{held}"
        second = (await http.get("/api/tasks/second?wait=10")).json()
        assert (second["state"], second["reason"], second["final"]) == ("REJECTED", "not_sent", True)
        answer = await http.post("/api/tasks", json={"task": "own.refusing"}, headers={"Prefer": "wait=10"})
        assert answer.json() == {
            "type": "urn:celery-watcher:not-sent",
            "title": "not sent",
            "status": 409,
            "detail": "own.refusing was not sent: AlreadyQueued: it is first",
            "submitted": "no",
            "id": "first",
        }
        answer = await http.post(
            "/api/tasks", json={"task": "own.renaming", "args": [7]}, headers={"Prefer": "wait=10"}
        )
        assert (answer.status_code, answer.json()["state"], answer.json()["result"]) == (200, "SUCCESS", 7)
        assert answer.json()["id"].startswith("own-")


async def test_over_a_websocket(serving: Relay, held: str) -> None:
    async with client(serving.ws_url) as connection:
        reply = await connection.ask(rpc={"method": "submit", "data": {"task": "own.refusing"}})
        error = {"code": 409, "message": "own.refusing was not sent: AlreadyQueued: it is first"}
        assert reply["error"] == error
        told = await connection.rpc("submit", task="own.singleton")
        assert (told["id"], told["existing"]) == (held, True)


def test_on_the_command_line(serving: Relay, held: str) -> None:
    code, out, err = run("submit", "own.graceful", url=serving.url)
    assert (code, out, err) == (4, "", "watcher: own.graceful was not sent: its own apply_async sent nothing\n")
    assert run("submit", "--no-wait", "own.singleton", url=serving.url) == (0, f"{held}\n", "")
    assert run("submit", "own.renaming", "3", url=serving.url) == (0, "3\n", "")
    code, out, err = run("submit", "own.refusing", "-", stdin="[1]\n[2]\n", url=serving.url)
    assert (code, out, len(err.splitlines())) == (4, "\n\n", 2)
    assert "line 2: own.refusing was not sent: AlreadyQueued" in err


async def test_in_python(serving: Relay, held: str) -> None:
    async with watcher.connect(serving.url) as connected:
        with pytest.raises(RelayRefused, match="AlreadyQueued") as caught:
            _ = await connected.submit("own.refusing", 1)
        assert caught.value.code == 409
        standing = await connected.submit("own.singleton", 1)
        assert (standing.id, standing.sent) == (held, None)
        renamed = await connected.options(task_id="other").submit("own.renaming", 4)
        assert (renamed.id, await renamed.result(10)) == ("own-other", 4)
        with pytest.raises(TaskRejected, match="not_sent"):
            _ = await connected.task("other").result(10)
        found = [each async for each in connected.map("own.renaming", [1, 2, 3])]
        assert found == [1, 2, 3]
        found = [each async for each in connected.map("own.graceful", [1, 2], return_exceptions=True)]
        assert [type(each) for each in found] == [RelayRefused, RelayRefused]


async def test_what_stands_for_it_is_shown_only_to_who_may_see_it(
    env: dict[str, str], server: Valkey, held: str
) -> None:
    with server.client(14) as redis:  # it has ended, and would be shown at once
        redis.set(f"celery-task-meta-{held}", '{"status": "SUCCESS", "result": "theirs"}')
    submit, everything = (issue(SECRET, subject="me", submit=["*"], watch=watch) for watch in ((), ("*",)))
    with relay(APP, env={**env, "WATCHER_SECRET": SECRET, "WATCHER_NAMESPACE": "rights"}) as guarded:
        async with httpx.AsyncClient(base_url=guarded.url) as http:

            async def ask(token: str) -> httpx.Response:
                # Longer than the client has patience: what may not be seen is not waited for, as its end would be told.
                headers = {"Authorization": f"Bearer {token}", "Prefer": "wait=30"}
                return await http.post("/api/tasks", json={"task": "own.singleton"}, headers=headers)

            answer = await ask(submit)
            assert (answer.status_code, answer.json()["id"], answer.json().get("token")) == (202, held, None)
            answer = await ask(everything)
            assert (answer.status_code, answer.json()["id"], answer.json()["result"]) == (200, held, "theirs")
