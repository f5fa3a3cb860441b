"""`watcher serve`, and the same as `celery -A proj watcher`: the relay alone."""

from __future__ import annotations

from typing import Any, Final

import click
from celery import Celery

from watcher.cli.exposed import exposed_by_target
from watcher.cli.options import (
    app_option,
    configure_logging,
    ending,
    load_app,
    load_settings,
    relay_options,
    say,
    say_once,
)
from watcher.cli.port import address_of, listen
from watcher.cli.running import leave_quietly, run, until_signalled
from watcher.cli.terminal.streams import OutputLost
from watcher.core.errors import AppError
from watcher.core.settings import Settings
from watcher.journal.configured import journal_target

__all__ = ["announce", "serve", "serve_app"]

_NO_APP: Final = (
    "name the Celery app: watcher serve -A proj; a relay without one is read-only, "
    "and needs --redis-url (or WATCHER_REDIS_URL) to find the events"
)
_READ_ONLY: Final = "without -A this relay is read-only: it can't submit or revoke tasks, nor use the result backend"


@click.command()
@app_option
@relay_options
def serve(app: str | None, insecure: bool, loglevel: str, **options: Any) -> None:
    """Run the relay: page, WebSocket and HTTP API.

    Prints its address on standard output when it is ready. Without -A it is read-only: it can't submit or revoke
    tasks, and can't use the result backend.
    """
    leave_quietly()
    configure_logging(loglevel)
    with ending():
        settings = load_settings(options, insecure=insecure)
        if not app and settings.redis_url is None:
            raise AppError(_NO_APP)
        serve_app(settings, load_app(app) if app else None)


def serve_app(settings: Settings, app: Celery | None) -> None:
    """Run the relay until SIGINT or SIGTERM.

    :raises SettingError: neither settings nor app name a Redis, or the port is taken.
    :raises RedisUnreachable: Redis doesn't answer.
    """
    target = journal_target(settings, app)
    for line in exposed_by_target(target):
        say_once(line)
    with listen(settings.host, settings.port) as sock:
        from watcher.relay import server  # noqa: PLC0415 - `celery` loads this module with every one of its commands

        async def main() -> None:
            def started() -> None:
                if app is None:
                    say(_READ_ONLY)
                announce(address_of(sock, settings))

            async with until_signalled() as end:
                await server.serve(settings, app=app, redis=target, sock=sock, started=started, stop=end.asked)

        run(main)


def announce(address: str) -> None:
    """Print the address; where standard output is gone, log it and serve all the same."""
    try:
        click.echo(address)
    except OutputLost as error:
        say(f"{error}; the address is {address}")
