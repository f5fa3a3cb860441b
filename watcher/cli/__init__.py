"""The command line: `watcher up`, `serve`, `submit`, `watch` and `token`.

Exit codes of `up` and `serve`: 0 after a clean stop, 2 for a wrong setting or app or a taken port, 3 if Redis can't be
reached at start; `up` also 1 if its worker exits unexpectedly. :mod:`watcher.cli.relay_call` has those of the others.
Data goes to standard output, everything else to standard error.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import click

import watcher
from watcher.cli.terminal.streams import lost, steady

__all__ = ["main"]

#: Command → its module, imported when it is used: a script that submits should not wait for Celery.
_COMMANDS: Final = {
    "up": "watcher.cli.up",
    "serve": "watcher.cli.serve",
    "submit": "watcher.cli.submit",
    "watch": "watcher.cli.watch",
    "token": "watcher.cli.token",
}


class _Commands(click.Group):
    """A group whose commands are imported one by one."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command, with whatever standard streams there are."""
        steady()
        with lost():
            return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or None."""
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(_COMMANDS[cmd_name]), cmd_name)
        return command if isinstance(command, click.Command) else None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(watcher.__version__, prog_name="watcher")
def main() -> None:
    """Submit Celery tasks and watch them live, without polling."""
