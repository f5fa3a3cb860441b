"""Which tasks a list is to hold, as the query of ``GET /api/tasks`` says; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from watcher.errors import BadRequest
from watcher.event import Task
from watcher.relay.guess import state_meant
from watcher.relay.history import ALL, History, Page
from watcher.relay.shapes import LAST_OFFSET, LIST, MOST_TASKS, USUAL_TASKS

__all__ = ["Query"]

#: A request looks at no more events than this; the next one goes on from there.
_EXAMINE: Final = 2000
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

    def page(self, history: History, visible: Callable[[Task], bool]) -> Page:
        """The tasks that are asked for, and may be seen."""

        def wanted(task: Task) -> bool:
            if self.states and task.state not in self.states:
                return False
            carried = task.channels()
            return all(channel in carried for channel in self.channels) and visible(task)

        channel = self.channels[0] if self.channels else ALL
        return history.page(channel, self.before, self.limit, _EXAMINE, wanted)


def _state(name: str) -> str:
    if (meant := state_meant(name)) is not None:
        own = "a state of tasks' own is taken as they call it, unless it reads like one of Celery's"
        raise BadRequest(f"parameter 'state': there is no state {name[:80]!r}, did you mean {meant}? ({own})")
    return name


def _number(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or not least <= int(text) <= most:
        raise BadRequest(f"parameter {name!r}: takes a whole number from {least} to {most}, not {text[:80]!r}")
    return int(text)
