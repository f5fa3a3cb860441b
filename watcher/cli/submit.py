"""`watcher submit`: submit a task, or one per line of standard input, and wait for the results."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final

import anyio
import click

from watcher.cli import relay_call
from watcher.cli.relay_call import ExitWithMessage, RelayCall, calling_options, completed_by, seconds
from watcher.cli.terminal.live import Board
from watcher.cli.terminal.rendering import json_line, json_text, plain, say, write
from watcher.cli.terminal.stdin import lines
from watcher.cli.terminal.streams import is_closed
from watcher.client import (
    Relay,
    RelayError,
    RelayRefused,
    RelayUnavailable,
    ResultUnavailable,
    Submitter,
    Task,
    TaskEvent,
    TaskFailed,
    TaskRevoked,
)
from watcher.client.models import place, standing, value_of
from watcher.client.pipeline import Job, pipeline

__all__ = ["submit"]

#: Error codes that concern one line: its arguments don't fit, or the task's own code refuses. Others end the program.
_OF_THE_LINE: Final = frozenset((107, 409))
#: Characters of a wrong option's value that an error shows.
_SHOWN: Final = 80
#: Longest time that revoking takes after an interrupt, in seconds.
_REVOKING: Final = 5.0
#: Longest time, in seconds, for finding out where unfinished tasks are, and how many of them are asked for.
_LOOKING: Final = 2.0
_LOOKED_AT: Final = 100
#: Fields that say where a task is.
_PLACE: Final = ("state", "queue", "hostname", "reason")


@dataclass(frozen=True, slots=True)
class _Order:
    """What to submit, and how to report it."""

    name: str
    kwargs: dict[str, Any]
    wait: bool
    as_json: bool
    unordered: bool
    limit: int
    revoke: bool


@click.command(short_help="Submit a task, and print its result as JSON.")
@click.argument("name", shell_complete=completed_by("registered"))
@click.argument("arguments", nargs=-1, metavar="[ARG]...")
@click.option("-a", "--args", "args_json", metavar="JSON", help="Positional arguments, as a JSON array.")
@click.option("-k", "--kwargs", "kwargs_json", metavar="JSON", help="Keyword arguments, as a JSON object.")
@click.option("-Q", "--queue", metavar="NAME", help="Queue to send to, instead of the app's route.")
@click.option("--countdown", type=seconds(0), metavar="S", help="Start after this many seconds at the earliest.")
@click.option("--eta", metavar="ISO8601", help="Start at this time at the earliest.")
@click.option("--expires", metavar="S|ISO8601", help="Start by this time, or not at all.")
@click.option("--priority", type=int, metavar="N", help="Priority, 0 to 255.")
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="TAG",
    help="Tag the task; it is also on the channel tag:TAG. May be repeated.",
)
@click.option(
    "--task-id", metavar="ID", help="Id of the task; submitting the same id again within a day does not send it again."
)
@click.option("--wait/--no-wait", default=True, help="Wait for the result (default), or print the id and exit.")
@click.option("--json", "as_json", is_flag=True, help="Print raw events, one JSON object per line.")
@click.option("--unordered", is_flag=True, help="With many tasks, print results as they arrive.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=100,
    show_default=True,
    help="With many tasks, how many to run at once.",
)
@click.option(
    "--revoke-on-interrupt", "revoke", is_flag=True, help="On Ctrl-C, revoke and terminate the unfinished tasks."
)
@calling_options
def submit(
    *, name: str, arguments: tuple[str, ...], args_json: str | None, kwargs_json: str | None, url: str | None,
    token: str | None, timeout: float | None, wait: bool, as_json: bool, unordered: bool, limit: int, revoke: bool,
    expires: str | None, **options: Any,
) -> None:  # fmt: skip
    """Submit the task NAME, and print its result as JSON.

    An ARG that parses as JSON is JSON, any other is a string; after a lone -- it may begin with a dash. With "-" as
    the only ARG, each line of standard input is a JSON array of arguments, and the results are printed one per line
    in the same order; a task without a result leaves an empty line. With --json, each line is the task's final event.

    Exit codes: 0 all tasks succeeded, 1 a task failed, was revoked or rejected, 2 wrong usage, 3 the relay or what it
    needs can't be reached, 4 refused, 74 standard output can't be written to, 124 timed out, 130 ended by Ctrl-C, 141
    the program that reads standard output ended, 143 ended by SIGTERM.
    """
    kwargs = _json("--kwargs", kwargs_json, dict) or {}
    order = _Order(name, kwargs, wait, as_json, unordered, limit, revoke)
    options["expires"] = _number(expires)
    where = RelayCall(url, token, timeout)
    if arguments == ("-",):
        if args_json is not None or options["task_id"] is not None:
            raise click.UsageError("--args and --task-id are for one task, not for the lines of standard input")
        if is_closed(0):
            raise click.UsageError("standard input is closed, but the arguments were to come from it")
        relay_call.call(where, lambda relay: _Many(relay, relay.options(**options), order, where).run())
    if arguments and args_json is not None:
        raise click.UsageError("give arguments either as ARG… or with --args, not both")
    args = _json("--args", args_json, list) if args_json is not None else [_argument(text) for text in arguments]
    relay_call.call(where, lambda relay: _one(relay, relay.options(**options), args, order, where))


def _json(option: str, text: str | None, kind: type) -> Any:
    if text is None:
        return None
    try:
        value = _read(text)
    except ValueError as error:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        raise click.BadParameter(f"{shown!r} is not JSON: {error}", param_hint=option) from None
    if not isinstance(value, kind):
        raise click.BadParameter(f"expected a JSON {'array' if kind is list else 'object'}", param_hint=option)
    return value


def _read(text: str | bytes) -> Any:
    """The value of a JSON text; raises ValueError."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _argument(text: str) -> Any:
    try:
        return _read(text)
    except ValueError:
        return text


