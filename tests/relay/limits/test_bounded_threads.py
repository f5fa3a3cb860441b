"""Blocking calls in threads: bounded in number and in time, also where they hang."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.support.waiting import eventually
from watcher.relay.limits.bounded_threads import BoundedThreads, ThreadsBusy

pytestmark = pytest.mark.anyio


def hanging(release: threading.Event, begun: list[int]) -> Callable[[], None]:
    def call() -> None:
        begun.append(threading.get_ident())
        assert release.wait(20)

    return call


async def test_what_a_call_returns_or_raises_comes_out() -> None:
    threads = BoundedThreads(1)
    assert await threads.run(lambda: 5, 1) == 5

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await threads.run(fail, 1)
    assert await threads.run(lambda: 6, 1) == 6


async def test_a_call_that_hangs_keeps_its_place_until_it_returns() -> None:
    threads, release = BoundedThreads(2), threading.Event()
    begun: list[int] = []
    try:
        for _ in range(4):
            with pytest.raises(TimeoutError):
                await threads.run(hanging(release, begun), 0.05)
        assert len(begun) == 2
    finally:
        release.set()
    assert await threads.run(lambda: 5, 5) == 5


async def test_a_full_pool_is_told_from_calls_that_hang() -> None:
    threads, release, second = BoundedThreads(1), threading.Event(), threading.Event()
    begun: list[int] = []
    try:
        for _ in range(2):  # the first has the slot, the second waits for it
            with pytest.raises(TimeoutError) as raised:
                await threads.run(hanging(release, begun), 0.05)
            assert type(raised.value) is TimeoutError
        async with anyio.create_task_group() as group:
            group.start_soon(threads.run, hanging(second, begun), 20)
            await anyio.lowlevel.checkpoint()
            release.set()  # the abandoned call returns, and the next one hangs
            with pytest.raises(ThreadsBusy):
                await threads.run(lambda: None, 0.5)
            second.set()
    finally:
        release.set()
        second.set()


async def test_cancellation_gives_up_on_a_call_and_no_place_is_lost() -> None:
    threads, release = BoundedThreads(1), threading.Event()
    begun: list[int] = []
    try:
        for delay in (0, 0.01):
            with anyio.move_on_after(delay):
                await threads.run(hanging(release, begun), 10)
        async with anyio.create_task_group() as group:
            group.start_soon(threads.run, hanging(release, begun), 10)
            await eventually(lambda: begun, what="the call to begin")
            group.cancel_scope.cancel()
    finally:
        release.set()
    assert await threads.run(lambda: 5, 5) == 5
    assert threads.running == 0


async def test_many_callers_share_the_places() -> None:
    threads = BoundedThreads(3)
    running: list[Any] = []
    most = 0
    lock = threading.Lock()

    def call() -> None:
        nonlocal most
        with lock:
            running.append(None)
            most = max(most, len(running))
        threading.Event().wait(0.002)
        with lock:
            running.pop()

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(threads.run, call, 10)
    assert 1 <= most <= 3
    assert threads.running == 0
