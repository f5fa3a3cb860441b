"""What clients hear who would have more than they may: over HTTP, over the WebSocket, behind a proxy."""

from __future__ import annotations

import ipaddress
from contextlib import AsyncExitStack

import httpx
import pytest
from celery import Celery
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.relay.serving import is_problem, listening
from tests.relay.support import SECRET
from tests.support.client import client as websocket
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.core.permissions import issue
from watcher.core.settings import Settings
from watcher.relay.node import Node
from watcher.relay.websocket.handshake import PATH

pytestmark = pytest.mark.anyio

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
TASK = {"task": "tasks.add", "args": [1, 2]}


def address(client: httpx.AsyncClient) -> str:
    return str(client.base_url).replace("http", "ws", 1) + PATH


async def test_submit_rate_limit_is_shared_by_http_and_websocket(valkey: Valkey, app: Celery) -> None:
    async with listening(valkey.url(), app, Settings(secret=SECRET, max_submissions=1)) as (client, relay):
        token = {who: issue(SECRET, subject=who, submit=["*"]) for who in ("me", "you")}
        mine = {"Authorization": f"Bearer {token['me']}"}
        assert (await client.post("/api/tasks", json=TASK, headers=mine)).status_code == 202
        refused = await client.post("/api/tasks", json=TASK, headers=mine)
        is_problem(refused, 429, "1 submissions per second")
        assert refused.headers["retry-after"] == "1"
        async with websocket(address(client), token=token["me"]) as one:
            error = (await one.ask(rpc={"method": "submit", "data": TASK}))["error"]
            assert (error["code"], error["temporary"]) == (111, True)
        async with websocket(address(client), token=token["you"]) as other:
            assert "rpc" in await other.ask(rpc={"method": "submit", "data": TASK})
        assert relay.counts.limits["max_submissions"] == 2


async def test_connections_of_an_address_and_in_all_are_bounded(valkey: Valkey) -> None:
    for settings, status in ((Settings(max_connections_per_address=2), 429), (Settings(max_connections=2), 503)):
        async with listening(valkey.url(), None, settings) as (client, relay):
            async with AsyncExitStack() as stack:
                for _ in range(2):
                    await stack.enter_async_context(websocket(address(client)))
                refused = await client.get("/healthz")
                is_problem(refused, status, "accepts 2 connections")
                assert refused.headers["retry-after"] == "1"
                with pytest.raises(InvalidStatus, match=str(status)):
                    await connect(address(client))
            await eventually(lambda: not relay.load().connections, what="them to be gone")
            assert (await client.get("/healthz")).status_code == 200


async def test_behind_a_trusted_proxy_each_client_has_its_own(valkey: Valkey) -> None:
    settings = Settings(trusted_proxies=LOOPBACK, max_connections_per_address=1, max_commands_per_address=30)
    async with listening(valkey.url(), None, settings) as (client, _):
        by = {who: {"X-Forwarded-For": f"192.0.2.{who}"} for who in (1, 2, 3)}
        async with AsyncExitStack() as stack:
            for who in (1, 2):
                await stack.enter_async_context(websocket(address(client), additional_headers=by[who]))
            with pytest.raises(InvalidStatus, match="429"):
                await connect(address(client), additional_headers=by[1])
            is_problem(await client.get("/api/tasks", headers=by[1]), 429, "one address")
            answers = [await client.get("/healthz", headers=by[3]) for _ in range(4)]
        assert answers[0].status_code == 200
        is_problem(answers[-1], 429, "30 commands per second")


async def test_connection_limits_follow_the_settings(valkey: Valkey) -> None:
    settings = Settings(max_subscriptions=2, max_message=1024)
    async with listening(valkey.url(), None, settings) as (client, relay), websocket(address(client)) as one:
        for channel in ("tasks", "tag:a"):
            await one.subscribe(channel)
        assert (await one.ask(subscribe={"channel": "tag:b"}))["error"]["code"] == 106
        await counted(relay, "max_subscriptions")
        await one.send(ping={"x": "x" * 1024})
        await one.until(lambda: one.closed, "the end")
        assert one.closed is not None
        assert one.closed[0] == 1009
        await counted(relay, "max_message")


async def counted(relay: Node, limit: str) -> None:
    await eventually(lambda: relay.counts.limits[limit] == 1, what=f"{limit} to be counted")
