"""Where the history finds the events of a channel and of a task: pure data.

A task's events are mostly on the same channels, so what leads to them is made once and shared, and an event that leaves
the history need not be looked at again.
"""

from __future__ import annotations

from array import array
from typing import Final, NamedTuple, Self, TypeAlias

from watcher.core.event import CHANNEL_LIMIT, Event, decode, is_final
from watcher.core.order import rank
from watcher.relay.stream.lost_offsets import LostOffsets

__all__ = ["AGAIN", "LATE", "RANK", "ChannelIndex", "EventIndex", "EventKey", "KeptEvent", "TaskIndex", "stands"]


class ChannelIndex(array):  # type: ignore[type-arg]  # array is not subscriptable at run time before Python 3.12
    """A channel's offsets, ascending; ``dead`` of them lead to no event any more, and ``lost`` is the newest of those.

    ``lost`` is 0 where none of them has.
    """

    __slots__ = ("channel", "dead", "lost")
    channel: str
    dead: int
    lost: int

    @classmethod
    def of(cls, channel: str) -> Self:
        """The index of a channel without events."""
        index = cls("Q")
        index.channel = channel
        index.dead = index.lost = 0
        return index


class TaskIndex(ChannelIndex):
    """The offsets of one task's events.

    ``final``: whether its newest event that isn't late ended it; None where there is none. ``event_key``, ``state``,
    ``retries``, ``run``, ``rank``: of its newest event, and likely of the next one too.
    """

    __slots__ = ("event_key", "final", "rank", "retries", "run", "state", "task")
    final: bool | None
    event_key: EventKey | None
    rank: int
    retries: int | None
    run: str | None
    state: str
    task: str

    @classmethod
    def of(cls, task: str) -> Self:
        """The index of a task without events."""
        index = super().of(f"task:{task}")
        index.task = task
        index.final = index.event_key = index.retries = index.run = None
        index.state, index.rank = "", 0
        return index

    def note(self, event: Event) -> int:
        """Take note of the task's next event; returns its mark."""
        state = event.state
        if event.late:
            self.state = ""
            return rank(state) | LATE
        if state == self.state and event.run == self.run and event.retries == self.retries:
            return self.rank | AGAIN
        self.final = is_final(state)
        self.state, self.retries, self.run, self.rank = state, event.retries, event.run, rank(state)
        return self.rank


class EventKey:
    """Which channels an event is on: made once for the events of a task, unless they differ in ``key``.

    ``channels``: those that can be watched, whose names have an end. What was lost of a channel is remembered for
    longer than its events, so it must not matter how long a name somebody thinks of.
    """

    __slots__ = ("channels", "key", "others", "task_index")

    def __init__(self, task_index: TaskIndex, key: Key, others: tuple[ChannelIndex, ...]) -> None:
        self.task_index = task_index
        self.key = key
        self.others = others
        self.channels = tuple([index.channel for index in (task_index, *others) if len(index.channel) <= CHANNEL_LIMIT])


#: ``root_id``, ``group_id``, ``name``, ``tags``: what an event's channels follow from, beside its task.
Key: TypeAlias = tuple[str | None, str | None, str | None, tuple[str, ...] | None]


class KeptEvent(NamedTuple):
    """An event outside the window; ``mark`` is its rank, with the flags below."""

    line: bytes
    event_key: EventKey
    mark: int


#: In a mark: the event is late …
LATE: Final = 16
#: … or tells of the same state in the same run as its task's event before: a report among many.
AGAIN: Final = 32
#: The rest of a mark.
RANK: Final = 15


def stands(retained: KeptEvent) -> tuple[float, int]:
    """What says which of two late events is rather to be kept: that of the later life and try."""
    event = decode(retained.line)
    return event.sent or 0.0, event.retries or 0


class EventIndex:
    """Of each task and each other channel the offsets of its events, as long as any of them is here.

    A task's offsets all lead to an event; a channel's may lead nowhere (``dead`` says how many), and are cleared away
    when that is more than half of them.

    :param first: offset of the first event that comes.
    """

    __slots__ = ("_lost", "channels", "tasks")

    def __init__(self, first: int) -> None:
        self.tasks: dict[str, TaskIndex] = {}
        self.channels: dict[str, ChannelIndex] = {}  # those of tasks excepted
        self._lost = LostOffsets(first - 1)  # of channels that have no events here

    def enter(self, event: Event, offset: int) -> EventKey:
        """Note down where an event is to be found. Most are on the channels of their task's event before."""
        task_index = self.tasks.get(event.id)
        if task_index is None:
            task_index = self.tasks[event.id] = TaskIndex.of(event.id)
        key = (event.root_id, event.group_id, event.name, event.tags)
        event_key = task_index.event_key
        if event_key is None or event_key.key != key:
            others = event.channels()[1:]
            event_key = task_index.event_key = EventKey(
                task_index, key, tuple([self._channel(other) for other in others])
            )
        task_index.append(offset)
        for offsets in event_key.others:
            offsets.append(offset)
        return event_key

    def of(self, channel: str) -> ChannelIndex | None:
        """The offsets of a channel; None where none of its events is here."""
        kind, _, name = channel.partition(":")
        return self.tasks.get(name) if kind == "task" else self.channels.get(channel)

    def lost(self, channel: str) -> int:
        """Offset of the newest event that a channel may have lost; 0 where it has lost none."""
        offsets = self.of(channel)
        return offsets.lost if offsets is not None and offsets.lost else self._lost.newest(channel)

    def forget_task(self, task_index: TaskIndex) -> None:
        """None of a task's events is here any more."""
        del self.tasks[task_index.task]
        self._remember(task_index, task_index[-1])
        task_index.event_key = None  # no cycle, so that all of it is freed at once

    def forget_channel(self, offsets: ChannelIndex) -> None:
        """None of a channel's events is here any more."""
        del self.channels[offsets.channel]
        self._remember(offsets, offsets.lost)

    def _channel(self, channel: str) -> ChannelIndex:
        offsets = self.channels.get(channel)
        if offsets is None:
            offsets = self.channels[channel] = ChannelIndex.of(channel)
        return offsets

    def _remember(self, offsets: ChannelIndex, lost: int) -> None:
        """A channel has no events any more: what it lost is remembered."""
        if len(offsets.channel) <= CHANNEL_LIMIT:  # what nobody can watch nobody will ask for
            self._lost.note(offsets.channel, lost)
