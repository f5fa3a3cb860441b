"""What the connections of one address hold together: subscriptions, counted exactly, whichever way they end."""

from __future__ import annotations

import ipaddress
import random
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from tests.relay.conversation import Client, publish, relay
from tests.relay.serving import is_problem, listening
from tests.support.client import client as websocket
from tests.support.events import line
from tests.support.sse import reading
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.core.errors import Unavailable
from watcher.core.permissions import OPEN
from watcher.core.settings import Settings
from watcher.relay.common.stats import Stats
from watcher.relay.limits.limits import AddressUsage, Limits
from watcher.relay.node import Node
from watcher.relay.websocket.handshake import PATH
from watcher.relay.websocket.records import Call, SessionConfig
from watcher.relay.websocket.session import Session

TOGETHER = 40
EACH = 15
CHANNELS = ["tasks", *(f"tag:{number}" for number in range(30)), *(f"task:{number}" for number in range(30))]
DOES = ["subscribe"] * 30 + ["unsubscribe", "answer", "fail"] * 2 + ["behind", "restart", "go"]
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


class Crowd:
    """Clients of one address that do as they like, and what is known of each."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.hub = relay(*(line(str(number)) for number in range(0, 30, 3)), events=60)
        settings = Settings(max_subscriptions_per_address=TOGETHER)
        self.account: AddressUsage = Limits(settings, Stats(), lambda: 0.0).enter("192.0.2.1")
        self.terms = SessionConfig("w", "1", 25, lambda token: OPEN, subscriptions=EACH)
        self.clients = [self._come() for _ in range(5)]
        self.calls: list[tuple[Client, Call]] = []
        self.refused = 0

    def _come(self) -> Client:
        client = Client(self.hub, self.terms)
        client.session = Session(self.hub, client, self.terms, None, self.account)
        return client.connected()

    def holds(self) -> int:
        return sum(len(each.session.subscriptions) + len(each.session._lookups) for each in self.clients)

    def step(self) -> None:
        client, channel = self.chance.choice(self.clients), self.chance.choice(CHANNELS)
        does = self.chance.choice(DOES)
        if does in ("subscribe", "unsubscribe"):
            before = self.holds()
            outcome = client.say(**{does: {"channel": channel}})
            self.calls += [(client, call) for call in outcome.calls]
            if b"from one address" in b"".join(outcome.replies):
                self.refused += 1
                assert before == TOGETHER
        elif does in ("answer", "fail") and self.calls:
            asking, call = self.calls.pop(self.chance.randrange(len(self.calls)))
            if asking in self.clients:
                session = asking.session
                _ = session.answer(call, None) if does == "answer" else session.give_up(call, Unavailable("away"))
        elif does == "behind":
            client.session.subscriptions.fall_behind()
            publish(self.hub, *(line(str(self.chance.randrange(100))) for _ in range(50)))
            client.catch_up()
        elif does == "restart":
            client.session.restart()
        elif does == "go":
            client.session.close()
            self.clients[self.clients.index(client)] = self._come()


@pytest.mark.parametrize("seed", range(4))
def test_an_address_holds_what_its_connections_hold(seed: int) -> None:
    crowd = Crowd(seed)
    for _ in range(600):
        crowd.step()
        assert crowd.account.subscriptions == crowd.holds() <= TOGETHER
    assert crowd.refused
    for client in crowd.clients:
        client.session.close()
        client.session.close()
    assert crowd.account.subscriptions == 0
    assert not crowd.hub.subscribers()


def test_who_has_too_many_is_told_how_many_there_may_be() -> None:
    crowd = Crowd(0)
    one, *others = crowd.clients
    told = [one.subscribe(f"tag:{number}") for number in range(EACH + 1)]
    assert told[-1]["error"] == {
        "code": 106,
        "message": f"limit exceeded: a connection may have at most {EACH} subscriptions",
    }
    told = [each.subscribe(f"tag:{number}") for each in others for number in range(EACH)]
    refused = limited(f"the relay accepts {TOGETHER} subscriptions from one address")
    assert [reply["error"] for reply in told if "error" in reply] == [refused] * (len(told) + EACH - TOGETHER)


def limited(why: str) -> dict[str, Any]:
    return {"code": 106, "message": f"limit exceeded: {why}"}


def held(running: Node, address: str = "127.0.0.1") -> int:
    account = running.limits.find(address)
    return 0 if account is None else account.subscriptions


def at(client: httpx.AsyncClient) -> str:
    return str(client.base_url).replace("http", "ws", 1) + PATH


@pytest.mark.anyio
async def test_connections_and_streams_of_an_address_share_a_bound(valkey: Valkey) -> None:
    async with listening(valkey.url(), None, Settings(max_subscriptions_per_address=5)) as (client, running):
        async with AsyncExitStack() as stack:
            first, second = [await stack.enter_async_context(websocket(at(client))) for _ in range(2)]
            await first.subscribe("tag:a")
            await second.subscribe("tag:a")
            await second.subscribe("task:unknown")
            async with reading(client, "tag:b", "tag:c"):
                assert held(running) == 5
                error = (await first.ask(subscribe={"channel": "tag:d"}))["error"]
                assert (error["code"], error["message"]) == (
                    106, "limit exceeded: the relay accepts 5 subscriptions from one address",
                )  # fmt: skip
                refused = await client.get("/api/events", params={"channel": "tag:e"})
                is_problem(refused, 429, "the relay accepts 5 subscriptions from one address")
                assert refused.headers["retry-after"] == "1"
            await eventually(lambda: held(running) == 3, what="the stream to be gone")
            second.vanish()
            await eventually(lambda: held(running) == 1, what="a connection to be gone")
            await first.subscribe("tag:d")
            assert running.counts.limits["max_subscriptions_per_address"] == 2
        await eventually(lambda: not held(running), what="all of them to be gone")


@pytest.mark.anyio
async def test_behind_a_trusted_proxy_each_client_has_its_own(valkey: Valkey) -> None:
    settings = Settings(trusted_proxies=LOOPBACK, max_subscriptions_per_address=2)
    async with listening(valkey.url(), None, settings) as (client, running), AsyncExitStack() as stack:
        by: list[dict[str, str]] = [{"X-Forwarded-For": f"192.0.2.{who}"} for who in (1, 2)]
        for headers in by:
            one: Any = await stack.enter_async_context(websocket(at(client), additional_headers=headers))
            for channel in ("tag:a", "tag:b"):
                await one.subscribe(channel)
            assert (await one.ask(subscribe={"channel": "tag:c"}))["error"]["code"] == 106
            is_problem(await client.get("/api/events", params={"channel": "tag:c"}, headers=headers), 429, "2 subscr")
        assert [held(running, f"192.0.2.{who}") for who in (1, 2)] == [2, 2]
        proxy: Any = await stack.enter_async_context(websocket(at(client)))
        for number in range(5):
            await proxy.subscribe(f"tag:{number}")
