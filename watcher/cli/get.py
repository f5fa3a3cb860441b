"""`watcher get`: what is known of one task."""

from __future__ import annotations

import sys
import time

import click

from watcher.cli import relay_call
from watcher.cli.relay_call import RelayCall, calling_options
from watcher.cli.terminal.rendering import put, task_json, write
from watcher.cli.terminal.tasks import described, task_of
from watcher.client import Relay, TaskLost

__all__ = ["get"]


@click.command(short_help="Show one task.")
@click.argument("identity", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the task as JSON.")
@calling_options
def get(*, identity: str, as_json: bool, url: str | None, token: str | None, timeout: float | None) -> None:
    """Show what is known of the task ID: its state and times, arguments, result or traceback.

    Exit codes: 0 found, whatever its state is, 2 wrong usage, 3 the relay can't be reached, 4 there is no such task, or
    it may not be seen, 124 timed out.
    """
    relay_call.call(RelayCall(url, token, timeout), lambda relay: _print(relay, identity, as_json=as_json))


async def _print(relay: Relay, identity: str, *, as_json: bool) -> int:
    found = await relay.get(identity)
    if found is None:
        raise TaskLost(identity)
    if as_json:
        write(task_json(found.line))
    else:
        lines = described(task_of(found), time.time(), local=sys.stdout.isatty())
        put("".join(f"{line}\n" for line in lines).encode())
    return 0
