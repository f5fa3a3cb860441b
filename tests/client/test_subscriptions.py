"""Whatever happens to a connection, every listener gets each event once, in order: the rules, without a socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec import Raw

from watcher.centrifuge.client_messages import (
    ALL_KEPT,
    ChannelPosition,
    CommandError,
    Push,
    ReceivedPublication,
    ServerMessage,
    Subscribed,
    Unsubscribed,
)
from watcher.client.errors import RelayError, RelayRefused
from watcher.client.subscriptions import ChannelListener, ClientSubscriptions

EPOCH = "e"
CHANNEL = "tasks"


class Reader(ChannelListener):
    """Keeps the offsets that it was given; takes no more than there is room for."""

    def __init__(self, since: ChannelPosition | None, room: int) -> None:
        super().__init__(since)
        self.offsets: list[int] = []
        self.error: RelayError | None = None
        self.room = room

    def on_event(self, epoch: str, publication: ReceivedPublication) -> bool:
        assert epoch == EPOCH
        if not self.room:
            return False
        self.room -= 1
        self.offsets.append(publication.offset)
        return True

    def on_error(self, error: RelayError) -> None:
        self.error = error


class Wire:
    """What was said, not yet answered: the relay answers when the test lets it."""

    def __init__(self) -> None:
        self.is_connected = True
        self.said: list[
            tuple[str, Any, Callable[[ServerMessage], None] | None, Callable[[CommandError], None] | None]
        ] = []

    def tell(
        self,
        kind: str,
        body: Any,
        done: Callable[[ServerMessage], None] | None = None,
        failed: Callable[[CommandError], None] | None = None,
    ) -> None:
        assert self.is_connected
        self.said.append((kind, body, done, failed))


class Conversation(RuleBasedStateMachine):
    """A relay with one channel, and a client whose listeners come, fall behind, catch up and leave."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire()
        self.later: list[Callable[[], None]] = []
        self.channels = ClientSubscriptions(self.wire, lambda _seconds, call: self.later.append(call))
        self.last = 0
        self.subscribed = False
        self.readers: list[tuple[Reader, int]] = []

    @rule(back=st.integers(0, 8), room=st.integers(1, 6), everything=st.booleans())
    def join(self, back: int, room: int, everything: bool) -> None:
        since = max(0, self.last - back)
        reader = Reader(ALL_KEPT if everything else ChannelPosition(EPOCH, since), room)
        self.readers.append((reader, 0 if everything else since))
        self.channels.join(CHANNEL, reader)

    @rule(which=st.integers(0, 20))
    def leave(self, which: int) -> None:
        if self.readers:
            reader, _ = self.readers.pop(which % len(self.readers))
            self.channels.leave(CHANNEL, reader)

    @rule(which=st.integers(0, 20), room=st.integers(1, 9))
    def read(self, which: int, room: int) -> None:
        if self.readers:
            reader, _ = self.readers[which % len(self.readers)]
            reader.room = room
            if reader.behind:
                self.channels.resume(CHANNEL, reader)

    @rule(count=st.integers(1, 5))
    def publish(self, count: int) -> None:
        for _ in range(count):
            self.last += 1
            if self.subscribed:
                self.channels.pushed(Push(CHANNEL, ReceivedPublication(Raw(b"{}"), self.last)))

    @rule()
    def answer_all(self) -> None:
        while self.wire.said:
            self.answer(None, 5)

    @rule(temporary=st.none() | st.just(True), cut=st.integers(1, 5))
    def answer(self, temporary: bool | None, cut: int) -> None:
        """The relay takes the next command; a recovery comes in part with the reply, the rest as pushes."""
        if not self.wire.said:
            return
        kind, body, done, failed = self.wire.said.pop(0)
        if kind == "unsubscribe":
            self.subscribed = False
            return
        assert not self.subscribed, "subscribed twice"
        assert done is not None
        assert failed is not None
        if temporary:
            failed(CommandError(100, "away", temporary=True))
            return
        since = body["offset"] if body.get("epoch") == EPOCH else 0
        missed = [ReceivedPublication(Raw(b"{}"), offset) for offset in range(since + 1, self.last + 1)]
        first, rest = tuple(missed[:cut]), missed[cut:]
        self.subscribed = True
        offset = first[-1].offset if first else self.last
        done(ServerMessage(subscribe=Subscribed(EPOCH, offset, first, recovered=True, was_recovering=True)))
        for publication in rest:
            self.channels.pushed(Push(CHANNEL, publication))

    @rule()
    def time_passes(self) -> None:
        later, self.later = self.later, []
        for call in later:
            call()

    @rule()
    def lose(self) -> None:
        self.wire.is_connected = self.subscribed = False
        self.wire.said.clear()
        self.channels.lost()

    @rule()
    def come_back(self) -> None:
        if not self.wire.is_connected:
            self.wire.is_connected = True
            self.channels.connected()

    @rule()
    def end_subscription(self) -> None:
        """The relay can't continue it, and asks to subscribe again."""
        if self.subscribed:
            self.subscribed = False
            self.channels.pushed(Push(CHANNEL, None, Unsubscribed(2500, "insufficient state")))

    @invariant()
    def each_once_and_in_order(self) -> None:
        for reader, since in self.readers:
            assert reader.error is None
            assert reader.offsets == list(range(since + 1, since + 1 + len(reader.offsets)))

    @invariant()
    def nobody_waits_for_those_who_are_behind(self) -> None:
        if self.wire.is_connected and not self.wire.said and not self.later:
            for reader, since in self.readers:
                assert reader.behind or reader.offsets == list(range(since + 1, self.last + 1))

    def teardown(self) -> None:
        """Left in peace, everybody gets everything; and where nobody listens, nothing is subscribed."""
        self.come_back()
        for _ in range(2000):
            self.time_passes()
            for reader, _since in self.readers:
                reader.room = 1000
                if reader.behind:
                    self.channels.resume(CHANNEL, reader)
            if not self.wire.said:
                break
            self.answer(None, 3)
        for reader, since in self.readers:
            assert reader.offsets == list(range(since + 1, self.last + 1))
        assert self.subscribed == bool(self.readers)
        assert len(self.channels) == bool(self.readers)


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, derandomize=True)


def test_channels_over_the_limit_wait_until_others_unsubscribe() -> None:
    wire = Wire()
    channels = ClientSubscriptions(wire, lambda _seconds, _call: None)
    readers = [Reader(None, 1) for _ in range(1003)]
    for number, reader in enumerate(readers):
        channels.join(f"task:{number}", reader)
    assert len(wire.said) == 1000
    for _, _, done, _ in wire.said[:2]:
        assert done is not None
        done(ServerMessage(subscribe=Subscribed(EPOCH, 1)))
    channels.leave("task:0", readers[0])
    channels.leave("task:1002", readers[1002])
    channels.leave("task:1", readers[1])
    assert [body["channel"] for _, body, _, _ in wire.said[1000:]] == ["task:0", "task:1000", "task:1", "task:1001"]


def test_a_refusal_is_told_to_those_who_asked() -> None:
    wire = Wire()
    channels = ClientSubscriptions(wire, lambda _seconds, _call: None)
    reader = Reader(None, 1)
    channels.join("task:x", reader, token="only-this")
    _, body, _, failed = wire.said[0]
    assert body == {"channel": "task:x", "token": "only-this"}
    assert failed is not None
    failed(CommandError(103, "permission denied"))
    assert isinstance(reader.error, RelayRefused)
    assert len(channels) == 0
