"""The blocking twin: the same client on an event loop in a thread of its own, for any number of threads."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from datetime import datetime, timedelta
from ssl import SSLContext
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, overload

from anyio.from_thread import BlockingPortal, start_blocking_portal

from watcher.client.connection import Token
from watcher.client.errors import EventsLost, RelayClosed
from watcher.client.models import Snapshot, TaskEvent
from watcher.client.queries import Counts, Moment, Pair, Sort, TaskQueries
from watcher.client.relay import Connecting, Relay, Submitter, connect
from watcher.client.task import Task
from watcher.core.figures import CountBy, NameStats, Series

__all__ = ["SyncRelay", "SyncSubmitter", "SyncTask", "connect_sync"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Loop:
    """The other thread's event loop."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine there, and wait for it; an interrupt here (Ctrl-C) cancels it there.

        :raises RelayClosed: the client was closed.
        """
        try:
            future: Future[T] = self._portal.start_task_soon(call)
        except RuntimeError:
            raise RelayClosed("the client was closed") from None
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


class _Closable(Protocol[T_co]):
    """An async iterator that can be closed."""

    def __aiter__(self) -> AsyncIterator[T_co]: ...
    async def __anext__(self) -> T_co: ...
    async def aclose(self) -> None: ...


class SyncIterator(Generic[T]):
    """A blocking iterator. Leave it early by ``close()``, or use it in a ``with`` statement; it is for one thread."""

    def __init__(self, loop: _Loop, source: _Closable[T]) -> None:
        self._loop = loop
        self._source = source

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        more, value = self._loop.run(self._next)
        if not more:
            raise StopIteration
        return value[0]

    async def _next(self) -> tuple[bool, list[T]]:
        # StopAsyncIteration can't leave a coroutine, so the end is a value.
        try:
            return True, [await self._source.__anext__()]
        except StopAsyncIteration:
            return False, []

    def close(self) -> None:
        """Stop listening."""
        self._loop.run(self._source.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SyncTask:
    """A task that was submitted, or is watched; iterate over it for its events."""

    def __init__(self, loop: _Loop, task: Task) -> None:
        self._loop = loop
        self._task = task
        self.id = task.id
        self.name = task.name

    def __repr__(self) -> str:
        return f"<SyncTask {self.name or ''}[{self.id}]>"

    @property
    def sent(self) -> tuple[str, int] | None:
        """See :attr:`watcher.client.Task.sent`."""
        return self._task.sent

    def result(self, timeout: float | None = None) -> Any:
        """See :meth:`watcher.client.Task.result`."""
        return self._loop.run(lambda: self._task.result(timeout))

    def outcome(self, timeout: float | None = None) -> TaskEvent | Snapshot:
        """See :meth:`watcher.client.Task.outcome`."""
        return self._loop.run(lambda: self._task.outcome(timeout))

    def __iter__(self) -> Iterator[TaskEvent]:
        return self.events()

    def events(self) -> SyncIterator[TaskEvent]:
        """See :meth:`watcher.client.Task.events`."""

        async def events() -> SyncIterator[TaskEvent]:
            return SyncIterator(self._loop, self._task.events())

        return self._loop.run(events)

    def revoke(self, *, terminate: bool = False) -> None:
        """See :meth:`watcher.client.Relay.revoke`."""
        self._loop.run(lambda: self._task.revoke(terminate=terminate))

    def cancel(self) -> None:
        """Revoke it, and end it where it is running."""
        self.revoke(terminate=True)


class SyncSubmitter:
    """Submits tasks with certain options; made by :meth:`SyncRelay.options`."""

    def __init__(self, loop: _Loop, submitter: Submitter) -> None:
        self._loop = loop
        self._submitter = submitter

    def options(
        self,
        *,
        task_id: str | None = None,
        queue: str | None = None,
        countdown: float | timedelta | None = None,
        eta: datetime | str | None = None,
        expires: float | timedelta | datetime | str | None = None,
        priority: int | None = None,
        tags: Iterable[str] = (),
    ) -> SyncSubmitter:
        """See :meth:`watcher.client.Submitter.options`."""
        bound = self._submitter.options(
            task_id=task_id, queue=queue, countdown=countdown, eta=eta, expires=expires, priority=priority, tags=tags
        )
        return SyncSubmitter(self._loop, bound)

    def submit(self, name: str, /, *args: Any, **kwargs: Any) -> SyncTask:
        """See :meth:`watcher.client.Submitter.submit`."""
        return SyncTask(self._loop, self._loop.run(lambda: self._submitter.submit(name, *args, **kwargs)))

    def map(
        self, name: str, items: Iterable[Any], /, *,
        limit: int = 100, ordered: bool = True, return_exceptions: bool = False,
    ) -> SyncIterator[Any]:  # fmt: skip
        """See :meth:`watcher.client.Submitter.map`. The items are taken in the client's thread: they must not block."""
        results = self._submitter.map(name, items, limit=limit, ordered=ordered, return_exceptions=return_exceptions)
        return SyncIterator(self._loop, results)

    def starmap(
        self, name: str, items: Iterable[Iterable[Any]], /, *,
        limit: int = 100, ordered: bool = True, return_exceptions: bool = False,
    ) -> SyncIterator[Any]:  # fmt: skip
        """See :meth:`watcher.client.Submitter.starmap`."""
        results = self._submitter.starmap(
            name, items, limit=limit, ordered=ordered, return_exceptions=return_exceptions
        )
        return SyncIterator(self._loop, results)


