"""What one client may do, and until when: by its token, by a proxy's word, or by a token of one subscription. Pure.

What holds:

- There is no grant until the client has connected, and always one from then on.
- A proxy's word counts until the client has chosen a token; then it is forgotten.
- A channel is *lent* where a token that came with its subscription lets the client watch it, whatever the grant says;
  that ends with this token, or with the subscription.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from watcher.core.permissions import Grant

__all__ = ["Rights"]

#: What clients are told of a lifetime at most, in seconds: ``ttl`` is an integer of 32 bits in the protocol.
_LONGEST: Final = 2**31 - 1


class Rights:
    """The rights of one client.

    :param named: what it may do without a token, being named by a proxy; None: it needs one.
    """

    __slots__ = ("_lent", "_named", "grant")

    def __init__(self, named: Callable[[], Grant] | None) -> None:
        self._named = named
        # Channel → when the right to watch it ends, Unix seconds; None while there is none: few clients have any.
        self._lent: dict[str, float] | None = None
        self.grant: Grant | None = None

    # What changes them.

    def connect(self, token: str, admit: Callable[[str], Grant]) -> Grant:
        """The client has connected, with a token or an empty one.

        :raises Unauthorized: the token is not valid.
        """
        if token or self._named is None:
            self.grant, self._named = admit(token), None  # a token is chosen, a proxy's word comes along
        else:
            self.grant = self._named()
        return self.grant

    def refresh(self, fresh: Grant) -> bool:
        """The client has another token; False, and nothing changes, where it is another subject's."""
        if self.grant is not None and fresh.subject != self.grant.subject:
            return False
        self.grant, self._named = fresh, None
        return True

    def reconsider(self) -> bool:
        """Look again at what a proxy's word grants; False where the client doesn't go by one."""
        if self.grant is None or self._named is None:
            return False
        self.grant = replace(self._named(), expires=self.grant.expires)
        return True

    def lend(self, channel: str, until: float) -> None:
        """A channel may be watched until this Unix time, by a token that came with its subscription."""
        if self._lent is None:
            self._lent = {}
        self._lent[channel] = until

    def give_back(self, channel: str) -> None:
        """The subscription has ended, and what was lent with it."""
        if self._lent is not None:
            self._lent.pop(channel, None)

    def give_back_ended(self, now: float) -> None:
        """Give back what was lent until Unix time ``now`` or earlier."""
        if self._lent is not None:
            self._lent = {channel: end for channel, end in self._lent.items() if end > now}

    def give_back_all(self) -> None:
        """All subscriptions have ended."""
        self._lent = None

    # What they say.

    def may_watch(self, channel: str) -> bool:
        """Whether the client may watch a channel, by its own token or by the one that it subscribed with."""
        lent = self._lent is not None and channel in self._lent
        return lent or (self.grant is not None and self.grant.may_watch(channel))

    def expired(self, now: float) -> bool:
        """Whether the client's own token has ended, by Unix time ``now`` in seconds."""
        return self.grant is not None and self.grant.ends is not None and now >= self.grant.ends

    @property
    def next_end(self) -> float | None:
        """When the first of the client's tokens ends, Unix seconds; None where none does."""
        own = self.grant.ends if self.grant is not None else None
        if not self._lent:
            return own
        first = min(self._lent.values())
        return first if own is None else min(own, first)

    def lifetime(self) -> tuple[bool, int]:
        """Whether the client has to refresh its token, and in how many seconds.

        Whom a proxy has named has nothing to refresh: when the time is over, the connection is made again.
        """
        if self.grant is None or self.grant.expires is None or self._named is not None:
            return False, 0
        return True, max(1, int(min(self.grant.expires - time.time(), _LONGEST)))
