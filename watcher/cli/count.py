"""`watcher count`: how many tasks match a filter, in all or by state, name, queue, worker or error."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from watcher.cli import relay_call
from watcher.cli.filtering import FilterCommand, filter_argument
from watcher.cli.relay_call import RelayCall, calling_options
from watcher.cli.terminal.columns import Column, Table
from watcher.cli.terminal.rendering import json_text, painted, plain, say, terminal_size, write_lines
from watcher.client import Relay
from watcher.core.figures import BY, CountBy

__all__ = ["count"]

_MOST: Final = 2


class _By(click.ParamType):
    """One or two of what tasks can be counted by, separated by a comma."""

    name = "by"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[CountBy, ...]:
        """The names."""
        names = tuple(str(value).split(","))
        if not all(name in BY for name in names) or len({*names}) != len(names) or len(names) > _MOST:
            self.fail(f"{plain(str(value))!r} is not one or two of {', '.join(BY)}, separated by a comma", param, ctx)
        return names  # type: ignore[return-value] # checked above

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """The names that begin so."""
        before, comma, begun = incomplete.rpartition(",")
        names = [name for name in BY if name.startswith(begun) and name != before]
        return [click.shell_completion.CompletionItem(f"{before}{comma}{name}") for name in names]


@click.command(cls=FilterCommand, short_help="Count tasks.")
@filter_argument
@click.option("--by", type=_By(), metavar="BY", help=f"Count by one or two of {', '.join(BY)}, separated by a comma.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
@calling_options
def count(
    *, filter_text: str, by: tuple[CountBy, ...] | None, as_json: bool, url: str | None, token: str | None,
    timeout: float | None,
) -> None:  # fmt: skip
    """Print how many tasks match FILTER: a number, or with --by a table, most first.

    FILTER is that of "watcher list". Exit codes are, too: 0 also if the number is 0.
    """
    where = RelayCall(url, token, timeout)
    relay_call.call(where, lambda relay: _print(relay, filter_text, by or (), as_json=as_json))


async def _print(relay: Relay, text: str, by: tuple[CountBy, ...], *, as_json: bool) -> int:
    if not by:
        total = await relay.count(text)
        write_lines([json_text({"count": total}) if as_json else str(total).encode()])
        return 0
    counted = await relay.count(text, by=by)  # type: ignore[call-overload] # one or two of them
    rows = [(dict(zip(by, values, strict=True)), number) for values, number in counted.items()]
    if as_json:
        write_lines(json_text({**values, "count": number}) for values, number in rows)
    else:
        room = terminal_size(sys.stdout)[0] if sys.stdout.isatty() else None
        titles = [Column(name.upper(), least=10, paint=painted if name == "state" else None) for name in by]
        cells = [[str(number), *(plain(value or "") for value in values.values())] for values, number in rows]
        write_lines(line.encode() for line in Table([Column("COUNT", right=True), *titles], room).lines(cells))
    if counted.more:
        say(f"there are more than these {len(rows):,}, with fewer tasks each")
    return 0
