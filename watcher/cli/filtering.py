"""The argument FILTER of commands that are about many tasks: read here, before anybody is asked, and completed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import click
from click.shell_completion import CompletionItem

from watcher.cli.completing import terms_like
from watcher.cli.terminal.rendering import plain
from watcher.core.filters import InvalidFilter, parse

__all__ = ["FilterCommand", "filter_argument"]

#: Before a term that begins with a dash, so that click takes it for an argument. No argument of a program can hold it.
_MARK: Final = "\0"


class FilterCommand(click.Command):
    """A command that takes a filter: ``-state:failed`` is one of its terms, and no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line."""
        return super().parse_args(ctx, list(self._marked(ctx, args)))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The options that begin so, and terms."""
        options = super().shell_complete(ctx, incomplete)
        return options if incomplete.startswith("--") else [*options, *_completed(ctx, None, incomplete)]

    def _marked(self, ctx: click.Context, args: Sequence[str]) -> Iterator[str]:
        options = {name: param for param in self.get_params(ctx) for name in param.opts if name.startswith("-")}
        rest = iter(args)
        for arg in rest:
            if arg == "--":
                yield arg
                yield from rest
            elif arg.startswith("-") and not arg.startswith("--") and arg not in options:
                yield _MARK + arg
            else:
                yield arg
                option = options.get(arg)
                if isinstance(option, click.Option) and not option.is_flag:
                    yield from islice(rest, option.nargs)


def _read(_context: click.Context, _parameter: click.Parameter, terms: tuple[str, ...]) -> str:
    text, now = " ".join(term.removeprefix(_MARK) for term in terms), time.time()
    try:
        # A relay has another clock, and may be in another time zone, than the person who writes "until:03:10" here.
        return parse(text, now=now, zone=None).absolute(now, zone=None).text
    except InvalidFilter as error:
        raise click.BadParameter(plain(str(error))) from None


def _completed(ctx: click.Context, _parameter: click.Parameter | None, incomplete: str) -> list[CompletionItem]:
    # Within quotes, a shell's word may be several terms: the last one is completed.
    before, blank, term = incomplete.rpartition(" ")
    return [CompletionItem(f"{before}{blank}{completed}") for completed in terms_like(ctx, term)]


filter_argument = click.argument(
    "filter_text", nargs=-1, metavar="[FILTER]...", callback=_read, shell_complete=_completed
)