def _number(text: str | None) -> float | str | None:
    try:
        return text if text is None or not math.isfinite(float(text)) else float(text)
    except ValueError:
        return text


# One task.


async def _one(relay: Relay, submitter: Submitter, args: Iterable[Any], order: _Order, where: RelayCall) -> int:
    task = await submitter.submit(order.name, *args, **order.kwargs)
    if not order.wait:
        epoch, offset = task.sent or ("", 0)
        submitted = {"id": task.id, "channel": f"task:{task.id}", "epoch": epoch, "offset": offset}
        write(json_text(submitted) if order.as_json else plain(task.id).encode())
        return 0
    newest: list[TaskEvent] = []
    try:
        return _finish(await _follow(relay, task, order, newest), order)
    except (anyio.get_cancelled_exc_class(), TimeoutError):
        last = newest[0].data if newest else {"state": None}
        # The task's place explains a time-out; a person who pressed Ctrl-C doesn't need it.
        place_of = standing(*(last.get(field) for field in _PLACE)) if where.interrupted is None else ""
        await _interrupted([task], order, where, place_of)
        raise


async def _follow(relay: Relay, task: Task, order: _Order, newest: list[TaskEvent]) -> TaskEvent:
    """Follow a task to its end; ``newest`` holds its newest event, even if this is cancelled."""
    board = Board(enabled=not order.as_json)
    async with board.shown(relay.group), task.events() as events:
        async for event in events:
            last = event
            if not event.data.get("late"):
                newest[:] = [event]
            board.follow(event)
            if order.as_json:
                board.write(json_line(event))
    return last  # a watched task ends by an event, or raises


def _finish(last: TaskEvent, order: _Order) -> int:
    try:
        value = value_of(last)
    except ResultUnavailable as error:
        say(plain(str(error)))
        return 0
    except (TaskFailed, TaskRevoked) as error:
        say(plain(str(error)))
        if isinstance(error, TaskFailed) and error.traceback and not order.as_json:
            for line in error.traceback.rstrip().splitlines():
                click.echo(plain(line), err=True)
        return relay_call.FAILED
    if not order.as_json:
        write(json_text(value))
    return 0


async def _interrupted(tasks: list[Task], order: _Order, where: RelayCall, places: str = "") -> None:
    """After Ctrl-C or a time-out: revoke the unfinished tasks if that was asked for, else report what keeps running.

    :param places: where the tasks are, for a person.
    """
    count = f"task {tasks[0].id}" if len(tasks) == 1 else f"{len(tasks)} tasks"
    if not tasks:
        return
    if where.interrupted is None or not order.revoke:
        say(plain(f"{count} left running{places and ': '}{places}"))
        return
    with anyio.move_on_after(_REVOKING, shield=True):
        async with anyio.create_task_group() as group:
            for task in tasks:
                group.start_soon(task.cancel)
        say(f"{count} revoked")


