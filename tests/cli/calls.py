"""The commands that call a relay, as a user runs them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from typing import Any, NamedTuple

from tests.support.processes import ROOT, environment

WATCHER = (sys.executable, "-m", "watcher")


class Ended(NamedTuple):
    """What a command has left."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Standard output, each line read as JSON; None for an empty one."""
        return [json.loads(line) if line else None for line in self.out.splitlines()]


def run(*arguments: str, url: str = "", stdin: str = "", **env: str) -> Ended:
    """Run a command to its end."""
    variables = environment({**({"WATCHER_URL": url} if url else {}), **env})
    done = subprocess.run(
        [*WATCHER, *arguments], input=stdin, capture_output=True, text=True, env=variables, cwd=ROOT, timeout=60,
        check=False,
    )  # fmt: skip
    assert "Traceback (most recent" not in done.stderr or "tasks.fail" in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


def on_terminal(*arguments: str, url: str, **env: str) -> tuple[int, str]:
    """Run a command to its end where a person looks: its exit code, and all that the terminal was sent."""
    ours, theirs = pty.openpty()
    variables = environment({"WATCHER_URL": url, "TERM": "xterm", "COLUMNS": "100", **env})
    with subprocess.Popen([*WATCHER, *arguments], stdout=theirs, stderr=theirs, env=variables, cwd=ROOT) as running:
        os.close(theirs)
        seen = b""
        with suppress(OSError):  # what a terminal answers once the other side has closed it
            while chunk := os.read(ours, 65536):
                seen += chunk
        os.close(ours)
    return running.returncode, seen.decode()
