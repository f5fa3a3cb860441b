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
    "name the Celery app: watcher serve -A proj; without one a relay only shows, "
    "and --redis-url (or WATCHER_REDIS_URL) has to say where the events are"
)
_ONLY_SHOWS: Final = (
    "without -A this relay only shows: it submits and revokes nothing, and knows nothing of the result backend"
)


@click.command()
@app_option
@relay_options
def serve(app: str | None, insecure: bool, loglevel: str, **options: Any) -> None:
    """Run the relay: page, WebSocket and HTTP API.

    Prints its address on standard output when it is ready. Without -A it only shows: it submits and revokes nothing,
    and what only the result backend knows, it doesn't.
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

    :raises SettingError: there is no Redis to be found in settings and app, or the port is taken.
    :raises RedisUnreachable: the Redis doesn't answer.
    """
    target = journal_target(settings, app)
    for line in exposed_by_target(target):
        say_once(line)
    with listen(settings.host, settings.port) as sock:
        from watcher.relay import server  # noqa: PLC0415 - `celery` loads this module with every one of its commands

        async def main() -> None:
            def started() -> None:
                if app is None:
                    say(_ONLY_SHOWS)
                announce(address_of(sock, settings))

            async with until_signalled() as end:
                await server.serve(settings, app=app, redis=target, sock=sock, started=started, stop=end.asked)

        run(main)


def announce(address: str) -> None:
    """Print the address; a relay that can't serves all the same."""
    try:
        click.echo(address)
    except OutputLost as error:
        say(f"{error}; the address is {address}")
