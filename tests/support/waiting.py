"""Waiting for a thing to be so, with a limit and a name: what a test does instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

import anyio

T = TypeVar("T")

_PAUSE = 0.01


def wait_for(predicate: Callable[[], T | None], *, timeout: float = 20.0, what: str) -> T:
    """Call `predicate` until it returns something true, and return that.

    :param timeout: in seconds.
    :param what: what is waited for, as a sentence's subject: "the worker to be ready".
    :raises AssertionError: it didn't become so in time.
    """
    end = time.monotonic() + timeout
    while not (value := predicate()):
        assert time.monotonic() < end, f"waited {timeout:g} s in vain for {what}; last seen: {value!r}"
        time.sleep(_PAUSE)
    return value


@overload
async def eventually(predicate: Callable[[], Awaitable[T | None]], *, timeout: float = 20.0, what: str) -> T: ...
@overload
async def eventually(predicate: Callable[[], T | None], *, timeout: float = 20.0, what: str) -> T: ...
async def eventually(predicate: Callable[[], Any], *, timeout: float = 20.0, what: str) -> Any:
    """The same for async tests; `predicate` may be a coroutine function."""
    end = time.monotonic() + timeout
    while True:
        answer = predicate()
        value = await answer if isinstance(answer, Awaitable) else answer
        if value:
            return value
        assert time.monotonic() < end, f"waited {timeout:g} s in vain for {what}; last seen: {value!r}"
        await anyio.sleep(_PAUSE)
