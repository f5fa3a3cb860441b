"""Runs one command and ends it, with all that it started, once the program that asked for it goes away.

    python -I -S guard.py SIGNAL=SECONDS[,SIGNAL=SECONDS…] FD[,FD…]|- COMMAND [ARGUMENT…]

Standard input is the lifeline: a pipe whose other end the asking program holds, and never writes to. When the pipe
closes, because that program wants an end or because it was killed, the command gets each signal in turn and that many
seconds to leave; then its whole process group is killed. So there is one way to stop, it is taken every time, and it
needs nothing but POSIX (Linux's PR_SET_PDEATHSIG is not on macOS, and reaches no grandchildren).

The command inherits standard output, standard error and the named file descriptors. What else the guard has been
handed stays open for as long as the guard lives: that is how one guard holds the lifeline of another.

SIGTERM to the guard itself means that it is urgent: as a closed lifeline, but only the last step gets its time. It
leaves with the command's exit code, 128 + N where signal N ended the command.

This file is run by its path, in an isolated interpreter: it imports the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

# How often a wait looks up although nothing woke it: only for a wake-up byte that a full pipe would refuse.
_LOOK_UP = 5.0
_URGENT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Step(NamedTuple):
    """One signal to the command, and the time in seconds that it then has to leave."""

    signal: signal.Signals
    seconds: float


def parse_steps(text: str) -> list[Step]:
    """Read `SIGTERM=7,SIGQUIT=1.5`.

    :raises ValueError: a part is not ``NAME=SECONDS``.
    :raises KeyError: there is no such signal.
    """
    pairs = (part.split("=") for part in text.split(","))
    return [Step(signal.Signals[name], float(seconds)) for name, seconds in pairs]


class Guard:
    """The running command, and what this process waits for."""

    def __init__(self, command: list[str], descriptors: list[int]) -> None:
        """Start the command in a session of its own, so that the terminal's Ctrl-C doesn't reach it."""
        self._wakeups, wake = os.pipe()
        for end in (self._wakeups, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._urgent = False
        for number in _URGENT:
            signal.signal(number, self._on_urgent)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # the default would not reach the wake-up pipe
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def _on_urgent(self, _number: int, _frame: FrameType | None) -> None:
        self._urgent = True

    def run(self, steps: list[Step]) -> int:
        """Wait until the command has left, by itself or through the steps, and return its exit code."""
        self._wait_for_end_of_lifeline()
        for step in steps:
            if self._child.poll() is not None:
                break
            self._child.send_signal(step.signal)
            self._wait_for_exit(step.seconds, patient=step is steps[-1])
        # Whatever is left of the group: a command that ignored every signal, or what it started and left behind.
        with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, zombies only
            os.killpg(self._child.pid, signal.SIGKILL)
        code = self._child.wait()
        for number in _URGENT:
            signal.signal(number, signal.SIG_IGN)  # else one that comes while Python ends would be the exit code
        return code if code >= 0 else 128 - code

    def _wait_for_end_of_lifeline(self) -> None:
        while self._child.poll() is None and not self._urgent:
            readable = self._select([0, self._wakeups], _LOOK_UP)
            if 0 in readable and not os.read(0, 1024):
                return

    def _wait_for_exit(self, seconds: float, *, patient: bool) -> None:
        for left in _countdown(seconds):
            if self._child.poll() is not None or (self._urgent and not patient):
                return
            self._select([self._wakeups], left)

    def _select(self, files: list[int], seconds: float) -> list[int]:
        readable, _, _ = select.select(files, [], [], seconds)
        if self._wakeups in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wakeups, 1024)
        return readable


def _countdown(seconds: float) -> Iterator[float]:
    """The time that is left, in seconds, until none is."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        yield left


def main() -> int:
    """Run as a program; see the top of this file."""
    steps, descriptors, *command = sys.argv[1:]
    keep = [] if descriptors == "-" else [int(number) for number in descriptors.split(",")]
    return Guard(command, keep).run(parse_steps(steps))


if __name__ == "__main__":
    sys.exit(main())
