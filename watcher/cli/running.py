"""Run an event loop until a signal asks the program to stop."""

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
    """Requests to stop: the first signal sets `asked`, the second one `urgent`."""

    def __init__(self) -> None:
        self.asked = anyio.Event()
        self.urgent = anyio.Event()


def leave_quietly() -> None:
    """Until :func:`until_signalled` takes over, let a signal exit with code 0, running the `finally` blocks."""

    def leave(_number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(0)

    for number in _SIGNALS:
        signal.signal(number, leave)


@asynccontextmanager
async def until_signalled() -> AsyncIterator[Ending]:
    """Yield an :class:`Ending` that SIGINT, SIGTERM and SIGHUP (the terminal was closed) set."""
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
    """Run ``main`` in an event loop, uvloop's if it is installed.

    A single error is unwrapped from the exception groups that task groups put around it.
    """
    try:
        return anyio.run(main, backend_options={"use_uvloop": importlib.util.find_spec("uvloop") is not None})
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None
