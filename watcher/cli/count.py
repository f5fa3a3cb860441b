"""`watcher count`: how many tasks match a filter, in all or by state, name, queue, worker or error."""

from __future__ import annotations

import sys
from typing import Final, cast

import click
from click.shell_completion import CompletionItem

from watcher.cli import relay_call
from watcher.cli.filtering import FilterCommand, filter_argument
from watcher.cli.relay_call import RelayCall, calling_options
from watcher.cli.terminal.columns import Column, Table
from watcher.cli.terminal.rendering import json_text, painted, plain, put, room_of, say, write
from watcher.client import Relay
from watcher.client.queries import Pair
from watcher.core.figures import BY

__all__ = ["count"]

_MOST: Final = 2


def _by(text: str) -> Pair:
    """One or two of what tasks can be counted by."""
    names = tuple(text.split(","))
    if not all(name in BY for name in names) or len({*names}) != len(names) or len(names) > _MOST:
        wrong = f"{plain(text)!r} is not one or two of {', '.join(BY)}, separated by a comma"
        raise click.BadParameter(wrong)
    return cast(Pair, names)


def _completed(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    before, comma, begun = incomplete.rpartition(",")
    return [CompletionItem(f"{before}{comma}{name}") for name in BY if name.startswith(begun) and name != before]


@click.command(cls=FilterCommand, short_help="Count tasks.")
@filter_argument
@click.option("--by", type=_by, metavar="BY", shell_complete=_completed,
              help=f"Count by one or two of {', '.join(BY)}, separated by a comma.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
@calling_options
def count(
    *, filter_text: str, by: Pair | None, as_json: bool, url: str | None, token: str | None,
    timeout: float | None,
) -> None:  # fmt: skip
    """Print how many tasks match FILTER: a number, or with --by a table, most first.

    FILTER is that of "watcher list". Exit codes are, too: 0 also if the number is 0.
    """
    where = RelayCall(url, token, timeout)
    relay_call.call(where, lambda relay: _print(relay, filter_text, by, as_json=as_json))


async def _print(relay: Relay, text: str, by: Pair | None, *, as_json: bool) -> int:
    if by is None:
        total = await relay.count(text)
        write(json_text({"count": total}) if as_json else str(total).encode())
        return 0
    counted = await relay.count(text, by=by)
    if as_json:
        lines = [json_text({**dict(zip(by, values, strict=True)), "count": count}) for values, count in counted.items()]
    else:
        titles = [Column(name.upper(), least=10, paint=painted if name == "state" else None) for name in by]
        table = Table([Column("COUNT", right=True), *titles], room_of(sys.stdout))
        cells = [[str(count), *(plain(value or "") for value in values)] for values, count in counted.items()]
        lines = [line.encode() for line in table.lines(cells)]
    put(b"".join(line + b"\n" for line in lines))
    if counted.more:
        say(f"there are more than these {len(counted):,}, with fewer tasks each")
    return 0
