"""The commands that call a relay, as a user runs them."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyte
from click.testing import CliRunner

from tests.support.processes import ROOT, environment
from tests.support.waiting import wait_for
from watcher.cli import main

WATCHER = (sys.executable, "-m", "watcher")


class Ended(NamedTuple):
    """What a command has left."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Standard output, each line read as JSON; None for an empty one.

        Not `splitlines`: within a JSON string there may be other characters that end a line elsewhere, as U+2028.
        """
        lines = self.out.split("\n")
        assert lines.pop() == "", "the last line has its end"
        return [json.loads(line) if line else None for line in lines]


def run(*arguments: str, url: str = "", stdin: str = "", **env: str) -> Ended:
    """Run a command to its end."""
    variables = environment({**({"WATCHER_URL": url} if url else {}), **env})
    done = subprocess.run(
        [*WATCHER, *arguments], input=stdin, capture_output=True, text=True, env=variables, cwd=ROOT, timeout=60,
        check=False,
    )  # fmt: skip
    assert "Traceback (most recent" not in done.stderr or "tasks.fail" in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


class Terminal:
    """A terminal that a command runs in: what its screen shows, and all that it was sent.

    :param stdin: what is piped to the command; None leaves its standard input at the terminal.
    :param env: more of its environment.
    """

    def __init__(
        self,
        *arguments: str,
        url: str,
        command: tuple[str, ...] = (),
        stdin: str | None = None,
        columns: int = 80,
        rows: int = 24,
        **env: str,
    ) -> None:
        self._ours, theirs = pty.openpty()
        self.sent = b""
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.resize(columns, rows)
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.process = subprocess.Popen(
            command or [*WATCHER, *arguments],
            stdin=theirs if stdin is None else subprocess.PIPE, stdout=theirs, stderr=theirs,
            env=environment({"WATCHER_URL": url, "TERM": "xterm", **env}), cwd=ROOT, start_new_session=True,
        )  # fmt: skip
        if stdin is not None and self.process.stdin is not None:
            self.process.stdin.write(stdin.encode())
            self.process.stdin.close()

    def resize(self, columns: int, rows: int) -> None:
        """Give it another size, as whoever drags the corner of a window does."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    @property
    def lines(self) -> list[str]:
        """The screen's lines so far, without those that are empty at its end."""
        while select.select([self._ours], [], [], 0.01)[0]:
            chunk = os.read(self._ours, 65536)
            self.sent += chunk
            self._stream.feed(chunk)
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip().split("\n")

    def wait_for(self, pattern: str, *, timeout: float = 20.0) -> str:
        """Wait until the screen shows what the regular expression matches; returns the screen."""

        def shown() -> str | None:
            text = "\n".join(self.lines)
            return text if re.search(pattern, text, re.MULTILINE) else None

        try:
            return wait_for(shown, timeout=timeout, what=f"the screen to show {pattern!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n" + "\n".join(self.lines)) from None

    def wait(self, timeout: float = 20.0) -> int:
        """Read on until the command ends; returns its exit code."""

        def ended() -> bool:
            code = self.process.poll()  # looked at first: it says something just before it leaves
            return bool(self.lines) and code is not None

        wait_for(ended, timeout=timeout, what="the command to end")
        return self.process.wait()

    def type(self, text: str) -> None:
        """Type this; a control-D at the beginning of a line ends standard input."""
        os.write(self._ours, text.encode())

    def modes(self) -> list[Any]:
        """How the terminal treats what is typed, as ``tcgetattr`` has it."""
        return termios.tcgetattr(self._theirs)

    def close(self) -> None:
        """End the command, and throw the terminal away."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


@contextmanager
def terminal(*arguments: str, url: str, **options: Any) -> Iterator[Terminal]:
    """Run a command in a terminal for the time of a `with` block."""
    opened = Terminal(*arguments, url=url, **options)
    try:
        yield opened
    finally:
        opened.close()


def on_terminal(*arguments: str, url: str, **options: Any) -> tuple[int, str]:
    """Run a command to its end where a person looks: its exit code, and all that the terminal was sent."""
    with terminal(*arguments, url=url, **options) as opened:
        code = opened.wait()
        _ = opened.lines  # what it said last
        return code, opened.sent.decode()


def within(*arguments: str, url: str) -> Ended:
    """Run a command to its end within this process: a tenth of the time, for what no stream or signal matters to."""
    done = CliRunner().invoke(main, [*arguments, "--url", url])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ended(done.exit_code, done.stdout, done.stderr)
