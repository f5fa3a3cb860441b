"""The channel of numbers: what holds now, to whoever may see everything; there is no past of it."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from tests.relay.conversation import Client, publish, relay
from tests.support.events import line
from tests.support.waiting import eventually
from watcher.core.event import OVERVIEW
from watcher.core.permissions import Grant
from watcher.relay.stream.history import ALL
from watcher.relay.stream.hub import Hub
from watcher.relay.stream.overview import OverviewChannel
from watcher.relay.websocket.records import SessionConfig

NUMBERS = {"total": 3}


def watching(hub: Hub[Any]) -> Client:
    client = Client(hub).connected()
    (call,) = client.say(subscribe={"channel": OVERVIEW}).calls
    assert client.answers(call, NUMBERS) == [{"id": client.number, "subscribe": {"data": NUMBERS}}]
    assert hub.watching(OVERVIEW) == [client]
    return client


def test_a_subscription_begins_with_what_holds_and_has_no_past() -> None:
    client = watching(relay(line("a")))
    error = client.ask(history={"channel": OVERVIEW, "limit": -1})["error"]
    assert error == {"code": 108, "message": "the channel overview has no events, only what holds now"}
    assert client.subscribe(OVERVIEW) == {"error": {"code": 105, "message": "already subscribed"}}
    assert client.ask(unsubscribe={"channel": OVERVIEW}) == {"unsubscribe": {}}
    assert client.hub.watching(OVERVIEW) == []
    (call,) = client.say(subscribe={"channel": OVERVIEW, "recover": True, "epoch": "e", "offset": 7}).calls
    assert client.answers(call, NUMBERS)[0]["subscribe"] == {"data": NUMBERS}


@pytest.mark.parametrize(
    ("watch", "may"),
    [
        (("*",), True),
        (("tasks",), True),
        (("t*",), True),
        (("overview", "over*", "tag:a", "task:*"), False),
        ((), False),
    ],
)
def test_it_is_for_those_who_may_see_everything(watch: tuple[str, ...], *, may: bool) -> None:
    client = Client(relay(), SessionConfig("w", "1", 25, lambda token: Grant("me", watch=watch))).connected()
    outcome = client.say(subscribe={"channel": OVERVIEW})
    assert bool(outcome.calls) == may
    assert may or json.loads(outcome.replies[0])["error"]["code"] == 103


def test_it_goes_on_where_the_journal_is_another_one() -> None:
    hub = relay(line("a"))
    client = watching(hub)
    client.subscribe(ALL)
    hub.reset("another", 1)
    assert [json.loads(push)["push"]["channel"] for push in client.session.restart()] == [ALL]
    assert hub.watching(OVERVIEW) == [client]
    assert list(client.session.subscriptions) == [OVERVIEW]


def test_a_client_that_was_behind_is_told_what_holds_once_it_has_caught_up() -> None:
    hub = relay(line("a"))
    client = watching(hub)
    client.subscribe(ALL)
    client.session.subscriptions.fall_behind()
    assert hub.watching(OVERVIEW) == []
    publish(hub, line("b"))
    hub.overview = {"total": 4}
    told = client.session.subscriptions.catch_up(1000)[-1]
    assert told == b'{"push":{"channel":"overview","pub":{"data":{"total":4}}}}'
    assert hub.watching(OVERVIEW) == [client]


class Listener:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def deliver(self, data: bytes) -> int:
        self.heard.append(json.loads(data[2:])["push"]["pub"]["data"])
        return 1


class Watched(Hub[Any]):
    """Counts how often it was asked who watches."""

    asked = 0

    def watching(self, channel: str) -> list[Any]:
        self.asked += 1
        return super().watching(channel)


class Source:
    """What is looked up, and how often it was."""

    def __init__(self) -> None:
        self.value, self.looks = 1, 0

    async def look(self) -> int:
        self.looks += 1
        return self.value


@pytest.mark.anyio
async def test_all_are_told_of_a_change_and_it_is_looked_up_once_for_all() -> None:
    hub, source = Watched(relay().history), Source()
    channel = OverviewChannel(hub, source.look, every=0.05)
    one, two = Listener(), Listener()
    async with anyio.create_task_group() as group:
        group.start_soon(channel.run)
        await eventually(lambda: hub.asked > 3, what="it to see that nobody watches")
        assert source.looks < 1
        for listener in (one, two):
            assert await channel.now() == 1
            hub.watch(OVERVIEW, listener)
        assert source.looks == 1
        await eventually(lambda: source.looks > 3, what="it to be looked up again")
        assert one.heard == two.heard == [], "nothing has changed"
        source.value = 2
        await eventually(lambda: one.heard and two.heard, what="all to be told")
        assert one.heard == two.heard == [2]
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_what_one_who_asks_is_told_all_are_told() -> None:
    hub, source, one = relay(), Source(), Listener()
    channel = OverviewChannel(hub, source.look, every=0.0)
    await channel.now()
    hub.watch(OVERVIEW, one)
    source.value = 2
    assert await channel.now() == 2
    assert one.heard == [2]
