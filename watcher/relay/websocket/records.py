"""What a session is given, and what comes of what its client says: plain records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from watcher.centrifuge.messages import Disconnect, SubscribeRequest
from watcher.core.permissions import Grant

__all__ = ["NOTHING", "Call", "FrameOutcome", "SessionConfig", "SubscriptionQuota"]

#: What most clients have in some dictionary, for ever: one of their own takes 64 bytes. Nothing is ever put in here.
NOTHING: Final[dict[Any, Any]] = {}


class SubscriptionQuota(Protocol):
    """Who has subscriptions together with others: an address, with all of its connections."""

    address: str

    @property
    def most(self) -> int | None:
        """How many it may have; None: as many as it likes."""

    def has_room(self, count: int) -> bool:
        """Whether it may have so many more."""

    def hold(self, count: int) -> None:
        """It has so many more, or fewer where that is negative."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What all sessions of a relay share.

    :param ping: seconds between pings.
    :param admit: the permissions that a token grants; raises :exc:`watcher.core.errors.Unauthorized`.
    :param trouble: why events may be late just now, or None.
    :param subscriptions: so many a client may have; ``calls``: so many under way; ``message``: bytes of a message of
        its; ``commands``: so many a second.
    :param reached: told of each limit that keeps a client from having more, by its setting's name.
    :param refused: told of what a client may not do: its outlet, what it asked for, and why not.
    """

    namespace: str
    version: str
    ping: int
    admit: Callable[[str], Grant]
    trouble: Callable[[], str | None] = lambda: None
    subscriptions: int = 1000
    calls: int = 1000
    message: int = 256 * 1024
    commands: int = 5000
    reached: Callable[[str, str], None] = lambda limit, who: None
    refused: Callable[[Any, str, str], None] = lambda outlet, what, why: None

    def full(self, count: int, who: str, holder: SubscriptionQuota | None) -> str | None:
        """Why a client gets no further subscription, or None.

        :param count: so many it has. ``who``: its name in the log.
        :param holder: the address that has them, with others'; None: nobody counts.
        """
        if count >= self.subscriptions:
            self.reached("max_subscriptions", who)
            return f"a connection may have at most {self.subscriptions} subscriptions"
        if holder is not None and not holder.has_room(1):
            self.reached("max_subscriptions_per_address", holder.address)
            return f"the relay accepts {holder.most} subscriptions from one address"
        return None


@dataclass(frozen=True, slots=True)
class Call:
    """Something to be done elsewhere; :meth:`Session.answer` or :meth:`Session.refuse` takes what came of it.

    ``method`` is an RPC's, or ``subscribe`` where nothing here knows the task of ``request``, or the client has seen
    more than what is here: the answer is then the :class:`watcher.core.event.Task` that somebody knows, or None.
    """

    id: int
    method: str
    data: bytes
    request: SubscribeRequest | None = None


@dataclass(slots=True)
class FrameOutcome:
    """What one frame leads to: replies in order, calls to make, and perhaps the end.

    ``rest`` is what of the frame is to be received later: what its commands ask for is more than is given at once.
    ``size``: about how many bytes were given so far.
    """

    replies: list[bytes] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    disconnect: Disconnect | None = None
    rest: bytes = b""
    size: int = 0
