"""`watcher watch`: print events as they arrive."""

from __future__ import annotations

import errno
import os
import select
import stat
import sys

import anyio
import click

from watcher.cli import relay_call
from watcher.cli.relay_call import RelayCall, calling_options, channel_of, completed_by
from watcher.cli.terminal.live import Board
from watcher.cli.terminal.rendering import json_line, one_line, plain, say
from watcher.cli.terminal.streams import OutputLost
from watcher.client import EventsLost, Relay, TaskEvent
from watcher.client.models import standing

__all__ = ["watch"]

_WELL = ("SUCCESS", "IGNORED")
#: Most digits of an offset, which is an unsigned 64-bit number.
_DIGITS = 19
#: Seconds between checks that standard output is still read.
_CHECK_INTERVAL = 0.2


@click.command(short_help="Print the events of channels.")
@click.argument("channels", nargs=-1, metavar="[CHANNEL|ID]...", shell_complete=completed_by("channels"))
@click.option("--json", "as_json", is_flag=True, help="Print raw events, one JSON object per line.")
@click.option("--since", metavar="EPOCH:OFFSET", help="Continue after this event, as shown by --json.")
@calling_options
def watch(
    *, channels: tuple[str, ...], as_json: bool, since: str | None, url: str | None, token: str | None,
    timeout: float | None,
) -> None:  # fmt: skip
    """Print the events of channels: task:ID, root:ID, group:ID, name:NAME, tag:TAG, tasks (the default).

    A bare ID means task:ID. If only single tasks are watched, it prints their events from the first that is kept, and
    ends when all of them have ended: with exit code 0 if all succeeded, else 1. Other exit codes: 2 wrong usage, 3 the
    relay can't be reached, 4 refused or unknown, 124 timed out.
    """
    names = [channel_of(name) for name in channels] or ["tasks"]
    position = _position(since)
    where = RelayCall(url, token, timeout)
    relay_call.call(where, lambda relay: _watch(relay, names, position, where, as_json=as_json))


def _position(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    epoch, _, offset = text.rpartition(":")
    if not epoch or not offset.isdecimal() or len(offset) > _DIGITS:
        raise click.BadParameter(f"{text!r} is not EPOCH:OFFSET", param_hint="--since")
    return epoch, int(offset)


async def _watch(
    relay: Relay, names: list[str], since: tuple[str, int] | None, where: RelayCall, *, as_json: bool
) -> int:
    newest_of: dict[str, TaskEvent] = {}
    try:
        return await _follow(relay, names, since, newest_of, as_json=as_json)
    except (anyio.get_cancelled_exc_class(), TimeoutError):
        if where.interrupted is None:  # the time is up
            for name in names:
                if name.startswith("task:"):
                    newest = newest_of[name].data if name in newest_of else {}
                    if name not in newest_of or not newest_of[name].ends:
                        it_is = standing(*map(newest.get, ("state", "queue", "hostname", "reason")))
                        say(plain(f"task {name[5:]} has not ended: {it_is}"))
        raise


async def _follow(
    relay: Relay, names: list[str], since: tuple[str, int] | None, newest_of: dict[str, TaskEvent], *, as_json: bool
) -> int:
    """Print the events; ``newest_of`` holds the newest of each single task that is watched."""
    board, code = Board(), 0

    def missing(lost: EventsLost) -> None:
        board.say(str(lost))

    async with anyio.create_task_group() as reading:
        reading.start_soon(_until_unread)  # `watch | head` ends with head, not with the next event
        async with board.shown(relay.group), relay.watch(*names, since=since, on_gap=missing) as events:
            async for event in events:
                if event.channel in names and event.channel.startswith("task:") and not event.data.get("late"):
                    newest_of[event.channel] = event
                if event.ends and event.state not in _WELL:
                    code = relay_call.FAILED
                reports = event.state == "PROGRESS" and event.reason is None
                if as_json:
                    board.write(json_line(event))
                elif not (reports and board.enabled):  # else its bar is enough
                    board.write(one_line(event).encode())
                if reports or event.ends or event.id in board:
                    board.follow(event)
        reading.cancel_scope.cancel()
    return code


async def _until_unread() -> None:
    """Wait until the reader of standard output, a pipe, has gone; with any other output, wait for ever. Safe to cancel.

    :raises OutputLost: the reader has gone.
    """
    try:
        is_pipe = sys.stdout.fileno() == 1 and stat.S_ISFIFO(os.fstat(1).st_mode)
    except (OSError, ValueError):  # other code has replaced standard output
        is_pipe = False
    if not is_pipe:
        await anyio.sleep_forever()
    # Not add_reader: uvloop makes the pipe non-blocking, for every program that shares it.
    gone = select.poll()
    gone.register(1, 0)  # errors and hang-ups are reported anyway
    while not gone.poll(0):  # noqa: ASYNC110 - nothing to wait for, see above
        await anyio.sleep(_CHECK_INTERVAL)
    raise OutputLost(errno.EPIPE)
