"""The live view of a terminal: the tasks under way, drawn in place below what is printed."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.abc import TaskGroup

from watcher.cli.terminal.columns import cut
from watcher.cli.terminal.rendering import task_line, terminal_size, write
from watcher.client import TaskEvent

__all__ = ["Board"]

#: Between two drawings, in seconds.
_FRAME: Final = 0.1
#: What is printed waits for the next drawing, up to so many bytes.
_PENDING: Final = 65536
#: A task that was lost with its worker may never end: of more than so many the eldest are no longer shown.
_TASKS: Final = 1000


class Board:
    """The tasks under way, a line each, at the bottom of the terminal that standard error is.

    What is printed meanwhile goes through it, and so comes above them. Where standard error is no terminal it draws
    nothing, and prints at once. Ten times a second it draws again, as wide and as high as the terminal is by then.

    :param total: gives the last line, which sums up all of them.
    :param enabled: False draws nothing on a terminal either.
    """

    def __init__(self, *, total: Callable[[], str] | None = None, enabled: bool = True) -> None:
        self.enabled = enabled and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._total = total
        self._tasks: dict[str, tuple[TaskEvent, float]] = {}
        self._pending: list[tuple[int, bytes]] = []
        self._size = 0
        self._drawn: list[str] = []

    def __contains__(self, task_id: str) -> bool:
        """Whether it shows this task."""
        return task_id in self._tasks

    @asynccontextmanager
    async def shown(self, group: TaskGroup) -> AsyncIterator[None]:
        """Draw within this block, by a task of ``group``; afterwards nothing is left of it. Safe to cancel."""
        if not self.enabled:
            yield
            return
        drawing = anyio.CancelScope()
        handlers = [
            handler
            for handler in logging.getLogger().handlers
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
        ]
        for handler in handlers:
            handler.setStream(_Notes(self))
        group.start_soon(self._draw_on, drawing)
        try:
            yield
        finally:
            drawing.cancel()
            for handler in handlers:
                handler.setStream(sys.stderr)
            self._print()

    def follow(self, event: TaskEvent) -> None:
        """Show how its task stands, or no longer show a task that has ended."""
        if event.ends:
            self._tasks.pop(event.id, None)
        elif self.enabled and not event.data.get("late"):
            began = self._tasks[event.id][1] if event.id in self._tasks else time.monotonic()
            self._tasks[event.id] = (event, began)
            if len(self._tasks) > _TASKS:
                del self._tasks[next(iter(self._tasks))]

    def write(self, line: bytes) -> None:
        """A line of data, on standard output."""
        if self.enabled and sys.stdout.isatty():
            self._later(sys.stdout.fileno(), line + b"\n")
        else:
            write(line)

    def say(self, text: str) -> None:
        """Tell the person at the terminal, on standard error."""
        text = f"watcher: {text}\n"
        if self.enabled:
            self._later(sys.stderr.fileno(), text.encode())
        else:
            sys.stderr.write(text)
            sys.stderr.flush()

    def _later(self, descriptor: int, text: bytes) -> None:
        # Not at once: a thousand results a second would take the view away a thousand times.
        self._pending.append((descriptor, text))
        self._size += len(text)
        if self._size > _PENDING:
            self._print()

    async def _draw_on(self, scope: anyio.CancelScope) -> None:
        with scope:
            while True:
                await anyio.sleep(_FRAME)
                lines = self._lines()
                if self._pending or lines != self._drawn:
                    self._print()
                    self._draw(lines)

    def _lines(self) -> list[str]:
        """As many as there is room for; one row stays free for what is typed."""
        columns, rows = terminal_size(sys.stderr)
        total = [self._total()] if self._total is not None else []
        room = max(1, rows - 1 - len(total))
        lines = [task_line(event, began, columns - 1) for event, began in list(self._tasks.values())[:room]]
        if len(self._tasks) > room:
            lines[-1] = f"… and {len(self._tasks) - room + 1} more"
        return [*lines, *(cut(line, columns - 1) for line in total)]

    def _draw(self, lines: list[str]) -> None:
        """Draw over the last drawing, and go back to its beginning.

        So whatever becomes of the lines when the terminal gets another width, erasing from there takes all of them
        away and nothing else; and a shell that the program was killed under goes on there. No line is wrapped (DECAWM
        is off meanwhile), because Python can't tell how wide a terminal draws each character.
        """
        if lines:
            up = f"\x1b[{len(lines) - 1}A" if len(lines) > 1 else ""
            sys.stderr.write("\r\x1b[?7l" + "\n".join(f"{line}\x1b[K" for line in lines) + f"\x1b[J\x1b[?7h{up}\r")
            sys.stderr.flush()
        self._drawn = lines

    def _print(self) -> None:
        """Take the drawing away, and print what has waited for that."""
        if self._drawn:
            sys.stderr.write("\r\x1b[J")
            sys.stderr.flush()
            self._drawn = []
        pending, self._pending, self._size = self._pending, [], 0
        for descriptor, text in pending:
            stream = sys.stdout if descriptor == sys.stdout.fileno() else sys.stderr
            stream.buffer.write(text)
            stream.buffer.flush()


class _Notes(io.TextIOBase):
    """What is logged, above the board."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def write(self, text: str) -> int:
        self._board.say(text.rstrip("\n").removeprefix("watcher: "))
        return len(text)
