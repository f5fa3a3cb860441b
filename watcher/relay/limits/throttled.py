"""What a connection has that is read no faster than its client may go, and never for long at a time.

What it sent is looked at a bite at a time, so that others have their turn between two. Who sends faster than it may is
not cut off, but read more slowly: what has come already waits here, and TCP holds up the rest. Those of one address
wait in one line.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from watcher.relay.limits.fair_queue import FairQueue, QueuePlace
from watcher.relay.limits.limits import AddressUsage, RateLimiter

__all__ = ["ReadThrottle", "ThrottledReader", "await_turn"]

#: A bite, in bytes.
_BITE: Final = 4 * 1024
#: After so many commands at once others have their turn; it is a millisecond or two.
_ENOUGH: Final = 100


def await_turn(account: AddressUsage, go_on: Callable[[], bool | None]) -> QueuePlace:
    """Have ``go_on`` called once the address may go on, and it is its turn among others."""
    turns = account.turns
    turn = turns.join(account, go_on)
    if not turns.soon:
        if turns.timer is not None:
            turns.timer.cancel()
        _advance_after(0.0, turns)
    return turn


def _advance_after(seconds: float, turns: FairQueue) -> None:
    turns.soon = seconds == 0.0
    turns.timer = asyncio.get_running_loop().call_later(seconds, _advance, turns)


def _advance(turns: FairQueue) -> None:
    again: float | None = 0.0  # also where one of them failed: the others go on
    turns.soon = True  # who joins meanwhile is seen
    try:
        again = turns.advance(time.monotonic)
    finally:
        turns.soon, turns.timer = False, None
        if again is not None:
            _advance_after(again, turns)


class ThrottledReader(Protocol):
    """Who looks at what a client has sent, when it may."""

    def read(self, data: bytes) -> bool:
        """Look at some bytes, and add to :attr:`ReadThrottle.cost` what that took; whether more are wanted."""

    def read_message(self, text: bytes) -> None:
        """Look at a message that had to wait."""

    def slowed(self, limit: str) -> None:
        """The client goes faster than it may: the name of the setting that says so."""


class _Nobody:
    """Whose connection is gone."""

    def read(self, data: bytes) -> bool:
        return False

    def read_message(self, text: bytes) -> None: ...

    def slowed(self, limit: str) -> None: ...


_NOBODY: Final = _Nobody()


class ReadThrottle:
    """Bytes and messages of one client on their way to who reads them, one after the other.

    ``cost``: commands that the client has yet to be charged; whoever reads adds to it. ``paused``: whether the client
    doesn't take what it is sent; then it isn't heard either.

    :param pace: how fast the client may go.
    :param reader: looks at them.
    """

    __slots__ = ("_begun", "_held", "_reader", "_texts", "_timer", "_transport", "cost", "pace", "paused")

    _transport: asyncio.Transport

    def __init__(self, pace: RateLimiter, reader: ThrottledReader) -> None:
        self.pace = pace
        self.cost = 0
        self.paused = False
        self._reader = reader
        self._begun = False  # whether anything has come
        self._held: bytes | None = None  # bytes that wait until the client may go on …
        self._texts: Sequence[bytes] = ()  # … and messages, which come before them …
        self._timer: asyncio.Handle | QueuePlace | None = None  # … and what ends the wait

    def open(self, transport: asyncio.Transport) -> None:
        """From now on this is what is read from."""
        self._transport = transport

    def close(self) -> None:
        """The connection is gone: drop what waits, and the reader, whose part this is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._held, self._texts = None, ()
        self._reader = _NOBODY

    @property
    def holding(self) -> bool:
        """Whether something that the client said waits to be looked at."""
        return self._held is not None

    # What has come.

    def receive(self, data: bytes) -> None:
        """Bytes have come."""
        if self._held is not None:
            self._held += data  # it was on its way already when reading was paused
        # What comes first is a handshake. If that were held, what follows would be put behind it, and websockets, which
        # would read both in one go, would end its side for what isn't a frame before it has answered.
        elif self._begun and self.pace.account is not None and self.pace.account.is_heavy(time.monotonic()):
            self._hold(data)
        else:
            self._begun = True
            self._take(data)

    def admit(self, text: bytes) -> bool:
        """Whether a message may be looked at now; else it is kept until then.

        It has to wait for another, until others have had their turn, or until there is room for replies.
        """
        if not self._texts and self.cost <= _ENOUGH and not self.paused:
            return True
        self._texts = (*self._texts, text)
        return False

    def put_back(self, rest: bytes) -> None:
        """Keep what is left of a message that was looked at."""
        self._texts = (rest,)

    # Whether the client takes what it is sent.

    def pause(self) -> None:
        """It takes less than it is sent."""
        self.paused = True
        self._transport.pause_reading()

    def resume(self) -> None:
        """It has taken enough to be sent more."""
        self.paused = False
        if self._timer is not None:
            return
        if self._held is None:
            self._read_on()
        else:
            self._hold(self._held)

    # How it goes on.

    def _take(self, data: bytes) -> None:
        for start in range(0, len(data), _BITE):
            if self._reader.read(data[start : start + _BITE]) and (self._must_wait() or start + _BITE < len(data)):
                self._hold(data[start + _BITE :])
                break

    def _must_wait(self) -> bool:
        """Charge the client for what it has said; whether it must not go on at once."""
        if not self.cost:
            return bool(self._texts)
        cost, self.cost = self.cost, 0
        return self.pace.charge(cost, time.monotonic()) > 0 or bool(self._texts)

    def _hold(self, data: bytes) -> None:
        """Read no more until the client may go on, at the earliest when others have had their turn."""
        self._held = data
        self._transport.pause_reading()
        now, account = time.monotonic(), self.pace.account
        if self.pace.ahead(now) > 0:
            self._reader.slowed(self.pace.limit(now))
        if account is None or account.trusted or self.pace.alone(now) > 0:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, self.pace.alone(now)), self._waited)
        else:
            self._timer = await_turn(account, self._go_on)

    def _waited(self) -> None:
        """Its own pace allows it, and now it has to wait for its turn where it has one."""
        self._timer = None
        account = self.pace.account
        if account is None or account.trusted or self._held is None:
            self._go_on()
        else:
            self._hold(self._held)

    def _go_on(self) -> None:
        """Look at what waits, unless the client doesn't take its replies, and then read again."""
        self._timer = None
        if self.paused or self._transport.is_closing():
            return
        texts, data = self._texts, self._held
        self._texts, self._held = (), None
        for text in texts:
            self._reader.read_message(text)
        if texts and self._must_wait():
            self._hold(data or b"")
        elif data:
            self._take(data)
        self._read_on()

    def _read_on(self) -> None:
        if self._held is None and not self.paused and not self._transport.is_closing():
            self._transport.resume_reading()
