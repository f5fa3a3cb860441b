"""What `celery -A proj watcher` does; Celery finds it by way of :mod:`watcher.cli.celery`."""

from __future__ import annotations

from typing import Any

import click

from watcher.cli.options import configure_logging, ending, import_tasks, load_settings, relay_options
from watcher.cli.running import leave_quietly
from watcher.cli.serve import serve_app
from watcher.cli.terminal.streams import lost, steady

__all__ = ["command"]


class _Command(click.Command):
    """A Celery command that prepares the standard streams before it reads its options: ``--help`` writes."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the command line."""
        steady()
        with lost():
            return super().make_context(*args, **kwargs)


@click.command("watcher", cls=_Command)
@relay_options
@click.pass_context
def command(context: click.Context, /, insecure: bool, loglevel: str, **options: Any) -> None:
    """Run celery-watcher's relay for this app: page, WebSocket and HTTP API."""
    leave_quietly()
    configure_logging(loglevel)
    with ending():
        app = context.obj.app
        import_tasks(app)
        serve_app(load_settings(options, insecure=insecure), app)
