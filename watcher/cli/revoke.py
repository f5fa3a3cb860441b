"""`watcher revoke`: revoke tasks by their ids."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, suppress
from typing import Final

import click

from watcher.cli import relay_call
from watcher.cli.relay_call import ExitWithMessage, RelayCall, calling_options
from watcher.cli.terminal.rendering import plain, say, write
from watcher.cli.terminal.stdin import lines
from watcher.cli.terminal.streams import is_closed
from watcher.client import Relay, RelayRefused, RelayUnavailable, Snapshot
from watcher.client.pipeline import pipeline

__all__ = ["revoke"]

#: How many are asked for at once.
_AT_ONCE: Final = 50
#: The error code of an id that no task can have: it concerns that one; others end the program.
_OF_THE_ID: Final = 107
_UNKNOWN: Final = "unknown, or not yours to see; the workers were told"


@click.command(short_help="Revoke tasks.")
@click.argument("identities", nargs=-1, required=True, metavar="ID...")
@click.option("--terminate", is_flag=True, help="Also end those that are running, by SIGTERM to their pool process.")
@calling_options
def revoke(
    *, identities: tuple[str, ...], terminate: bool, url: str | None, token: str | None, timeout: float | None
) -> None:
    """Revoke the tasks with these IDs: workers will not run them. With "-" as the only ID, ids are read from standard
    input, one per line.

    \b
    watcher list --ids --limit 0 state:waiting queue:legacy | watcher revoke -

    For each it prints the id and what happened. "revoked" says that the workers were told: a task is REVOKED when one
    of them takes it off its queue. A running task runs on without --terminate. One that has ended is left alone.

    Exit codes: 0 all were revoked or had ended, 2 wrong usage, 3 the relay or the broker can't be reached, 4 not
    permitted; one is unknown, or not yours to see (the workers were told all the same), 124 timed out.
    """  # noqa: D301 - \b is click's
    source: Iterable[str] | AsyncIterator[str] = dict.fromkeys(identities)
    if identities == ("-",):
        if is_closed(0):
            raise click.UsageError("standard input is closed, but the ids were to come from it")
        source = _read()
    elif "-" in identities:
        raise click.UsageError('"-" is for ids from standard input only, without others')
    relay_call.call(RelayCall(url, token, timeout), lambda relay: _revoke(relay, source, terminate=terminate))


async def _read() -> AsyncIterator[str]:
    number = 0
    async for line in lines():
        number += 1
        try:
            identity = line.decode().strip()
        except UnicodeDecodeError:
            raise ExitWithMessage(f"line {number} is not UTF-8", relay_call.MISUSED) from None
        if identity:
            yield identity


async def _revoke(relay: Relay, identities: Iterable[str] | AsyncIterator[str], *, terminate: bool) -> int:
    code = 0

    async def carry(identity: str) -> str:
        return await _one(relay, identity, terminate=terminate)

    async with aclosing(pipeline(relay.group, carry, identities, limit=_AT_ONCE, ordered=True)) as jobs:
        async for job in jobs:
            try:
                outcome = job.result() or ""
            except RelayRefused as error:
                if error.code != _OF_THE_ID or isinstance(error, RelayUnavailable):
                    raise
                outcome = ""
                say(f"{plain(job.item)}: {plain(str(error))}")
            if outcome:
                write(f"{plain(job.item)} {plain(outcome)}".encode())
            if outcome in ("", _UNKNOWN):
                code = relay_call.REFUSED
    return code


async def _one(relay: Relay, identity: str, *, terminate: bool) -> str:
    """Revoke a task that has not ended; returns what happened."""
    task: Snapshot | None = None
    seen = False
    with suppress(RelayRefused):  # who may revoke need not be one who may watch, and no archive need answer
        task = await relay.get(identity)
        seen = True
    if task is not None and task.final:
        return f"had ended: {task.state}"
    await relay.revoke(identity, terminate=terminate)
    if seen and task is None:
        return _UNKNOWN
    return "revoked, terminated if running" if terminate else "revoked"
