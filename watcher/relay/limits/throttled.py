"""A connection that is read no faster than its client may go, and never for long at a time.

What it sent is looked at a bite at a time, so that others have their turn between two. Who sends faster than it may is
not cut off, but read more slowly: what has come already waits here, and TCP holds up the rest. Those of one address
wait in one line.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from watcher.relay.limits.direct_writer import DirectWriter
from watcher.relay.limits.fair_queue import FairQueue, QueuePlace
from watcher.relay.limits.limits import AddressUsage, RateLimiter

__all__ = ["ThrottledConnection", "await_turn"]

#: A bite, in bytes.
_BITE: Final = 4 * 1024


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


class ThrottledConnection(DirectWriter):
    """Bytes in, messages in between; the rest is its subclass's.

    :param pace: how fast the client may go.
    """

    __slots__ = ("_begun", "_cost", "_held", "_pace", "_paused", "_texts", "_timer")

    def __init__(self, pace: RateLimiter) -> None:
        self._pace = pace
        self._begun = False  # whether anything has come
        self._cost = 0  # commands that it has yet to be charged
        self._held: bytes | None = None  # bytes that wait until it may go on …
        self._texts: Sequence[bytes] = ()  # … and messages, which come before them …
        self._timer: asyncio.Handle | QueuePlace | None = None  # … and what ends the wait
        self._paused = False  # whether the client doesn't take what it is sent: then it isn't heard either

    @property
    def account(self) -> AddressUsage | None:
        """Of the address where the client is; None where that isn't known."""
        return self._pace.account

    @property
    def address(self) -> str:
        """Where the client is; empty where that isn't known."""
        return "" if self._pace.account is None else self._pace.account.address

    # For subclasses.

    def _bite(self, data: bytes) -> bool:
        """Look at some bytes, adding to ``_cost``; whether more of them are wanted."""
        raise NotImplementedError

    def _message(self, text: bytes) -> None:
        """Look at a message that had to wait."""
        raise NotImplementedError

    def _slowed(self, limit: str) -> None:
        """The client goes faster than it may: the name of the setting that says so."""
        raise NotImplementedError

    @property
    def _holding(self) -> bool:
        """Whether something that the client said waits to be looked at."""
        return self._held is not None

    def _drop_held(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._held, self._texts = None, ()

    # What asyncio calls.

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._held is not None:
            self._held += data  # it was on its way already when reading was paused
        # What comes first is a handshake. If that were held, what follows would be put behind it, and websockets, which
        # would read both in one go, would end its side for what isn't a frame before it has answered.
        elif self._begun and self._pace.account is not None and self._pace.account.is_heavy(time.monotonic()):
            self._hold(data)
        else:
            self._begun = True
            self._take(data)

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It has taken enough to be sent more."""
        self._paused = False
        if self._timer is not None:
            return
        if self._held is None:
            self._read_on()
        else:
            self._hold(self._held)

    # How it goes on.

    def _take(self, data: bytes) -> None:
        for start in range(0, len(data), _BITE):
            if self._bite(data[start : start + _BITE]) and (self._must_wait() or start + _BITE < len(data)):
                self._hold(data[start + _BITE :])
                break

    def _must_wait(self) -> bool:
        """Charge the client for what it has said; whether it must not go on at once."""
        if not self._cost:
            return bool(self._texts)
        cost, self._cost = self._cost, 0
        return self._pace.charge(cost, time.monotonic()) > 0 or bool(self._texts)

    def _hold(self, data: bytes) -> None:
        """Read no more until the client may go on, at the earliest when others have had their turn."""
        self._held = data
        self._transport.pause_reading()
        now, account = time.monotonic(), self._pace.account
        if self._pace.ahead(now) > 0:
            self._slowed(self._pace.limit(now))
        if account is None or account.trusted or self._pace.alone(now) > 0:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, self._pace.alone(now)), self._waited)
        else:
            self._timer = await_turn(account, self._go_on)

    def _waited(self) -> None:
        """Its own pace allows it, and now it has to wait for its turn where it has one."""
        self._timer = None
        account = self._pace.account
        if account is None or account.trusted or self._held is None:
            self._go_on()
        else:
            self._hold(self._held)

    def _go_on(self) -> None:
        """Look at what waits, unless the client doesn't take its replies, and then read again."""
        self._timer = None
        if self._paused or self._transport.is_closing():
            return
        texts, data = self._texts, self._held
        self._texts, self._held = (), None
        for text in texts:
            self._message(text)
        if texts and self._must_wait():
            self._hold(data or b"")
        elif data:
            self._take(data)
        self._read_on()

    def _read_on(self) -> None:
        if self._held is None and not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()
