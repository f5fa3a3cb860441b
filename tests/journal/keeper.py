"""A journal on a real server, as one writer sees it."""

from __future__ import annotations

from typing import Any

from redis import Redis

from tests.support.events import record, stored
from watcher.core.event import Event
from watcher.journal.layout import SECRET_LENGTH, Journal, open_line
from watcher.journal.scripts import APPEND, BEGIN

__all__ = ["Keeper", "keeper"]

_SECRET = "5" * SECRET_LENGTH


class Keeper:
    """A journal on a server, as one writer sees it."""

    def __init__(self, redis: Redis, journal: Journal) -> None:
        self.redis: Any = redis  # redis-py's types allow for clients that decode, and for none of what they return
        self.journal = journal
        self.script, self.start = redis.register_script(APPEND), redis.register_script(BEGIN)
        self.number = 0

    def append(self, *events: Event, writer: str = "w", number: int | None = None) -> tuple[str, int, int]:
        if number is None:
            self.number += 1
        keys, arguments = self.journal.append(writer, number or self.number, [record(event) for event in events])
        epoch, offset, taken = self.script(keys=keys, args=arguments)
        return epoch.decode(), offset, taken

    def begin(self, rewound: str = "") -> tuple[str, int, int]:
        keys, arguments = self.journal.begin(_SECRET, rewound)
        epoch, first, last, _ = self.start(keys=keys, args=arguments)
        return epoch.decode(), first, last

    def entries(self) -> list[tuple[int, Event]]:
        return stored(self.redis.xrange(self.journal.stream))

    def open(self) -> set[str]:
        return {key.decode() for key in self.redis.hkeys(self.journal.open)}

    def open_lines(self) -> dict[str, tuple[int, bytes]]:
        return {k.decode(): open_line(v) for k, v in self.redis.hgetall(self.journal.open_lines).items()}


def keeper(redis: Any, **bounds: Any) -> Keeper:
    return Keeper(redis, Journal(**bounds))
