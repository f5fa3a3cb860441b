"""The command line: `watcher up`, `serve`, `submit`, `watch`, `list`, `get`, `count`, `revoke`, `token`, `completion`.

Exit codes of `up` and `serve`: 0 after a clean stop, 2 for a wrong setting or app or a taken port, 3 if Redis can't be
reached at start; `up` also 1 if its worker exits unexpectedly. :mod:`watcher.cli.relay_call` has those of the others.
Data goes to standard output, everything else to standard error.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

import watcher
from watcher.cli.terminal.streams import lost, steady

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["main"]

#: Command → module and name, imported when it is used: a script that submits should not wait for Celery.
_COMMANDS: Final = {
    "up": ("watcher.cli.up", "up"),
    "serve": ("watcher.cli.serve", "serve"),
    "submit": ("watcher.cli.submit", "submit"),
    "watch": ("watcher.cli.watch", "watch"),
    "list": ("watcher.cli.list", "list_tasks"),
    "get": ("watcher.cli.get", "get"),
    "count": ("watcher.cli.count", "count"),
    "revoke": ("watcher.cli.revoke", "revoke"),
    "token": ("watcher.cli.token", "token"),
    "completion": ("watcher.cli.completion", "completion"),
}
#: A variable that asks for completions in place of a command, as click has it: ``bash_source``, ``bash_complete``.
_COMPLETE: Final = "_WATCHER_COMPLETE"


class _Commands(click.Group):
    """A group whose commands are imported one by one."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command, with whatever standard streams there are."""
        steady()
        if os.environ.get(_COMPLETE):
            import_module("watcher.cli.completion")  # has what click doesn't do of it
        with lost():
            return super().main(*args, **{"complete_var": _COMPLETE, **kwargs})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or None."""
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command = getattr(import_module(module), name)
        return command if isinstance(command, click.Command) else None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands that begin so, without importing all of them; and options."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only a shell asks for it

        return [CompletionItem(name) for name in _COMMANDS if name.startswith(incomplete)]


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(watcher.__version__, prog_name="watcher")
def main() -> None:
    """Submit Celery tasks and watch them live, without polling."""
