"""The publisher: a process of its own that publishes events at a rate, or as fast as they arrive.

    python -m bench.publish WAY ADDRESS --progress FILE --clients 1000 [--unicast] [--start 0]
                            [--seconds 5] [--rate 50] [--count 20000]

WAY is how: ``journal`` is ours, and what a worker's publisher does; the others are what the peers' users have. Flat
out it stays only so far ahead of what the load generator has counted as arrives in a quarter of a second, so that a
slow peer is measured and not drowned; with ``--count`` it doesn't look. It prints one line of JSON when it has ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import mmap
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from bench.events import Message, message

#: Flat out, what is on its way is what arrives in so many seconds, within bounds.
_AHEAD_SECONDS = 0.25
_AHEAD_LEAST, _AHEAD_MOST = 8, 20_000


class Way(Protocol):
    """A way to publish."""

    batch: int

    def send(self, messages: Sequence[Message]) -> None:
        """Publish, and return when it is done."""


class ByJournal:
    """Append to the journal by what workers do it with: one script call a batch."""

    batch = 500

    def __init__(self, address: str) -> None:
        from watcher.journal.connect import Target
        from watcher.journal.layout import Journal, Record
        from watcher.worker.publish.appender import Appender

        target = Target.of(address)
        self._appender, self._record = Appender(target, Journal(database=target.database)), Record
        self._number = 0

    def send(self, messages: Sequence[Message]) -> None:
        self._number += 1
        records = [self._record(each.id, each.standing, each.line) for each in messages]
        self._appender.append(self._number, records)


class Pipe:
    """A connection on which requests are pipelined, and replies counted by what each holds once."""

    def __init__(self, host: str, port: int, mark: bytes) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._mark = mark

    def send(self, requests: Sequence[bytes]) -> None:
        """Send all, and wait for as many replies."""
        self._socket.sendall(b"".join(requests))
        answered, tail = 0, b""
        while answered < len(requests):
            got = self._socket.recv(1 << 16)
            if not got:
                raise ConnectionError("the server hung up")
            piece = tail + got
            answered += piece.count(self._mark)
            tail = piece[max(piece.rfind(self._mark) + len(self._mark), len(piece) - len(self._mark) + 1) :]


class ByPubSub:
    """PUBLISH each event on its channel, pipelined: written by hand, since redis-py would be what is measured."""

    batch = 200

    def __init__(self, address: str) -> None:
        found = urlsplit(address)
        self._pipe = Pipe(found.hostname or "", found.port or 6379, b"\r\n")

    def send(self, messages: Sequence[Message]) -> None:
        self._pipe.send(
            [
                b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n"
                % (len(each.channel), each.channel.encode(), len(each.line), each.line)
                for each in messages
            ]
        )


class ByHTTP:
    """POST each event to its channel's address, pipelined on one connection: how nchan is published to."""

    batch = 100

    def __init__(self, address: str) -> None:
        host, _, port = address.partition(":")
        self._pipe = Pipe(host, int(port), b"HTTP/1.1 2")

    def send(self, messages: Sequence[Message]) -> None:
        self._pipe.send(
            [
                b"POST /pub/%s HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s"
                % (each.channel.encode(), len(each.line), each.line)
                for each in messages
            ]
        )


class BySocketIO:
    """python-socketio's manager for processes that only write."""

    batch = 20

    def __init__(self, address: str) -> None:
        import socketio

        self._loop = asyncio.new_event_loop()
        self._manager = socketio.AsyncRedisManager(address, write_only=True)

    def send(self, messages: Sequence[Message]) -> None:
        self._loop.run_until_complete(self._send(messages))

    async def _send(self, messages: Sequence[Message]) -> None:
        for each in messages:
            await self._manager.emit("event", json.loads(each.line), room=each.channel)


class ByEmitter:
    """What @socket.io/redis-emitter publishes, in the format of @socket.io/redis-adapter."""

    batch = 100

    def __init__(self, address: str) -> None:
        import msgspec

        self._decode, self._encode = msgspec.json.decode, msgspec.msgpack.encode
        self._pubsub = ByPubSub(address)

    def send(self, messages: Sequence[Message]) -> None:
        self._pubsub.send([self._packed(each) for each in messages])

    def _packed(self, each: Message) -> Message:
        packet = {"type": 2, "data": ["event", self._decode(each.line)], "nsp": "/"}
        options = {"rooms": [each.channel], "except": [], "flags": {}}
        line = self._encode(["emitter", packet, options])
        return each._replace(channel=f"socket.io#/#{each.channel}#", line=line)