class SyncTaskQueries:
    """Questions about tasks by a filter; those of :class:`SyncRelay`."""

    def __init__(self, loop: _Loop, queries: TaskQueries) -> None:
        self._in = loop
        self._queries = queries

    def list(
        self,
        filter: str = "",  # noqa: A002 - as everywhere
        *,
        sort: Sort = "when",
        limit: int | None = None,
    ) -> SyncIterator[Snapshot]:
        """See :meth:`watcher.client.Relay.list`."""
        return SyncIterator(self._in, self._queries.list(filter, sort=sort, limit=limit))

    @overload
    def count(self, filter: str = "", *, by: tuple[()] = ()) -> int: ...
    @overload
    def count(self, filter: str = "", *, by: CountBy) -> Counts[str | None]: ...
    @overload
    def count(self, filter: str = "", *, by: Pair) -> Counts[tuple[str | None, ...]]: ...
    def count(self, filter: str = "", *, by: Any = ()) -> Any:  # noqa: A002
        """See :meth:`watcher.client.Relay.count`."""
        return self._in.run(lambda: self._queries.count(filter, by=by))

    def series(
        self,
        filter: str = "",  # noqa: A002
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        buckets: int = 60,
    ) -> Series:
        """See :meth:`watcher.client.Relay.series`."""
        return self._in.run(lambda: self._queries.series(filter, since=since, until=until, buckets=buckets))

    def names(
        self,
        filter: str = "",  # noqa: A002
        *,
        since: Moment | None = None,
    ) -> builtins.list[NameStats]:
        """See :meth:`watcher.client.Relay.names`."""
        return self._in.run(lambda: self._queries.names(filter, since=since))


class SyncRelay(SyncSubmitter, SyncTaskQueries):
    """A connection to a relay, made by :func:`connect_sync`; every method may be called from any thread."""

    def __init__(self, loop: _Loop, relay: Relay) -> None:
        SyncSubmitter.__init__(self, loop, relay)
        SyncTaskQueries.__init__(self, loop, relay)
        self._relay = relay

    def task(self, identity: str, /, *, name: str | None = None, token: str | None = None) -> SyncTask:
        """See :meth:`watcher.client.Relay.task`."""
        return SyncTask(self._loop, self._relay.task(identity, name=name, token=token))

    def watch(
        self, *channels: str, since: tuple[str, int] | None = None, on_gap: Callable[[EventsLost], None] | None = None
    ) -> SyncIterator[TaskEvent]:
        """See :meth:`watcher.client.Relay.watch`."""

        async def watch() -> SyncIterator[TaskEvent]:
            return SyncIterator(self._loop, self._relay.watch(*channels, since=since, on_gap=on_gap))

        return self._loop.run(watch)

    def get(self, identity: str, /) -> Snapshot | None:
        """See :meth:`watcher.client.Relay.get`."""
        return self._loop.run(lambda: self._relay.get(identity))

    def revoke(self, identity: str, /, *, terminate: bool = False) -> None:
        """See :meth:`watcher.client.Relay.revoke`."""
        self._loop.run(lambda: self._relay.revoke(identity, terminate=terminate))

    def registry(self) -> list[dict[str, Any]]:
        """See :meth:`watcher.client.Relay.registry`."""
        return self._loop.run(self._relay.registry)


class ConnectingSync:
    """What :func:`connect_sync` returns: a context manager, to be used once."""

    def __init__(self, connecting: Connecting) -> None:
        self._connecting = connecting
        self._exits = ExitStack()

    def __enter__(self) -> SyncRelay:
        with ExitStack() as exits:
            portal = exits.enter_context(start_blocking_portal("asyncio", name="watcher-client"))
            relay = exits.enter_context(portal.wrap_async_context_manager(self._connecting))
            self._exits = exits.pop_all()
        return SyncRelay(_Loop(portal), relay)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()


def connect_sync(
    url: str | None = None, *, token: Token = None, patience: float = 0.0, ssl: SSLContext | None = None
) -> ConnectingSync:
    """The blocking twin of :func:`watcher.connect`: ``with watcher.connect_sync() as relay``.

    Its methods may be called from any thread. A thread that waits when the block is left gets RelayClosed. Make it
    after a fork, not before.
    """
    return ConnectingSync(connect(url, token=token, patience=patience, ssl=ssl))
