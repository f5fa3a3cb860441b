"""What a client is told of a channel's past: the task, what it missed, a page of the history. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final, NamedTuple

from msgspec import Raw

from watcher.centrifuge import messages
from watcher.centrifuge.messages import HistoryRequest, HistoryResult, Publication, SubscribeRequest
from watcher.core.event import OVERVIEW
from watcher.relay.stream.history import History

__all__ = ["Recovery", "page", "recover", "subscription_data"]

#: Publications in one reply: an SDK gives a command 5 s, so a reply must be small. In bytes of lines.
_REPLY_BYTES: Final = 256 * 1024
#: Tasks in the reply to a subscription of ``root:`` or ``group:``.
_REPLY_TASKS: Final = 1000


class Recovery(NamedTuple):
    """What a subscription begins with.

    :param position: offset up to which the client has everything with these publications.
    :param recovered: whether they are all that it missed.
    """

    position: int
    recovered: bool = False
    publications: tuple[Publication, ...] = ()


def subscription_data(history: History, channel: str) -> dict[str, Any] | None:
    """The ``data`` of a subscription; None where it isn't known here: of a task, or of the channel of numbers."""
    kind, _, name = channel.partition(":")
    if kind == "task":
        task = history.task(name)
        return None if task is None else {"task": task}
    if kind in ("root", "group"):
        return {"tasks": history.tasks(channel, _REPLY_TASKS)}
    return None if kind == OVERVIEW else {}


def recover(history: History, request: SubscribeRequest) -> Recovery | None:
    """What a client that subscribes is handed; None where it wants all that it missed or nothing, and can't have it."""
    if not request.recover:
        return Recovery(history.last)
    any_epoch = not request.epoch and request.offset == 0
    same = any_epoch or request.epoch == history.epoch
    since = request.offset if same else 0
    recovered = same and history.is_whole(request.channel, since)
    if not recovered and request.flag & 2:
        return None
    events, position = history.since({request.channel: since}, 0, _REPLY_BYTES)
    return Recovery(position, recovered, tuple(Publication(Raw(line), offset) for _, offset, line in events))


def page(history: History, request: HistoryRequest) -> HistoryResult | None:
    """A page of a channel's events; None where it is to begin in another journal."""
    since = request.since
    if since is not None and since.epoch not in ("", history.epoch):
        return None
    events: Iterable[tuple[int, bytes]]
    if request.reverse:
        events = history.newest(request.channel, since.offset if since else None)
    else:
        piece = history.since({request.channel: since.offset if since else 0}, 0, _REPLY_BYTES)
        events = ((offset, line) for _, offset, line in piece.events)
    publications: list[Publication] = []
    size = 0
    for offset, line in islice(events, None if request.limit < 0 else min(request.limit, sys.maxsize)):
        if size > _REPLY_BYTES:
            break
        publications.append(Publication(Raw(line), offset))
        size += len(line)
    return messages.HistoryResult(publications=publications, offset=history.last, epoch=history.epoch)
