"""The command line: `watcher up` and `watcher serve`.

Exit codes of both: 0 after a clean stop, 2 a wrong setting, app or taken port, 3 Redis can't be reached at start; `up`
also 1 where its worker ends by itself. Data goes to standard output, all else to standard error.
"""

from __future__ import annotations

import click

import watcher
from watcher.cli.serve import serve
from watcher.cli.up import up

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(watcher.__version__, prog_name="watcher")
def main() -> None:
    """Submit Celery tasks and watch them live, without polling."""


main.add_command(up)
main.add_command(serve)
