"""A client that is behind: fed from the history in pieces, each event once and in order."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.relay.conversation import Client, Reply, offsets, publish, relay
from tests.support.events import life, line
from watcher.core.event import encode
from watcher.relay.stream.history import ALL, History
from watcher.relay.stream.hub import Hub


def test_a_long_recovery_is_a_short_reply_and_pushes() -> None:
    many = [line(f"t{n}", argsrepr="x" * 1000) for n in range(600)]
    hub: Hub[Any] = Hub(History(1000, 1 << 22))
    hub.reset("e", 1)
    hub.publish(many)
    client = Client(hub).connected()
    outcome = client.say(subscribe={"channel": ALL, "recover": True, "epoch": "e", "offset": 0})
    assert len(outcome.replies[0]) < 300_000
    reply = json.loads(outcome.replies[0])["subscribe"]
    assert reply["offset"] == reply["publications"][-1]["offset"] < 600
    publish(hub, line("meanwhile"))
    client.catch_up(64_000)
    publish(hub, line("after"))
    assert offsets(reply) + [offset for _, offset in client.pushed] == list(range(1, 603))


def test_who_falls_behind_is_fed_from_the_history_in_pieces() -> None:
    client = Client(relay()).connected()
    client.subscribe(ALL)
    client.subscribe("name:n")
    publish(client.hub, line("a", name="n"))
    client.session.subscriptions.fall_behind()
    publish(client.hub, *[line(f"t{n}", name="n" if n % 3 else "m") for n in range(50)])
    assert sorted(client.pushed) == [("name:n", 1), (ALL, 1)]
    piece = client.session.subscriptions.catch_up(100)
    assert 0 < len(piece) < 10
    client.take(piece)
    client.catch_up()
    assert [offset for channel, offset in client.pushed if channel == ALL] == list(range(1, 52))


def test_who_falls_behind_the_history_is_told_to_subscribe_again() -> None:
    client = Client(relay(events=10)).connected()
    client.subscribe(ALL)
    client.subscribe("name:quiet")
    client.session.subscriptions.fall_behind()
    publish(client.hub, *[line(f"t{n}", "SUCCESS") for n in range(50)])
    told = client.catch_up()
    assert told == [{"channel": ALL, "unsubscribe": {"code": 2500, "reason": "insufficient state"}}]
    assert "recovered" not in client.subscribe(ALL, recover=True, epoch="e", offset=0)
    publish(client.hub, line("q", name="quiet"))
    assert ("name:quiet", 51) in client.pushed


def test_a_new_journal_ends_all_subscriptions() -> None:
    client = Client(relay(line("a"))).connected()
    client.subscribe(ALL)
    client.hub.reset("f", 1)
    assert [json.loads(push)["push"]["unsubscribe"]["code"] for push in client.session.restart()] == [2500]
    assert client.subscribe(ALL)["epoch"] == "f"


class Wanderer:
    """A client that falls behind, catches up, leaves and comes back, and checks what each channel gives it."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.hub = relay(events=chance.choice([8, 40, 1000]))
        self.client = Client(self.hub).connected()
        self.seen: dict[str, int] = {}  # channel → offset that came last; -1: told that something may be missing

    def work(self) -> None:
        told = life(f"t{self.hub.history.last}", name=self.chance.choice("nm"))
        publish(self.hub, *map(encode, told[: self.chance.randint(1, 4)]))

    def fall_behind(self) -> None:
        self.client.session.subscriptions.fall_behind()

    def catch_up(self) -> None:
        self.ended(self.client.take(self.client.session.subscriptions.catch_up(self.chance.randint(1, 2000))))

    def come(self) -> None:
        channel = self.chance.choice([ALL, "name:n", "name:m"])
        if channel in self.seen:
            self.client.ask(unsubscribe={"channel": channel})
            del self.seen[channel]
            return
        since = self.chance.randint(max(0, self.hub.history.last - 20), self.hub.history.last)
        reply = self.client.subscribe(channel, recover=True, epoch="e", offset=since)
        self.seen[channel] = since if reply.get("recovered") else -1
        self.client.pushed += [(channel, offset) for offset in offsets(reply)] if "publications" in reply else []

    def ended(self, told: list[Reply]) -> None:
        self.check()
        for push in told:
            if "unsubscribe" in push:
                del self.seen[push["channel"]]

    def check(self) -> None:
        for channel, offset in self.client.pushed:
            last = self.seen[channel]
            assert offset > last
            assert last < 0 or next_of(self.hub, channel, last) in (None, offset), f"{channel}: {offset} is not due"
            self.seen[channel] = offset
        self.client.pushed.clear()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 32))
def test_whatever_happens_each_event_comes_once_and_in_order(seed: int) -> None:
    chance = random.Random(seed)
    one = Wanderer(chance)
    for _ in range(chance.randint(1, 60)):
        chance.choice([one.work, one.work, one.fall_behind, one.catch_up, one.come, one.come])()
        one.check()
    one.ended(one.client.catch_up())
    for channel, offset in one.seen.items():
        assert offset < 0 or next_of(one.hub, channel, offset) is None, f"{channel} is not complete"


def next_of(hub: Hub[Any], channel: str, after: int) -> int | None:
    events = hub.history.since({channel: after}, 0, 1).events
    return events[0][1] if events else None
