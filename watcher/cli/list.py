"""`watcher list`: the tasks that match a filter, as a table, as JSON, as CSV, or their ids."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Final, TypeAlias

import click

from watcher.cli import relay_call
from watcher.cli.filtering import FilterCommand, filter_argument
from watcher.cli.relay_call import RelayCall, calling_options
from watcher.cli.terminal.columns import Table
from watcher.cli.terminal.rendering import plain, put, room_of, say, task_json
from watcher.cli.terminal.tasks import columns, row, task_of
from watcher.client import Relay, Snapshot
from watcher.client.queries import Sort
from watcher.core import task_csv

__all__ = ["list_tasks"]

SORTS: Final[tuple[Sort, ...]] = ("when", "sent", "runtime", "waited")
#: Tasks that are written at once.
_PAGE: Final = 100
#: What is written of the next tasks; of none, what stands at the beginning.
_Form: TypeAlias = Callable[[list[Snapshot]], bytes]


@click.command("list", cls=FilterCommand, short_help="List tasks.")
@filter_argument
@click.option("--sort", type=click.Choice(SORTS), default="when", show_default=True,
              help="What comes first: the newest event, the last sent, the longest runtime or wait.")  # fmt: skip
@click.option("--limit", type=click.IntRange(0), default=_PAGE, show_default=True, metavar="N",
              help="List so many tasks at most; 0 lists all.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print tasks as JSON, one object per line.")
@click.option("--ids", "as_ids", is_flag=True, help='Print ids only, one per line: for "watcher revoke -".')
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with a header.")
@calling_options
def list_tasks(
    *, filter_text: str, sort: Sort, limit: int, as_json: bool, as_ids: bool, as_csv: bool, url: str | None,
    token: str | None, timeout: float | None,
) -> None:  # fmt: skip
    """List the tasks that match FILTER, the one with the newest event first; without FILTER, all of them.

    \b
    watcher list state:failed since:2h
    watcher list 'name:mail.*' -queue:legacy 'runtime:>5s'
    watcher list --ids --limit 0 state:waiting queue:legacy | watcher revoke -

    A filter is terms that must all hold; a "-" before one negates it. What may be looked for: state, name, queue,
    worker, tag, error, since, until, runtime, waited, id, root, parent, group; other words are looked for in all that
    is shown of a task. Put terms with *, < or > in quotes. Times are of the local time zone. AGE is since the newest
    event.

    Exit codes: 0 all right, even if no task matches, 2 wrong usage or filter, 3 the relay can't be reached, 4 refused,
    74 standard output can't be written to, 124 timed out, 130 ended by Ctrl-C, 141 the reader ended, 143 SIGTERM.
    """  # noqa: D301 - \b is click's
    chosen = [name for name, given in (("--json", as_json), ("--ids", as_ids), ("--csv", as_csv)) if given]
    if len(chosen) > 1:
        raise click.UsageError(f"give one of {', '.join(chosen)}")
    form: _Form = _json if as_json else _ids if as_ids else _csv if as_csv else _Shown(sort)
    call = RelayCall(url, token, timeout)
    relay_call.call(call, lambda relay: _print(relay, filter_text, sort, limit, form))


async def _print(relay: Relay, text: str, sort: Sort, limit: int, form: _Form) -> int:
    asked = None if limit == 0 else limit + isinstance(form, _Shown)  # one more tells whether there are more
    put(form([]))
    page: list[Snapshot] = []
    count = 0
    async with aclosing(relay.list(text, sort=sort, limit=asked)) as tasks:
        async for task in tasks:
            count += 1
            if limit and count > limit:
                break
            page.append(task)
            if len(page) == _PAGE:
                put(form(page))
                page = []
    if page:
        put(form(page))
    if isinstance(form, _Shown):
        if not count:
            say("no task matches" if text else "there are no tasks")
        elif limit and count > limit:
            say(f"there are more than these {limit:,}; --limit 0 lists all")
    return 0


class _Shown:
    """A table, as wide as the terminal where there is one."""

    def __init__(self, sort: Sort) -> None:
        self._sort: Final = sort
        self._table = Table(columns(sort), room_of(sys.stdout))

    def __call__(self, tasks: list[Snapshot]) -> bytes:
        now = time.time()
        rows = [row(task_of(task), now, self._sort) for task in tasks]
        return "".join(f"{line}\n" for line in self._table.lines(rows)).encode() if rows else b""


def _json(tasks: list[Snapshot]) -> bytes:
    return b"".join(task_json(task.line) + b"\n" for task in tasks)


def _csv(tasks: list[Snapshot]) -> bytes:
    written = task_csv.rows(task.line for task in tasks) if tasks else task_csv.header()
    if not sys.stdout.isatty():
        return written
    return "\n".join(plain(line.removesuffix("\r")) for line in written.decode().split("\n")).encode()


def _ids(tasks: list[Snapshot]) -> bytes:
    lines = []
    for task in tasks:
        # A line end in an id would make another id of what stands behind it.
        if task.id.isprintable() and task.id == task.id.strip() not in {"", "-"}:
            lines.append(f"{task.id}\n")
        else:
            say(f"left out an id that is no line of text: '{plain(task.id)}'")
    return "".join(lines).encode()
