"""Standard input, output and error as they may be: closed, a full disk, a pipe whose reader has left.

A descriptor that is closed is opened on the null device before anything else is opened: the next socket or file would
get its number, and be written to, or read from, in its place (and libuv aborts where it closes one of these numbers).
What can't be written to standard error is dropped: nobody can be told. What can't be written to standard output ends
the program, by :class:`OutputLost`, once.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from select import select
from typing import Any, Final, NoReturn, TextIO

__all__ = ["LOST", "OutputLost", "is_closed", "lost", "steady"]

#: The exit code where standard output takes nothing more (EX_IOERR of sysexits.h); where its reader has left it is that
#: of a program that SIGPIPE has ended.
LOST: Final = 74
_LEFT: Final = 128 + signal.SIGPIPE
_closed: set[int] = set()


class OutputLost(Exception):
    """Standard output takes nothing more.

    :param number: why, as ``errno`` has it.
    """

    def __init__(self, number: int | None) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return f"standard output can't be written to: {os.strerror(self.number or errno.EIO)}"

    def leave(self) -> NoReturn:
        """End the program: quietly where the reader has what it wanted, else with a line."""
        if self.number == errno.EPIPE:
            sys.exit(_LEFT)
        sys.stderr.write(f"watcher: {self}\n")
        sys.exit(LOST)


class _Patient(io.FileIO):
    """Takes as long as its reader does, also where the program that started this one made it non-blocking."""

    def write(self, data: Any) -> int:
        """Write some of it."""
        while (written := super().write(data)) is None:
            select([], [self], [])
        return written


class _Output(_Patient):
    _lost = False

    def write(self, data: Any) -> int:
        """Write what can be written; later calls do nothing once it has failed."""
        if not self._lost:
            try:
                return super().write(data)
            except OSError as error:
                self._lost = True
                raise OutputLost(error.errno) from None
        return len(data)


class _Errors(_Patient):
    def write(self, data: Any) -> int:
        """Write what can be written."""
        try:
            return super().write(data)
        except OSError:
            return len(data)


def steady() -> None:
    """Make the three streams such that the program can go on whatever they are; the first thing that it does."""
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is None:  # as Python has it where the descriptor was closed
            _fill(number)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as the program
    if sys.stdout is sys.__stdout__:  # else somebody else has replaced it already
        sys.stdout = _over(_Output(1, "w", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _over(_Errors(2, "w", closefd=False), sys.stderr, "backslashreplace")


def _fill(number: int) -> None:
    _closed.add(number)
    try:
        os.fstat(number)
    except OSError:
        # The lowest number that is free is given, and those below were filled before this one.
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _over(raw: io.FileIO, before: Any, errors: str = "strict") -> TextIO:
    if before is None:
        return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", errors)
    before.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(raw), before.encoding, before.errors,
        line_buffering=before.line_buffering, write_through=before.write_through,
    )  # fmt: skip


def is_closed(number: int) -> bool:
    """Whether the program was started with this descriptor closed."""
    return number in _closed


@contextmanager
def lost() -> Iterator[None]:
    """End the program where its output can't be written."""
    try:
        yield
    except OutputLost as error:
        error.leave()