async def _places(relay: Relay, tasks: list[Task]) -> str:
    """Where the unfinished tasks are, the most frequent place first, for a person; a sample of them is asked."""
    counts: Counter[str] = Counter()

    async def look(task: Task) -> None:
        with suppress(RelayError):
            snapshot = await relay.get(task.id)
            if snapshot is not None:
                counts[place(*(snapshot.data.get(field) for field in _PLACE))] += 1

    with anyio.move_on_after(_LOOKING, shield=True):
        async with anyio.create_task_group() as group:
            for task in tasks[:_LOOKED_AT]:
                group.start_soon(look, task)
    return "; ".join(f"{count} {what}" for what, count in counts.most_common(5))


# One for each line.


class _Many:
    """A task for each line of standard input."""

    def __init__(self, relay: Relay, submitter: Submitter, order: _Order, where: RelayCall) -> None:
        self._relay = relay
        self._submitter = submitter
        self._order = order
        self._where = where
        # Where lines are typed, they are typed where the view would be.
        self._board = Board(total=self._total, enabled=not sys.stdin.isatty())
        self._under_way: dict[str, Task] = {}
        self._done = 0
        self._failed = 0
        self._refused = 0

    async def run(self) -> int:
        """Submit all of them; returns the exit code."""
        ordered = not self._order.unordered
        jobs = pipeline(self._relay.group, self._carry, _arguments(), limit=self._order.limit, ordered=ordered)
        try:
            async with self._board.shown(self._relay.group), aclosing(jobs):
                async for job in jobs:
                    self._tell(job)
        except (anyio.get_cancelled_exc_class(), TimeoutError):
            tasks = list(self._under_way.values())
            places = await _places(self._relay, tasks) if self._where.interrupted is None else ""
            await _interrupted(tasks, self._order, self._where, places)
            raise
        return relay_call.REFUSED if self._refused else relay_call.FAILED if self._failed else 0

    def _total(self) -> str:
        return f"{self._done} done, {self._failed} failed, {len(self._under_way)} in flight"

    async def _carry(self, args: list[Any]) -> bytes:
        """Submit one task and wait for it; returns its line of output."""
        try:
            line = await self._submitted(args)
        except ResultUnavailable:
            self._done += 1
            raise
        except Exception:
            self._failed += 1
            raise
        self._done += 1
        return line

    async def _submitted(self, args: list[Any]) -> bytes:
        task = await self._submitter.submit(self._order.name, *args, **self._order.kwargs)
        if not self._order.wait:
            return task.id.encode()
        self._under_way[task.id] = task
        try:
            line = await self._end_of(task)
        except Exception:
            del self._under_way[task.id]
            raise
        # Left in place where this is cancelled: then it is still under way.
        del self._under_way[task.id]
        return line

    async def _end_of(self, task: Task) -> bytes:
        if not (self._order.as_json or self._board.enabled):
            return json.dumps(await task.result(), ensure_ascii=False).encode()  # costs less than all of its events
        async with task.events() as events:
            async for event in events:
                last = event
                self._board.follow(event)
        if not self._order.as_json:
            return json.dumps(value_of(last), ensure_ascii=False).encode()
        line = json_line(last)
        if last.state not in ("SUCCESS", "IGNORED"):
            raise _Failed(line)
        return line

    def _tell(self, job: Job[list[Any], bytes]) -> None:
        line, why = b"", ""
        try:
            line = job.result() or b""
        except _Failed as failed:
            line = failed.line
        except (TaskFailed, TaskRevoked, ResultUnavailable) as error:
            why = str(error)
        except RelayRefused as error:
            if error.code not in _OF_THE_LINE or isinstance(error, RelayUnavailable):
                raise
            self._refused += 1
            why = str(error)
        except ValueError as error:
            raise ExitWithMessage(f"line {job.index + 1}: {plain(str(error))}", relay_call.MISUSED) from None
        if why:
            self._board.say(f"line {job.index + 1}: {plain(why)}")
        if line or not self._order.unordered:
            self._board.write(line)


class _Failed(Exception):
    """A task did not succeed; ``line`` is its line of output."""

    def __init__(self, line: bytes) -> None:
        super().__init__(line)
        self.line = line


async def _arguments() -> AsyncIterator[list[Any]]:
    number = 0
    async for line in lines():
        number += 1
        try:
            args = _read(line)
        except ValueError as error:
            raise ExitWithMessage(f"line {number} is not JSON: {error}", relay_call.MISUSED) from None
        if not isinstance(args, list):
            raise ExitWithMessage(f"line {number} is not a JSON array of arguments", relay_call.MISUSED)
        yield args
