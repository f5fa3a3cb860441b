"""The query of ``GET /api/tasks``: which tasks a list holds. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Final

from watcher.core.errors import BadRequest
from watcher.core.event import Task
from watcher.core.permissions import Grant
from watcher.core.suggestions import state_meant
from watcher.relay.api.schemas import LAST_OFFSET, LIST, MOST_TASKS, USUAL_TASKS, TaskList
from watcher.relay.stream.history import ALL, History
from watcher.relay.stream.index import EventKey

__all__ = ["Query"]

#: Most visible events that one request examines; the next request continues from there.
_EXAMINE: Final = 2000
#: Events examined before the event loop serves others: one or two milliseconds.
_PIECE: Final = 100
#: Parameters that name channels, those with the fewest tasks first.
_CHANNELS: Final = ("root", "group", "tag", "name")
#: A glob that matches a single name, as :func:`watcher.core.permissions.literally` makes it.
_LITERAL: Final = re.compile(r"(?:[^*?[]|\[[*?[]\])*")


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query.

    :param states: any of these; all if there are none.
    :param channels: the task is on each of them; the history is read along the first.
    :param before: only tasks whose newest event has a smaller offset.
    """

    states: frozenset[str]
    channels: tuple[str, ...]
    limit: int
    before: int | None

    @classmethod
    def read(cls, parameters: Iterable[tuple[str, str]]) -> Query:
        """Parse the query's parameters.

        :raises BadRequest: one is invalid; the message names it.
        """
        states: list[str] = []
        values: dict[str, str] = {}
        for name, value in parameters:
            if name == "state":
                states.append(_state(value))
            elif name not in LIST:
                raise BadRequest(f"parameter {name[:80]!r}: is unknown; accepted are {', '.join(LIST)}")
            elif name in values:
                raise BadRequest(f"parameter {name!r}: may be given once")
            else:
                values[name] = value
            if not value:
                raise BadRequest(f"parameter {name!r}: must not be empty")
            if len(states) > LIST["state"].repeated:
                raise BadRequest(f"parameter 'state': may be given {LIST['state'].repeated} times at most")
        return cls(
            states=frozenset(states),
            channels=tuple(f"{name}:{values[name]}" for name in _CHANNELS if name in values),
            limit=_number("limit", values.get("limit", str(USUAL_TASKS)), 1, MOST_TASKS),
            before=_number("before", values["before"], 0, LAST_OFFSET) if "before" in values else None,
        )

    def page(self, history: History, grant: Grant) -> Generator[None, None, TaskList]:
        """The tasks that are asked for, and may be seen by the holder of ``grant``, as of when it was begun.

        It depends on nothing but these, and so does where it goes on: what may not be seen is passed over, however much
        that is. Others may have their turn where a None comes, and the history may grow.
        """
        epoch, last, tasks, examined = history.epoch, history.last, list[Task](), 0
        for entry in history.walk(*self._way(grant)):
            if entry is not None:
                offset, task = entry
                examined += 1
                if task is not None and self._wants(task) and grant.may_see(task.channels()):
                    tasks.append(task)
                if examined >= _EXAMINE or len(tasks) >= self.limit:
                    return TaskList(tasks, epoch, last, offset)
            if entry is None or examined % _PIECE == 0:
                yield
                if history.epoch != epoch:  # the journal has a new epoch
                    return (yield from self.page(history, grant))
        return TaskList(tasks, epoch, last, None)

    def _wants(self, task: Task) -> bool:
        if self.states and task.state not in self.states:
            return False
        carried = task.channels()
        return all(channel in carried for channel in self.channels)

    def _way(self, grant: Grant) -> tuple[Sequence[str], int | None, Callable[[EventKey], bool] | None]:
        """Along which channels the history is read, from where, and what of it there is for the holder of ``grant``.

        Along a channel that may be watched there is nothing that may not be seen.
        """
        if grant.may_watch(ALL):
            return self.channels[:1] or (ALL,), self.before, None
        if watched := [channel for channel in self.channels if grant.may_watch(channel)]:
            return watched[:1], self.before, None
        if all(map(_LITERAL.fullmatch, grant.watch)):
            return [re.sub(r"\[(.)\]", r"\1", glob) for glob in grant.watch], self.before, None
        return self.channels[:1] or (ALL,), self.before, _seen_by(grant)


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


def _state(name: str) -> str:
    if (meant := state_meant(name)) is not None:
        own = "custom states are accepted as they are spelled, unless they look like one of Celery's"
        raise BadRequest(f"parameter 'state': no such state {name[:80]!r}, did you mean {meant}? ({own})")
    return name


def _number(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or not least <= int(text) <= most:
        raise BadRequest(f"parameter {name!r}: must be a whole number from {least} to {most}, not {text[:80]!r}")
    return int(text)
