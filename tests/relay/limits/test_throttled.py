"""What comes in of a connection: a bite at a time, in order, and no faster than its client may go."""

from __future__ import annotations

import asyncio
import gc
import sys
import time

import pytest
from anyio.lowlevel import checkpoint

from tests.support.waiting import eventually
from watcher.core.settings import Settings
from watcher.relay.common.stats import Stats
from watcher.relay.limits.limits import Limits, RateLimiter
from watcher.relay.limits.throttled import ReadThrottle

pytestmark = pytest.mark.anyio


class Wire(asyncio.Transport):
    """The other end: whether it is read from."""

    def __init__(self) -> None:
        self.read = True

    def pause_reading(self) -> None:
        self.read = False

    def resume_reading(self) -> None:
        self.read = True

    def is_closing(self) -> bool:
        return False


class Reader:
    """Takes each byte for a command, and puts down what it was given.

    :param rate: commands a second.
    """

    def __init__(self, rate: int) -> None:
        self.seen = b""
        self.bites: list[int] = []
        self.messages: list[bytes] = []
        self.reached: list[str] = []
        limits = Limits(Settings(), Stats(), time.monotonic)
        account = limits.enter("192.0.2.1")
        account.trusted = True  # only the connection's own rate holds
        self.throttle = ReadThrottle(RateLimiter(rate, account), self)
        self.wire = Wire()
        self.throttle.open(self.wire)

    def read(self, data: bytes) -> bool:
        self.seen += data
        self.bites.append(len(data))
        self.throttle.cost += len(data)
        return True

    def read_message(self, text: bytes) -> None:
        if self.throttle.admit(text):
            self.messages.append(text)

    def slowed(self, limit: str) -> None:
        self.reached.append(limit)


async def test_all_of_it_is_read_in_order_and_a_bite_at_a_time() -> None:
    reader = Reader(rate=10_000_000)
    sent = bytes(range(256)) * 100
    reader.throttle.receive(sent)
    assert reader.bites == [4096]
    assert (reader.wire.read, reader.throttle.holding) == (False, True)
    reader.throttle.receive(b"last")
    await eventually(lambda: reader.seen == sent + b"last", what="all of it")
    assert max(reader.bites) == 4096
    assert (reader.wire.read, reader.throttle.holding, reader.reached) == (True, False, [])


async def test_who_goes_too_fast_is_read_more_slowly_and_loses_nothing() -> None:
    reader = Reader(rate=50_000)
    reader.throttle.receive(b"x" * 60_000)  # 10,000 more than may come at once
    await eventually(lambda: len(reader.seen) == 60_000, what="all of it")
    assert set(reader.reached) == {"max_commands"}
    assert reader.wire.read or reader.throttle.holding


async def test_who_takes_no_replies_is_not_heard_until_it_does() -> None:
    reader = Reader(rate=10_000_000)
    reader.throttle.pause()
    assert not reader.wire.read
    reader.read_message(b"first")
    reader.read_message(b"second")
    reader.throttle.receive(b"x" * 10)
    assert (reader.messages, reader.seen) == ([], b"x" * 10)
    reader.throttle.resume()
    await eventually(lambda: reader.messages == [b"first", b"second"], what="what had to wait")
    assert reader.wire.read


async def test_what_is_left_of_a_message_comes_before_the_next() -> None:
    reader = Reader(rate=10_000_000)
    reader.throttle.put_back(b"rest")
    reader.read_message(b"next")
    assert reader.messages == []
    reader.throttle.receive(b"x")
    await eventually(lambda: reader.messages == [b"rest", b"next"], what="what had to wait")


async def test_a_connection_that_is_gone_hears_nothing_more_and_is_freed_at_once() -> None:
    reader = Reader(rate=10_000_000)
    reader.throttle.receive(b"x" * 10_000)
    reader.throttle.close()
    await checkpoint()
    assert len(reader.seen) == 4096
    gc.disable()
    try:
        assert sys.getrefcount(reader) == 2, "the throttle has let go of it"
    finally:
        gc.enable()
