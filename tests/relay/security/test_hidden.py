"""A task that may not be seen and one that isn't there cost the same, and are the same where the backend is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.relay.serving import append, known, listening
from tests.relay.support import SECRET, celery_app
from tests.support.client import client as websocket
from tests.support.events import event
from tests.support.tokens import lasting
from tests.support.valkey import Valkey, valkey_server
from watcher.core.settings import Settings
from watcher.relay.websocket.handshake import PATH

pytestmark = pytest.mark.anyio

#: Nothing; another task; tags and names by a glob, so that what is stored must be looked at.
TOKENS = {
    "nothing": lasting(SECRET, sub="me"),
    "another": lasting(SECRET, sub="me", watch=["task:mine"]),
    "globs": lasting(SECRET, sub="me", watch=["tag:mine*", "name:mine.*"]),
}
#: In the history and stored; in the history only; stored only; nowhere.
HIDDEN_ONES = ("both", "told", "stored")
MISSING = "missing"


async def answers(http: httpx.AsyncClient, token: str, identity: str) -> list[Any]:
    """What each way to ask for one task is answered."""
    said: list[Any] = []
    for path in ("", "?wait=0", "?wait=5", "/result"):
        response = await http.get(f"/api/tasks/{identity}{path}", headers={"Authorization": f"Bearer {token}"})
        told = {name: response.headers.get(name) for name in ("watcher-offset", "retry-after", "content-length")}
        said.append((response.status_code, told, response.text))
    url = str(http.base_url).replace("http", "ws", 1)
    async with websocket(url + PATH, token=token) as talking:
        reply = await talking.ask(rpc={"method": "get", "data": {"id": identity}})
        said.append({name: value for name, value in reply.items() if name != "id"})
    return said


@contextmanager
def commands(server: Valkey) -> Iterator[dict[str, int]]:
    """How often each command was called in the block, by whomever."""
    counted: dict[str, int] = {}
    with server.client() as redis:
        before = calls(redis)
        yield counted
        after = calls(redis)
    counted.update({name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)})


def calls(redis: Redis) -> dict[str, int]:
    """Of the commands that a look-up takes: the relay does other things beside."""
    told: Any = redis.info("commandstats")
    counted = {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in told.items()}
    return {name: counted.get(name, 0) for name in ("get", "mget", "evalsha", "exists", "hget", "xrange")}


async def test_what_may_not_be_seen_costs_what_is_not_there() -> None:
    with valkey_server() as server, valkey_server() as backend:
        append(server, *[event(name, "SUCCESS", 1.0, name="n", tags=("theirs",)) for name in ("both", "told")])
        with backend.client(14) as redis:
            for name in ("both", "stored"):
                redis.set(f"celery-task-meta-{name}", b'{"status":"SUCCESS","result":5}')
        app = celery_app(server.url(15), backend.url(14))
        async with listening(server.url(), app, Settings(secret=SECRET)) as (http, relay):
            await known(relay, "told", "SUCCESS")
            await answers(http, TOKENS["globs"], MISSING)  # the first one loads scripts
            for name, token in TOKENS.items():
                found = {}
                for identity in (*HIDDEN_ONES, MISSING):
                    with commands(server) as asked, commands(backend) as looked_up:
                        said = await answers(http, token, identity)
                    found[identity] = (said, asked, looked_up)
                    statuses = [each[0] for each in said[:-1]]
                    assert (statuses, said[-1]) == ([404] * 4, {"rpc": {"data": {"task": None}}})
                assert all(found[identity] == found[MISSING] for identity in HIDDEN_ONES), found
                assert bool(found[MISSING][1]) is bool(found[MISSING][2]) is (name != "nothing")
            backend.kill()
            for name in ("nothing", "globs"):
                said = [await answers(http, TOKENS[name], identity) for identity in ("both", MISSING)]
                assert said[0] == said[1], said
                assert [each[0] for each in said[0][:-1]] == [404 if name == "nothing" else 503] * 4
