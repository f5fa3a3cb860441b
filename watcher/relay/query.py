"""Which tasks a list is to hold, as the query of ``GET /api/tasks`` says; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from watcher.errors import BadRequest
from watcher.event import Task
from watcher.relay.guess import state_meant
from watcher.relay.history import ALL, History
from watcher.relay.shapes import LAST_OFFSET, LIST, MOST_TASKS, USUAL_TASKS, TaskList

__all__ = ["Query", "Search"]

#: A request looks at no more events than this; the next one goes on from there.
_EXAMINE: Final = 2000
#: Of them so many before others have their turn; it is a millisecond or two.
_PIECE: Final = 100
#: Parameters that are channels, those with the fewest tasks first.
_CHANNELS: Final = ("root", "group", "tag", "name")


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for.

    :param states: any of these; all where there are none.
    :param channels: the task is carried by each of them; the history is read along the first.
    :param before: offset that the tasks' newest events lie before.
    """

    states: frozenset[str]
    channels: tuple[str, ...]
    limit: int
    before: int | None

    @classmethod
    def read(cls, parameters: Iterable[tuple[str, str]]) -> Query:
        """Read the query's parameters.

        :raises BadRequest: one isn't accepted; names it.
        """
        states: list[str] = []
        given: dict[str, str] = {}
        for name, value in parameters:
            if name == "state":
                states.append(_state(value))
            elif name not in LIST:
                raise BadRequest(f"parameter {name[:80]!r}: is not accepted; {', '.join(LIST)} are")
            elif name in given:
                raise BadRequest(f"parameter {name!r}: is accepted once")
            else:
                given[name] = value
            if not value:
                raise BadRequest(f"parameter {name!r}: is empty")
            if len(states) > LIST["state"].repeated:
                raise BadRequest(f"parameter 'state': is accepted {LIST['state'].repeated} times at most")
        return cls(
            states=frozenset(states),
            channels=tuple(f"{name}:{given[name]}" for name in _CHANNELS if name in given),
            limit=_number("limit", given.get("limit", str(USUAL_TASKS)), 1, MOST_TASKS),
            before=_number("before", given["before"], 0, LAST_OFFSET) if "before" in given else None,
        )

    def wants(self, task: Task) -> bool:
        """Whether a task is one that is asked for."""
        if self.states and task.state not in self.states:
            return False
        carried = task.channels()
        return all(channel in carried for channel in self.channels)


class Search:
    """A list in the making, a few events at a time: it is as of when it was begun, its tasks are as they are.

    :param visible: which tasks may be seen by whoever asks.
    """

    def __init__(self, query: Query, history: History, visible: Callable[[Task], bool]) -> None:
        self._query = query
        self._history = history
        self._visible = visible
        self._begin()

    def _begin(self) -> None:
        self._epoch, self._last = self._history.epoch, self._history.last
        self._next = self._query.before
        self._left = _EXAMINE
        self._tasks: list[Task] = []

    def more(self) -> bool:
        """Look at the next events; whether there are more to look at."""
        query, history = self._query, self._history
        if history.epoch != self._epoch:
            self._begin()  # the journal is another one
        channel = query.channels[0] if query.channels else ALL
        # What has come since is not in it, but for what it says of tasks that are.
        before = min(self._last + 1, self._last + 1 if self._next is None else self._next)
        left, examine = query.limit - len(self._tasks), min(_PIECE, self._left)
        page = history.page(channel, before, left, examine, self._wanted, upto=self._last)
        self._tasks += page.tasks
        self._left -= examine
        self._next = page.next
        return page.next is not None and self._left > 0 and len(self._tasks) < query.limit

    def found(self) -> TaskList:
        """The tasks that are asked for, and may be seen."""
        return TaskList(self._tasks, self._epoch, self._last, self._next)

    def _wanted(self, task: Task) -> bool:
        return self._query.wants(task) and self._visible(task)


def _state(name: str) -> str:
    if (meant := state_meant(name)) is not None:
        own = "a state of tasks' own is taken as they call it, unless it reads like one of Celery's"
        raise BadRequest(f"parameter 'state': there is no state {name[:80]!r}, did you mean {meant}? ({own})")
    return name


def _number(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or not least <= int(text) <= most:
        raise BadRequest(f"parameter {name!r}: takes a whole number from {least} to {most}, not {text[:80]!r}")
    return int(text)
