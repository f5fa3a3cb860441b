"""A client's subscriptions: the listeners of each channel, and the position to recover it from.

The relay knows one subscription of a channel and connection; here any number of listeners share it. Each remembers the
position up to which it has been given everything. A subscription asks for what came after the earliest of them, and a
listener passes over what it has had: so after a lost connection, and when another listener joins from further back,
none misses an event and none gets one twice.

A listener that can take no more is *behind*: it is left out until it has room, and then catches up from the relay's
history. It never makes others wait, nor the connection. No I/O here: the link is handed in.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Protocol

from watcher.centrifuge.client_messages import (
    ChannelPosition,
    CommandError,
    Push,
    ReceivedPublication,
    ServerMessage,
    Subscribed,
)
from watcher.centrifuge.protocol import SUBSCRIBE_AGAIN
from watcher.client.errors import RelayError, refusal
from watcher.core.backoff import TO_RELAY

__all__ = ["ChannelListener", "ClientSubscriptions"]

#: Most subscriptions that a relay allows on one connection; further channels wait until others are left.
_SUBSCRIPTIONS: Final = 1000


class CommandSender(Protocol):
    """The link, as far as it matters here."""

    is_connected: bool

    def tell(
        self,
        kind: str,
        body: Any,
        done: Callable[[ServerMessage], None] | None = None,
        failed: Callable[[CommandError], None] | None = None,
    ) -> None:
        """Send a command."""  # fmt: skip


class ChannelListener(ABC):
    """A listener to one channel.

    ``position``: up to where it has been given everything; None where it starts at the present. ``behind``: it can take
    no more for now. ``abandoned``: nobody reads it any more.
    """

    def __init__(self, since: ChannelPosition | None = None, *, recovers: bool = True) -> None:
        self.position = since
        self.recovers = recovers
        self.behind = False
        self.abandoned = False

    def accept(self, reply: Subscribed) -> None:
        """The relay's answer to the subscription, and what came with it."""
        before = self.position
        if before is None:
            self.position = ChannelPosition(reply.epoch, reply.offset)
        else:
            self.position = ChannelPosition(reply.epoch, before.offset if before.epoch == reply.epoch else 0)
        torn = before is not None and bool(before.epoch) and reply.was_recovering and not reply.recovered
        if torn and self.recovers:
            self.on_gap()
        for publication in reply.publications:
            self.take(publication)
        if not self.behind:
            self.position = ChannelPosition(reply.epoch, max(self.position.offset, reply.offset))
        self.on_known(reply)

    def take(self, publication: ReceivedPublication) -> None:
        """An event of the channel; nothing happens where it has been given before."""
        here = self.position
        if here is None or self.behind or publication.offset <= here.offset:
            return
        if self.on_event(here.epoch, publication):
            self.position = ChannelPosition(here.epoch, publication.offset)
        else:
            self.behind = True

    @abstractmethod
    def on_event(self, epoch: str, publication: ReceivedPublication) -> bool:
        """Take an event; False where there is no room, and then it isn't taken."""

    @abstractmethod
    def on_error(self, error: RelayError) -> None:
        """Nothing more will come, because of this error."""

    def on_known(self, reply: Subscribed) -> None:  # noqa: B027 - not everybody wants to know
        """What the relay knew as it answered, after the events that came along."""

    def on_gap(self) -> None:  # noqa: B027 - as above
        """Events before those that come next are gone."""

    def on_lost(self) -> None:  # noqa: B027 - as above
        """There is no connection."""


class _State(Enum):
    OUT = 0
    ASKING = 1
    IN = 2


class _Channel:
    """A channel with its listeners; ``asked`` are those whom the subscription that is under way will serve."""

    __slots__ = ("admitted", "again", "asked", "failures", "listeners", "name", "state", "token")

    def __init__(self, name: str) -> None:
        self.name = name
        self.token: str | None = None
        self.listeners: list[ChannelListener] = []
        self.asked: list[ChannelListener] = []
        self.state = _State.OUT
        self.again = False
        self.admitted = False
        self.failures = 0


