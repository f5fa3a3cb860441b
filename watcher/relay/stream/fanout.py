"""From the hub to those who watch: frames that are built once, and one write to each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from watcher.centrifuge import messages
from watcher.centrifuge.frames import frame, frames
from watcher.relay.common.stats import Stats
from watcher.relay.stream.hub import Handed, Publications

__all__ = ["Outlet", "fan_out", "pieces"]


class Outlet(Protocol):
    """A subscriber of the hub."""

    def deliver(self, data: bytes) -> int:
        """Take events, as frames; returns how many writes that takes."""


def fan_out(handed: Iterable[Handed[Any]], counts: Stats) -> None:
    """Hand out what a flush of the hub brought."""
    for parts, subscribers in handed:
        if len(parts) == 1:
            data, events = _framed(parts[0]), len(parts[0].events)
        else:
            data, events = b"".join(map(_framed, parts)), sum([len(part.events) for part in parts])
        writes = 0
        subscriber: Outlet
        for subscriber in subscribers:
            writes += subscriber.deliver(data)
        counts.writes += writes
        counts.delivered += writes * events


def pieces(lines: Sequence[bytes], limit: int) -> Iterator[Sequence[bytes]]:
    """``lines`` in pieces of about ``limit`` bytes."""
    if sum(map(len, lines)) < limit:  # as nearly always
        yield lines
        return
    start = size = 0
    for index, line in enumerate(lines):
        size += len(line)
        if size >= limit:
            yield lines[start : index + 1]
            start, size = index + 1, 0
    if start < len(lines):
        yield lines[start:]


def _framed(part: Publications) -> bytes:
    if part.frame is None:
        if len(part.events) == 1:
            part.frame = frame(messages.publication(part.channel, *part.events[0]))
        else:
            part.frame = frames(messages.publications(part.channel, part.events))
    return part.frame
