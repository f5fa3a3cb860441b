"""A client that talks to a session without a socket, and keeps what a real one would keep."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from watcher.centrifuge import messages
from watcher.core.permissions import OPEN, Grant
from watcher.relay.stream.history import ALL, History
from watcher.relay.stream.hub import Hub
from watcher.relay.websocket.records import Call, FrameOutcome, SessionConfig
from watcher.relay.websocket.session import Session

Reply = dict[str, Any]


class Client:
    """Talks to a session and keeps what a real client would keep."""

    def __init__(
        self, hub: Hub[Any], terms: SessionConfig | None = None, named: Callable[[], Grant] | None = None
    ) -> None:
        self.hub = hub
        self.session = Session(hub, self, terms or SessionConfig("watcher", "1", 25, lambda token: OPEN), named)
        self.number = 0
        self.pushed: list[tuple[str, int]] = []

    def say(self, **command: Any) -> FrameOutcome:
        self.number += 1
        return self.session.receive(json.dumps({"id": self.number, **command}).encode())

    def ask(self, **command: Any) -> Reply:
        outcome = self.say(**command)
        assert outcome.disconnect is None
        (reply,) = map(json.loads, outcome.replies)
        assert reply.pop("id") == self.number
        return dict(reply)

    def answers(self, call: Call, value: Any = None) -> list[Reply]:
        """What is said once a call was carried out."""
        return [json.loads(reply) for reply in self.session.answer(call, value)]

    def connected(self) -> Client:
        assert "connect" in self.ask(connect={})
        return self

    def subscribe(self, channel: str = ALL, **request: Any) -> Reply:
        reply = self.ask(subscribe={"channel": channel, **request})
        return dict(reply.get("subscribe", reply))

    def take(self, pushes: list[bytes]) -> list[Reply]:
        told = [json.loads(push)["push"] for push in pushes]
        self.pushed += [(push["channel"], push["pub"]["offset"]) for push in told if "pub" in push]
        return told

    def catch_up(self, limit: int = 1000) -> list[Reply]:
        told = []
        while not self.session.subscriptions.live:
            told += self.take(self.session.subscriptions.catch_up(limit))
        return told


def relay(*lines: bytes, events: int = 1000) -> Hub[Any]:
    hub: Hub[Any] = Hub(History(events, 1 << 20))
    hub.reset("e", 1)
    publish(hub, *lines)
    return hub


def publish(hub: Hub[Any], *lines: bytes) -> None:
    hub.publish(lines)
    for parts, clients in hub.flush():
        for client in clients:
            for part in parts:
                client.take(messages.publications(part.channel, part.events))


def offsets(reply: Reply) -> list[int]:
    return [each["offset"] for each in reply["publications"]]