class ClientSubscriptions:
    """All channels of a client.

    :param later: calls a function after so many seconds.
    """

    def __init__(self, link: CommandSender, later: Callable[[float, Callable[[], None]], None]) -> None:
        self._link = link
        self._later = later
        self._channels: dict[str, _Channel] = {}
        self._admitted = 0
        self._queue: deque[_Channel] = deque()
        self._over: RelayError | None = None

    def __len__(self) -> int:
        return len(self._channels)

    def join(self, name: str, listener: ChannelListener, token: str | None = None) -> None:
        """Listen to a channel from ``listener.position`` on.

        :param token: one that grants this channel alone, where the connection's doesn't.
        """
        if self._over is not None:
            listener.on_error(self._over)
            return
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(name)
            self._queue.append(channel)
        channel.token = token or channel.token
        channel.listeners.append(listener)
        if channel.admitted:
            self._renew(channel)
        else:
            self._admit()

    def leave(self, name: str, listener: ChannelListener) -> None:
        """Stop listening; does nothing if it is not listening."""
        channel = self._channels.get(name)
        if channel is None or listener not in channel.listeners:
            return
        channel.listeners.remove(listener)
        if not channel.listeners and channel.state is not _State.ASKING:
            self._drop(channel)

    def resume(self, name: str, listener: ChannelListener) -> None:
        """A listener that was behind has room again."""
        channel = self._channels.get(name)
        listener.behind = False
        if channel is not None and listener in channel.listeners:
            self._renew(channel)

    # What the link tells.

    def connected(self) -> None:
        """There is a connection."""
        for channel in list(self._channels.values()):
            if channel.admitted:
                self._ask(channel)

    def lost(self) -> None:
        """There is none any more."""
        for channel in list(self._channels.values()):
            channel.state, channel.again = _State.OUT, False
            if not channel.listeners:
                self._drop(channel)
            for listener in channel.listeners:
                listener.on_lost()

    def pushed(self, push: Push) -> None:
        """The relay tells of an event, or ends a subscription."""
        channel = self._channels.get(push.channel)
        if channel is None or channel.state is not _State.IN:
            return  # of an earlier subscription: the next one brings it again
        if push.pub is not None:
            for listener in channel.listeners:
                listener.take(push.pub)
            self._tidy(channel)
        elif push.unsubscribe is not None:
            channel.state = _State.OUT
            if push.unsubscribe.code >= SUBSCRIBE_AGAIN:
                self._ask(channel)
            else:
                error = refusal(push.unsubscribe.code, f"{channel.name}: {push.unsubscribe.reason}")
                self._refuse(channel, channel.listeners, error)

    def over(self, error: RelayError) -> None:
        """There will be no connection again."""
        self._over = error
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            for listener in channel.listeners:
                listener.on_error(error)

    # Subscriptions.

    def _admit(self) -> None:
        while self._queue and self._admitted < _SUBSCRIPTIONS:
            channel = self._queue.popleft()
            if self._channels.get(channel.name) is channel:
                channel.admitted = True
                self._admitted += 1
                self._ask(channel)

    def _renew(self, channel: _Channel) -> None:
        """Subscribe anew, for a listener that wants what came before the present."""
        if channel.state is _State.ASKING:
            channel.again = True  # two at a time would confuse the relay
            return
        if channel.state is _State.IN:
            self._link.tell("unsubscribe", {"channel": channel.name})
            channel.state = _State.OUT
        self._ask(channel)

    def _ask(self, channel: _Channel) -> None:
        channel.asked = [listener for listener in channel.listeners if not listener.behind]
        if not channel.asked or not self._link.is_connected or channel.state is not _State.OUT:
            return
        request: dict[str, Any] = {"channel": channel.name}
        if channel.token:
            request["token"] = channel.token
        since = _earliest(channel.asked)
        if since is not None:
            request |= {"recover": True, "epoch": since.epoch, "offset": since.offset}
        channel.state, channel.again = _State.ASKING, False
        done = functools.partial(self._accepted, channel)
        self._link.tell("subscribe", request, done, functools.partial(self._failed, channel))

    def _accepted(self, channel: _Channel, message: ServerMessage) -> None:
        channel.state, channel.failures = _State.IN, 0
        reply = message.subscribe or Subscribed()
        for listener in channel.asked:
            if listener in channel.listeners:
                listener.accept(reply)
        self._tidy(channel)
        if channel.again and channel.listeners:
            self._renew(channel)

    def _failed(self, channel: _Channel, error: CommandError) -> None:
        channel.state = _State.OUT
        if error.temporary and channel.listeners:
            self._later(TO_RELAY.seconds(channel.failures), functools.partial(self._ask, channel))
            channel.failures += 1
            return
        self._refuse(channel, channel.asked, refusal(error.code, f"{channel.name}: {error.message}"))
        if channel.again and channel.listeners:
            self._ask(channel)

    def _refuse(self, channel: _Channel, listeners: list[ChannelListener], error: RelayError) -> None:
        for listener in list(listeners):
            if listener in channel.listeners:
                channel.listeners.remove(listener)
                listener.on_error(error)
        if not channel.listeners:
            self._drop(channel)

    def _tidy(self, channel: _Channel) -> None:
        """Let go of listeners that nobody reads, and of a subscription that no listener can take."""
        if any(listener.abandoned for listener in channel.listeners):
            channel.listeners = [listener for listener in channel.listeners if not listener.abandoned]
        if not channel.listeners:
            self._drop(channel)
        elif channel.state is _State.IN and all(listener.behind for listener in channel.listeners):
            self._link.tell("unsubscribe", {"channel": channel.name})
            channel.state = _State.OUT

    def _drop(self, channel: _Channel) -> None:
        if self._channels.get(channel.name) is not channel:
            return
        del self._channels[channel.name]
        if channel.state is _State.IN:
            self._link.tell("unsubscribe", {"channel": channel.name})
        channel.state = _State.OUT
        if channel.admitted:
            self._admitted -= 1
            self._admit()


def _earliest(listeners: list[ChannelListener]) -> ChannelPosition | None:
    """The position to recover from; None if no listener wants earlier events."""
    positions = [listener.position for listener in listeners if listener.recovers and listener.position is not None]
    return min(positions, key=lambda position: (bool(position.epoch), position.offset), default=None)
