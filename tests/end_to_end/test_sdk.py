"""A public client of the protocol that nobody here wrote: centrifuge-python."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from centrifuge import (
    CentrifugeError,
    Client,
    ClientState,
    Filter,
    PublicationContext,
    SubscribedContext,
    SubscriptionEventHandler,
    SubscriptionState,
)
from websockets.asyncio.client import connect

from tests.support.processes import Relay, free_port, relay
from tests.support.waiting import eventually
from watcher.core.permissions import issue

pytestmark = pytest.mark.anyio


class Listener(SubscriptionEventHandler):
    """Keeps what a subscription says."""

    def __init__(self) -> None:
        self.events: list[tuple[int, dict[str, Any]]] = []
        self.subscribed: list[SubscribedContext] = []

    async def on_subscribed(self, ctx: SubscribedContext) -> None:
        self.subscribed.append(ctx)

    async def on_publication(self, ctx: PublicationContext) -> None:
        self.events.append((ctx.pub.offset, ctx.pub.data))

    def has(self, identity: str, state: str) -> bool:
        return any(event["id"] == identity and event["state"] == state for _, event in self.events)


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Client]:
    client = Client(url, **options)
    await client.connect()
    await client.ready()
    try:
        yield client
    finally:
        await client.disconnect()
        # It closes its connection behind that, in a task of its own, and the test's event loop would be gone by then.
        await eventually(lambda: not client._background_tasks, what="the SDK to have closed its connection")


async def test_it_connects_subscribes_and_calls(running: Relay) -> None:
    async with connected(running.ws_url) as client:
        listener = Listener()
        subscription = client.new_subscription("tasks", listener)
        await subscription.subscribe()
        await subscription.ready()
        answer = await client.rpc("submit", {"task": "tasks.add", "args": [2, 2]})
        identity = answer.data["id"]
        await eventually(lambda: listener.has(identity, "SUCCESS"), what="the task's end on the SDK's subscription")
        registry = (await client.rpc("registry", {})).data["tasks"]
        assert "tasks.add" in [task["name"] for task in registry]
        with pytest.raises(CentrifugeError, match="nonsense"):
            await client.rpc("nonsense", {})
        history = await subscription.history(limit=2, reverse=True)
        assert len(history.publications) == 2
        await subscription.unsubscribe()
        assert subscription.state == SubscriptionState.UNSUBSCRIBED


async def test_cut_off_it_comes_back_and_has_missed_nothing(env: dict[str, str], running: Relay) -> None:
    port = free_port()
    with relay("tasks", port=port, env=env) as first:
        async with connected(first.ws_url) as client:
            listener = Listener()
            subscription = client.new_subscription("tasks", listener, recoverable=True)
            await subscription.subscribe()
            await subscription.ready()
            before = (await client.rpc("submit", {"task": "tasks.add", "args": [1, 2]})).data["id"]
            await eventually(lambda: listener.has(before, "SUCCESS"), what="the first task's end")
            first.kill()
            async with connected(running.ws_url) as other:
                missed = [
                    (await other.rpc("submit", {"task": "tasks.add", "args": [n, 1]})).data["id"] for n in range(9)
                ]
            with relay("tasks", port=port, env=env):
                for identity in missed:
                    await eventually(
                        functools.partial(listener.has, identity, "SUCCESS"),
                        timeout=20,
                        what=f"task {identity}, which ended while the relay was away",
                    )
            assert listener.subscribed[-1].was_recovering
            assert listener.subscribed[-1].recovered
            offsets = [offset for offset, _ in listener.events]
            assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))


@pytest.mark.parametrize("returns", [1, 4])
async def test_resubscribing_during_the_lookup_keeps_the_subscription(slow: Relay, returns: int) -> None:
    identity = f"python-returns-{returns}"
    async with connected(slow.ws_url) as client:
        listener = Listener()
        subscription = client.new_subscription(f"task:{identity}", listener)
        await subscription.subscribe()
        for _ in range(returns):
            async with anyio.create_task_group() as both:
                both.start_soon(subscription.unsubscribe)
                await anyio.lowlevel.checkpoint()
                both.start_soon(subscription.subscribe)
        await subscription.ready()
        await client.rpc("submit", {"task": "tasks.add", "args": [1, 2], "options": {"task_id": identity}})
        await eventually(lambda: listener.has(identity, "SUCCESS"), what="the task's end on the SDK's subscription")
        assert subscription.state == SubscriptionState.SUBSCRIBED
        assert client.state == ClientState.CONNECTED


async def test_one_frame_may_leave_a_channel_and_come_back(slow: Relay) -> None:
    said = [("subscribe", 2), ("unsubscribe", 3), ("subscribe", 4)]
    frame = "\n".join(json.dumps({"id": number, what: {"channel": "task:one-frame"}}) for what, number in said)
    async with connect(slow.ws_url) as socket:
        await socket.send('{"id":1,"connect":{}}')
        await socket.recv()
        await socket.send(frame)
        replies: list[dict[str, Any]] = []
        while len(replies) < len(said):
            replies += map(json.loads, str(await socket.recv()).split("\n"))
    assert [reply["id"] for reply in replies] == [2, 3, 4]
    assert replies[0]["subscribe"] == replies[2]["subscribe"]
    assert replies[2]["subscribe"]["data"] == {"task": None}


async def test_a_filter_on_tags_is_refused_and_not_passed_over(running: Relay) -> None:
    async with connected(running.ws_url) as client:
        subscription = client.new_subscription("tasks", tags_filter=Filter.eq("state", "SUCCESS"))
        await subscription.subscribe()
        with pytest.raises(CentrifugeError):
            await subscription.ready()
        assert subscription.state == SubscriptionState.UNSUBSCRIBED


async def test_it_refreshes_its_token(env: dict[str, str]) -> None:
    secret = "s" * 32
    tokens = [issue(secret, ttl=2, watch=["*"]), issue(secret, watch=["*"], submit=["*"])]

    async def get_token() -> str:
        return tokens.pop(0)

    with relay("tasks", env={**env, "WATCHER_SECRET": secret}) as guarded:
        async with connected(guarded.ws_url, get_token=get_token) as client:

            async def may_submit() -> bool:  # as the second token says, and the first one doesn't
                return bool((await client.rpc("registry", {})).data["tasks"])

            assert not await may_submit()
            await eventually(may_submit, what="the second token to be in use")
            assert not tokens
            assert client.state == ClientState.CONNECTED


async def test_a_stopping_relay_asks_it_to_come_back(env: dict[str, str], running: Relay) -> None:
    port = free_port()
    with relay("tasks", port=port, env=env) as first:
        async with connected(first.ws_url) as client:
            assert await anyio.to_thread.run_sync(first.stop) == 0
            await eventually(lambda: client.state == ClientState.CONNECTING, what="the SDK to be told")
            with relay("tasks", port=port, env=env):
                await client.ready(timeout=20)
                assert (await client.rpc("get", {"id": "nobody"})).data == {"task": None}
