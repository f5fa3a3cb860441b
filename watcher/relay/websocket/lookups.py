"""Tasks that are looked up before a subscription is answered, and what the client has said of their channels meanwhile.

A client may have left a channel, and come back to it, before its first subscription there is answered. Replies to what
is said of one channel then go out in the order in which it was said, all from the same look-up: an SDK takes the first
reply that comes for the one to its newest subscription, so the first must be as true as the last. Centrifugo does the
same: an unsubscribe waits there for the subscription that is under way (``client.go``, ``unsubscribe``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from watcher.centrifuge.messages import SubscribeRequest
from watcher.relay.websocket.records import NOTHING, SubscriptionQuota

__all__ = ["Lookups", "Waiting"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A command that is answered when the channel's task has been looked up.

    :param id: the command's. ``request``: what it asks for; None: to unsubscribe.
    :param until: when the right to watch ends, Unix seconds, where it comes from a token of the subscription's own.
    """

    id: int
    request: SubscribeRequest | None = None
    until: float | None = None


class Lookups:
    """One client's channels whose task is being looked up.

    :param holder: who has them together with others; None where nobody counts.
    """

    __slots__ = ("_holder", "_waiting")

    def __init__(self, holder: SubscriptionQuota | None = None) -> None:
        self._holder = holder
        self._waiting: dict[str, list[Waiting]] = NOTHING

    def __contains__(self, channel: str) -> bool:
        return channel in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def wanted(self, channel: str) -> bool:
        """Whether the client will be subscribed to the channel, once what it said of it is done."""
        waiting = self._waiting.get(channel)
        return waiting is not None and waiting[-1].request is not None

    def start(self, channel: str, asked: Waiting) -> None:
        """A look-up has begun, for this subscription."""
        self._hold(1)
        if self._waiting is NOTHING:
            self._waiting = {}
        self._waiting[channel] = [asked]

    def wait(self, channel: str, asked: Waiting) -> None:
        """Something more was said of the channel; the caller sees to it that it isn't too much."""
        self._waiting[channel].append(asked)

    def finish(self, channel: str) -> Sequence[Waiting]:
        """The look-up is over, whatever came of it: all that is to be answered now, in order."""
        self._hold(-(channel in self._waiting))
        return self._waiting.pop(channel, ())

    def clear(self) -> None:
        """Nobody waits any more."""
        self._hold(-len(self._waiting))
        self._waiting.clear()

    def _hold(self, count: int) -> None:
        if self._holder is not None:
            self._holder.hold(count)
