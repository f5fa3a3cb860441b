"""Runs the relay until a signal asks for an end."""

from __future__ import annotations

import importlib.util
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import NoReturn, TypeVar

import anyio

__all__ = ["Ending", "leave_quietly", "run", "until_signalled"]

T = TypeVar("T")

_log = logging.getLogger(__name__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ending:
    """That an end was asked for: `asked` by the first signal, `urgent` by the second."""

    def __init__(self) -> None:
        self.asked = anyio.Event()
        self.urgent = anyio.Event()


def leave_quietly() -> None:
    """From here to :func:`until_signalled` a signal ends the program with exit code 0, by way of its `finally`s."""

    def leave(_number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(0)

    for number in _SIGNALS:
        signal.signal(number, leave)


@asynccontextmanager
async def until_signalled() -> AsyncIterator[Ending]:
    """Hand out an :class:`Ending` that SIGINT, SIGTERM and SIGHUP (the terminal was closed) bring about."""
    ending = Ending()

    async def listen() -> None:
        async for number in signals:
            urgent = ending.asked.is_set()
            (ending.urgent if urgent else ending.asked).set()
            _log.info("%s: stopping%s", number.name, " at once" if urgent else "")

    with anyio.open_signal_receiver(*_SIGNALS) as signals:
        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            yield ending
            group.cancel_scope.cancel()


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run the event loop: uvloop's where it is installed.

    An error comes out as itself: a task group wraps even a single one in an exception group.
    """
    try:
        return anyio.run(main, backend_options={"use_uvloop": importlib.util.find_spec("uvloop") is not None})
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None