class ByChannels:
    """group_send of Django channels, by its Redis layer."""

    batch = 20

    def __init__(self, address: str) -> None:
        from channels_redis.core import RedisChannelLayer

        self._loop = asyncio.new_event_loop()
        self._layer = RedisChannelLayer(hosts=[address], capacity=1_000_000, expiry=3600)

    def send(self, messages: Sequence[Message]) -> None:
        self._loop.run_until_complete(self._send(messages))

    async def _send(self, messages: Sequence[Message]) -> None:
        for each in messages:
            await self._layer.group_send(each.channel, {"type": "bench.event", "text": each.line.decode()})


WAYS: dict[str, Callable[[str], Way]] = {
    "journal": ByJournal,
    "pubsub": ByPubSub,
    "http": ByHTTP,
    "socketio": BySocketIO,
    "emitter": ByEmitter,
    "channels": ByChannels,
}


class Ahead:
    """How many events may be published now, flat out."""

    def __init__(self, progress: mmap.mmap, share: int, start: int) -> None:
        self._progress, self._share = progress, share
        self._before = self._arrived() - start
        self._seen = deque([(time.monotonic(), 0)])

    def _arrived(self) -> int:
        count: int = struct.unpack_from("=Q", self._progress)[0]
        return count // self._share

    def room(self, published: int) -> int:
        arrived = self._arrived() - self._before
        now = time.monotonic()
        self._seen.append((now, arrived))
        while now - self._seen[0][0] > _AHEAD_SECONDS and len(self._seen) > 2:
            self._seen.popleft()
        recently = arrived - self._seen[0][1]
        return max(_AHEAD_LEAST, min(_AHEAD_MOST, recently)) - (published - arrived)


def flat_out(way: Way, make: Callable[[int], Message], ahead: Ahead, start: int, seconds: float) -> int:
    """Publish for so many seconds; returns the count of the event that would be next."""
    count, end = start, time.monotonic() + seconds
    while time.monotonic() < end:
        room = min(ahead.room(count), way.batch)
        if room < _AHEAD_LEAST // 2:
            time.sleep(0.0005)
            continue
        way.send([make(each) for each in range(count, count + room)])
        count += room
    return count


def at_rate(way: Way, make: Callable[[int], Message], rate: float, start: int, seconds: float) -> int:
    """Publish ``rate`` events a second, each when it is due; what is late goes together."""
    count, begun = start, time.monotonic()
    while (elapsed := time.monotonic() - begun) < seconds:
        due = start + int(elapsed * rate) + 1 - count
        if due > 0:
            due = min(due, way.batch)
            way.send([make(each) for each in range(count, count + due)])
            count += due
        else:
            time.sleep(max(0.0, (count - start) / rate - elapsed))
    return count


def at_once(way: Way, make: Callable[[int], Message], start: int, count: int) -> int:
    """Publish so many, whether they arrive or not."""
    for first in range(start, start + count, way.batch):
        way.send([make(each) for each in range(first, min(first + way.batch, start + count))])
    return start + count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("address")
    parser.add_argument("--progress", type=Path, required=True)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--count", type=int)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--unicast", action="store_true")
    given = parser.parse_args()
    way = WAYS[given.way](given.address)
    with given.progress.open("r+b") as file:
        progress = mmap.mmap(file.fileno(), 16)

    def make(count: int) -> Message:
        return message(count, given.clients, unicast=given.unicast)

    begun = time.monotonic()
    if given.count is not None:
        end = at_once(way, make, given.start, given.count)
    elif given.rate is None:
        ahead = Ahead(progress, 1 if given.unicast else given.clients, given.start)
        end = flat_out(way, make, ahead, given.start, given.seconds)
    else:
        end = at_rate(way, make, given.rate, given.start, given.seconds)
    report: dict[str, Any] = {"next": end, "seconds": time.monotonic() - begun, "cpu": time.process_time()}
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
