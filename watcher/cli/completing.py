"""What a shell offers for an argument that is not written to its end: terms of filters, and names that a relay knows.

A relay is asked for a moment only; where there is none, or it says no, there is nothing to offer and nothing is said.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import anyio
import click
from click.shell_completion import CompletionItem

from watcher.cli.running import run
from watcher.client import Relay, connect
from watcher.core.errors import WatcherError
from watcher.core.event import FINAL_STATES
from watcher.core.figures import CountBy
from watcher.core.filters import KEYS
from watcher.core.kinds import KINDS, WAITING, WAITING_KINDS

__all__ = ["channels", "registered", "terms_like"]

#: Seconds that a relay has for its answer: somebody waits with a finger on the key.
_PATIENCE: Final = 1.0
#: What a shell takes for nothing but text, wherever it puts it. A name that a task's author chose is not to be trusted:
#: bash inserts it into the command line as it is.
_HARMLESS: Final = re.compile(r"[\w@%+./:,-]+")
#: Keys whose values are asked for, by what tasks are counted by.
_COUNTED: Final[dict[str, CountBy]] = {
    "state": "state", "name": "name", "queue": "queue", "worker": "worker", "error": "error",
}  # fmt: skip
_STATES: Final = (*KINDS, *WAITING_KINDS, *WAITING, "STARTED", "PROGRESS", *sorted(FINAL_STATES))
_CHANNELS: Final = ("name:", "tag:", "task:", "root:", "group:", "tasks")


def terms_like(ctx: click.Context, term: str) -> list[str]:
    """Terms of a filter that begin so: keys, and after a colon the values that there are."""
    minus, written = ("-", term[1:]) if term.startswith("-") else ("", term)
    key, colon, value = written.partition(":")
    if not colon:
        return [f"{minus}{name}:" for name in KEYS if name.startswith(written)]
    if key not in KEYS:
        return []
    values = [known for known in _STATES if known.startswith(value)] if key == "state" else []
    if KEYS[key].values == "moment":
        values = [example for example in KEYS[key].examples if example.startswith(value)]
    elif not values:
        values = _harmless(_values(ctx, key), value)
    return [f"{minus}{key}:{each}" for each in dict.fromkeys(values)]


def channels(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Channels that begin so; those of names by the names that tasks have."""
    if incomplete.startswith("name:"):
        names = _harmless(_values(ctx, "name"), incomplete.removeprefix("name:"))
        return [CompletionItem(f"name:{name}") for name in names]
    return [CompletionItem(name) for name in _CHANNELS if name.startswith(incomplete)]


def registered(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of tasks that may be submitted, and begin so."""

    async def names(relay: Relay) -> list[str]:
        return [str(task["name"]) for task in await relay.registry()]

    return [CompletionItem(name) for name in _harmless(_asked(ctx, names), incomplete)]


def _values(ctx: click.Context, key: str) -> list[str]:
    """The values that tasks have for a key, the most frequent first."""
    by = _COUNTED.get(key)
    if by is None:
        return []

    async def counted(relay: Relay) -> list[str]:
        return [value for value in await relay.count(by=by) if value is not None]

    return _asked(ctx, counted)


def _harmless(values: Iterable[str], beginning: str) -> list[str]:
    return [value for value in values if value.startswith(beginning) and _HARMLESS.fullmatch(value)]


def _asked(ctx: click.Context, question: Callable[[Relay], Awaitable[list[str]]]) -> list[str]:
    logging.disable()  # a terminal would show it in the middle of what is typed
    try:
        return run(functools.partial(_ask, ctx.params.get("url"), ctx.params.get("token"), question))
    except (WatcherError, OSError, ValueError):  # a time-out is an OSError
        return []
    finally:
        logging.disable(logging.NOTSET)


async def _ask(url: str | None, token: str | None, question: Callable[[Relay], Awaitable[list[str]]]) -> list[str]:
    with anyio.fail_after(_PATIENCE):
        async with connect(url, token=token) as relay:
            return await question(relay)
