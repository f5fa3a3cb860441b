"""`watcher watch`: events as they come."""

from __future__ import annotations

import time

import click

from watcher.cli import calling
from watcher.cli.calling import Call, calling_options, channel_of
from watcher.cli.terminal import Live, json_line, one_line, say, task_line, write
from watcher.client import EventsLost, Relay, TaskEvent

__all__ = ["watch"]

_WELL = ("SUCCESS", "IGNORED")
#: Of an offset, which the relay takes for an unsigned 64-bit number.
_DIGITS = 19


@click.command()
@click.argument("channels", nargs=-1, metavar="[CHANNEL|ID]...")
@click.option("--json", "as_json", is_flag=True, help="Print events as they are, one JSON object a line.")
@click.option("--since", metavar="EPOCH:OFFSET", help="Go on after this event, as --json shows them.")
@calling_options
def watch(
    *, channels: tuple[str, ...], as_json: bool, since: str | None, url: str | None, token: str | None,
    timeout: float | None,
) -> None:  # fmt: skip
    """Print the events of channels: task:ID, root:ID, group:ID, name:NAME, tag:TAG, tasks (the default).

    A bare ID means task:ID. Where only tasks are watched, they are told from the first event that is kept, and it ends
    when all of them have ended: with exit code 0 if they succeeded, else 1. Other exit codes: 2 wrong usage, 3 the
    relay can't be reached, 4 refused or unknown, 124 time-out.
    """
    names = [channel_of(name) for name in channels] or ["tasks"]
    position = _position(since)
    calling.call(Call(url, token, timeout), lambda relay: _watch(relay, names, position, as_json=as_json))


def _position(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    epoch, _, offset = text.rpartition(":")
    if not epoch or not offset.isdecimal() or len(offset) > _DIGITS:
        raise click.BadParameter(f"{text!r} is not EPOCH:OFFSET", param_hint="--since")
    return epoch, int(offset)


async def _watch(relay: Relay, names: list[str], since: tuple[str, int] | None, *, as_json: bool) -> int:
    board, code = _Board(), 0
    try:
        async with relay.watch(*names, since=since, on_gap=_missing) as events:
            async for event in events:
                if event.ends and event.state not in _WELL:
                    code = calling.FAILED
                board.clear()
                if as_json:
                    write(json_line(event))
                elif not board.takes(event):
                    write(one_line(event).encode())
                board.draw(event)
    finally:
        board.clear()
    return code


def _missing(lost: EventsLost) -> None:
    say(str(lost))


class _Board:
    """The tasks under way that tell how far they are, with their bars, below the lines of the others."""

    def __init__(self) -> None:
        self._live = Live()
        self._tasks: dict[str, tuple[TaskEvent, float]] = {}

    def takes(self, event: TaskEvent) -> bool:
        """Whether it shows the event, so that no line need tell of it."""
        return self._live.enabled and event.state == "PROGRESS"

    def draw(self, event: TaskEvent) -> None:
        """Show what has changed."""
        if event.ends:
            self._tasks.pop(event.id, None)
        elif event.state == "PROGRESS" and not event.data.get("late"):
            began = self._tasks.pop(event.id, (event, time.monotonic()))[1]
            self._tasks[event.id] = (event, began)
            if len(self._tasks) > 1000:
                del self._tasks[next(iter(self._tasks))]  # one that was lost with its worker may never end
        if self._tasks and self._live.due():
            self._live.draw([task_line(told, began) for told, began in self._tasks.values()])

    def clear(self) -> None:
        """Make room for a line."""
        self._live.clear()
