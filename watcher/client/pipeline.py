"""Many submissions over one connection: a bounded number in flight, their ends in order or as they come."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeAlias, TypeVar

import anyio
from anyio.abc import TaskGroup

from watcher.client.errors import RelayClosed

__all__ = ["Job", "pipeline"]

T = TypeVar("T")
R = TypeVar("R")

_CLOSED: Final = "the client was closed"

Source: TypeAlias = Iterable[T] | AsyncIterable[T]


@dataclass(eq=False, slots=True)
class Job(Generic[T, R]):
    """One item on its way; ``error`` is what became of it where that is no value."""

    index: int
    item: T
    value: R | None = None
    error: Exception | None = None
    done: bool = False
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def result(self) -> R | None:
        """Its value.

        :raises Exception: there is none.
        """
        if self.error is not None:
            raise self.error
        return self.value


class _Line(Generic[T, R]):
    """The jobs that are not handed out yet."""

    def __init__(self, limit: int) -> None:
        self.room = anyio.Semaphore(limit)
        self.started: deque[Job[T, R]] = deque()
        self.finished: deque[Job[T, R]] = deque()
        self.error: BaseException | None = None
        self.exhausted = False
        self.stirred = anyio.Event()


async def pipeline(
    group: TaskGroup, carry: Callable[[T], Awaitable[R]], source: Source[T], *, limit: int, ordered: bool
) -> AsyncGenerator[Job[T, R], None]:
    """Carry out ``carry(item)`` for each item, ``limit`` at a time, and give the jobs back as they are done.

    An item counts until its job has been taken from here, so a slow reader slows down the source. What ``carry`` raises
    is the job's; what the source raises comes after all jobs before it. Left early, it cancels what is under way.

    :param group: where the jobs run: a generator must not have a group of its own around its ``yield``.
    :param ordered: whether jobs come in the order of the source, or as they are done.
    """
    if limit < 1:
        raise ValueError(f"limit={limit}: must be at least 1")
    line: _Line[T, R] = _Line(limit)
    feeding = anyio.CancelScope()
    group.start_soon(_feed, group, line, carry, source, feeding)
    try:
        while True:
            while ready := _next(line, ordered=ordered):
                line.room.release()
                yield ready
            if line.exhausted and not line.started:
                break
            await line.stirred.wait()
            line.stirred = anyio.Event()
        if line.error is not None:
            raise line.error
    finally:
        feeding.cancel()
        for job in line.started:
            job.scope.cancel()


def _next(line: _Line[T, R], *, ordered: bool) -> Job[T, R] | None:
    if ordered:
        line.finished.clear()
        return line.started.popleft() if line.started and line.started[0].done else None
    if not line.finished:
        return None
    job = line.finished.popleft()
    line.started.remove(job)
    return job


async def _feed(
    group: TaskGroup,
    line: _Line[T, R],
    carry: Callable[[T], Awaitable[R]],
    source: Source[T],
    scope: anyio.CancelScope,
) -> None:
    index = 0
    with scope:
        try:
            items = _items(source)
            while True:
                await line.room.acquire()
                job: Job[T, R] = Job(index, await anext(items))
                line.started.append(job)
                group.start_soon(functools.partial(_run, line, carry, job))
                index += 1
        except StopAsyncIteration:
            pass
        except Exception as error:  # noqa: BLE001 - the iterable's own, raised where its items are read
            line.error = error
        except BaseException:
            line.error = RelayClosed(_CLOSED)
            raise
        finally:
            line.exhausted = True
            line.stirred.set()


async def _run(line: _Line[T, R], carry: Callable[[T], Awaitable[R]], job: Job[T, R]) -> None:
    with job.scope:
        try:
            job.value = await carry(job.item)
        except Exception as error:  # noqa: BLE001 - the job's own, raised where it is taken
            job.error = error
        except BaseException:
            job.error = RelayClosed(_CLOSED)
            raise
        finally:
            job.done = True
            line.finished.append(job)
            line.stirred.set()


async def _items(source: Source[T]) -> AsyncIterator[T]:
    if isinstance(source, AsyncIterable):
        async for item in source:
            yield item
    else:
        for item in source:
            yield item
