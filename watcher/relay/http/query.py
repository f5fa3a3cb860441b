"""Lists of tasks from the history, for a relay whose archive is away. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Generator, Sequence
from fnmatch import translate
from typing import Final

from watcher.core.event import Task, decode
from watcher.core.permissions import Grant
from watcher.relay.api.queries import ListQuery
from watcher.relay.api.schemas import TaskList
from watcher.relay.stream.history import ALL, History
from watcher.relay.stream.index import EventKey

__all__ = ["page"]

#: Most visible events that one request examines; the next request continues from there.
_EXAMINE: Final = 2000
#: Events examined before the event loop serves others: one or two milliseconds.
_PIECE: Final = 100
#: A glob that matches a single name, as :func:`watcher.core.permissions.literally` makes it.
_LITERAL: Final = re.compile(r"(?:[^*?[]|\[[*?[]\])*")


def page(
    asked: ListQuery, history: History, grant: Grant, now: float, archive: str | None = None
) -> Generator[None, None, TaskList]:
    """The tasks of the journal that are asked for, and may be seen by the holder of ``grant``, as of when it was begun.

    It depends on nothing but these, and so does where it goes on: what may not be seen is passed over, however much
    that is. Others may have their turn where a None comes, and the history may grow.

    :param now: Unix seconds, for what the filter says of moments.
    :param archive: why the list is of the journal alone.
    """
    epoch, last, tasks, examined = history.epoch, history.last, list[Task](), 0
    matches, before = asked.filter.matches, None if asked.before is None else int(asked.before)
    follows: int | None = None
    for entry in history.walk(*_way(asked.channels, before, grant)):
        if entry is not None:
            offset, task = entry
            examined += 1
            if task is not None and matches(task, now) and grant.may_see(task.channels()):
                tasks.append(task)
            if examined >= _EXAMINE or len(tasks) >= asked.limit:
                follows = offset
                break
        if entry is None or examined % _PIECE == 0:
            yield
            if history.epoch != epoch:  # the journal has a new epoch
                return (yield from page(asked, history, grant, now, archive))
    return TaskList(tasks, epoch, last, follows, since=_since(history), archive=archive)


def _since(history: History) -> float | None:
    """When the oldest event in the history was, Unix seconds; None where there was none before it."""
    if history.first <= 1:
        return None
    oldest = next((line for offset in range(history.first, history.last + 1) if (line := history.line(offset))), None)
    return None if oldest is None else decode(oldest).timestamp


def _way(
    channels: Sequence[str], before: int | None, grant: Grant
) -> tuple[Sequence[str], int | None, Callable[[EventKey], bool] | None]:
    """Along which channels the history is read, from where, and what of it there is for the holder of ``grant``.

    Along a channel that may be watched there is nothing that may not be seen.
    """
    if grant.may_watch(ALL):
        return channels[:1] or (ALL,), before, None
    if watched := [channel for channel in channels if grant.may_watch(channel)]:
        return watched[:1], before, None
    if all(map(_LITERAL.fullmatch, grant.watch)):
        return [re.sub(r"\[(.)\]", r"\1", glob) for glob in grant.watch], before, None
    return channels[:1] or (ALL,), before, _seen_by(grant)


def _seen_by(grant: Grant) -> Callable[[EventKey], bool]:
    """Whether an event may be seen, by its place; each place is looked at once."""
    verdicts: dict[EventKey, bool] = {}
    match = _any_of(grant.watch).fullmatch

    def sees(event_key: EventKey) -> bool:
        verdict = verdicts.get(event_key)
        if verdict is None:
            verdict = verdicts[event_key] = any(map(match, event_key.channels))
        return verdict

    return sees


@functools.lru_cache(maxsize=256)
def _any_of(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, globs)))
