"""`celery -A proj watcher`: the relay as a subcommand of Celery's own command line.

Celery imports this with every command of its own, `celery worker` included. So nothing is imported here but click,
which Celery has imported by then. :mod:`watcher.cli.celery_relay` has what the command does.
"""

from __future__ import annotations

from typing import Any

import click

__all__ = ["command"]


class _Deferred(click.Command):
    """Celery's view of the command: its name, and one line of help. The real one takes over where it is called."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the command line."""
        from watcher.cli import celery_relay  # noqa: PLC0415 - it loads the relay

        return celery_relay.command.make_context(*args, **kwargs)


command = _Deferred("watcher", short_help="Run celery-watcher's relay for this app: page, WebSocket and HTTP API.")
