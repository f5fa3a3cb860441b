"""``watcher.results``: results and events straight from Redis, for programs that use Celery already."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, TypeVar, overload
from uuid import UUID

import anyio
from celery import Celery
from celery.result import AsyncResult, ResultSet

from watcher.core.errors import SettingError
from watcher.core.settings import Settings
from watcher.core.tokens import identity_of
from watcher.direct.errors import ResultsClosed
from watcher.direct.events import Events
from watcher.direct.outcome import AppReader, JsonReader, Outcome, Reader
from watcher.direct.registry import WaitRegistry
from watcher.direct.targets import Many, One, leaves
from watcher.direct.waits import Waits
from watcher.journal.configured import backend_target, journal_target
from watcher.journal.connect import Target
from watcher.journal.connect_async import async_client, reach
from watcher.journal.layout import Journal
from watcher.rendering.policy import Policy
from watcher.rendering.values import Rendering
from watcher.worker import redact_hook

__all__ = ["OpeningResults", "Results", "results"]

logger = logging.getLogger("watcher.direct")

T = TypeVar("T")

#: Celery's, see `celery.backends.base.BaseKeyValueStoreBackend`.
_PREFIX: Final = "celery-task-meta-"
#: A comment so often keeps proxies from closing a stream that is quiet, and notices clients that are gone. In seconds.
_HEARTBEAT: Final = 15.0


class Results:
    """Results and events of tasks, made by :func:`results`. Any number of tasks may be waited for at the same time.

    It belongs to the event loop that it was made in.
    """

    def __init__(self, tasks: WaitRegistry, reader: Reader, policy: Policy) -> None:
        self._tasks = tasks
        self._reader = reader
        self._policy = policy

    @overload
    async def wait(self, task: AsyncResult[T], /, timeout: float | None = None) -> T: ...
    @overload
    async def wait(self, task: ResultSet, /, timeout: float | None = None) -> list[Any]: ...
    @overload
    async def wait(self, task: str | UUID, /, timeout: float | None = None) -> Any: ...
    async def wait(self, task: Any, /, timeout: float | None = None) -> Any:
        """What a task returns, once it has; None if it was ignored. Of a group, the list of what its tasks return.

        It does what ``task.get()`` does, and neither polls nor blocks. Safe to cancel: the task runs on, and can be
        waited for again. A task that nobody has ever heard of can't be told from one whose worker doesn't say that it
        has begun, so it is waited for, as ``get()`` does: give a ``timeout``.

        :param task: Celery's AsyncResult or GroupResult, or a task's id. With an AsyncResult, the failure of an earlier
            link of its chain is raised too.
        :param timeout: in seconds; None waits however long it takes, a Redis that is away included.
        :raises Exception: what the task raised. Given an app, the exception itself as ``get()`` raises it, and
            celery.exceptions.TaskRevokedError; the worker's traceback is in its ``__notes__``. Given a URL,
            watcher.TaskFailed or watcher.TaskRevoked.
        :raises TaskRejected: a worker refused it. Before Celery 5.7 only the plugin tells so.
        :raises ResultUnavailable: it succeeded, and nothing is stored (any more) of a value that was too large for an
            event. ResultUnreadable: given a URL, and what is stored isn't JSON.
        :raises RedisRefused: Redis lets nobody read. ResultsClosed: the ``results`` block was left.
        :raises TimeoutError: it has not ended in time; says which state and queue it was in, where the plugin tells.
        """
        if not isinstance(task, ResultSet):
            return (await self.outcome(task, timeout)).result()
        waits = Waits(self._tasks, self._reader, leaves(task))
        values = {}
        try:
            with anyio.move_on_after(timeout) as limit:
                while waits:
                    index, outcome = await waits.next()
                    values[index] = outcome.result()
            if limit.cancelled_caught:
                raise waits.in_vain(timeout)
        finally:
            waits.leave()
        return _as_given(task, iter([values[index] for index in range(len(values))]))

    async def outcome(self, task: One, /, timeout: float | None = None) -> Outcome:
        """How a task has ended, once it has, whether good or bad. Raises TimeoutError, RedisRefused, ResultsClosed."""
        waits = Waits(self._tasks, self._reader, [task])
        try:
            with anyio.move_on_after(timeout):
                _, outcome = await waits.next()
                return outcome
            raise waits.in_vain(timeout)
        finally:
            waits.leave()

    async def as_completed(self, tasks: Many, /, timeout: float | None = None) -> AsyncGenerator[Outcome, None]:
        """How each of some tasks has ended, as they end.

        ``outcome.result()`` is the value, or raises what :meth:`wait` would. Left early, the others are waited for no
        more, and run on.

        :param tasks: a GroupResult, or an iterable of AsyncResults, GroupResults and ids.
        :param timeout: for all of them, in seconds.
        :raises TimeoutError: not all have ended in time.
        """
        deadline = None if timeout is None else anyio.current_time() + timeout
        waits = Waits(self._tasks, self._reader, leaves(tasks))
        try:
            while waits:
                with anyio.move_on_after(None if deadline is None else deadline - anyio.current_time()) as limit:
                    _, outcome = await waits.next()
                if limit.cancelled_caught:
                    raise waits.in_vain(timeout)
                yield outcome
        finally:
            waits.leave()

    def events(self, task: One, /, *, since: tuple[str, int] | None = None) -> Events:
        """The events of a task, from the first one that is kept to the one that ends it, as an async iterator.

        They come from the plugin's journal. Of a task whose worker has no plugin there are those states that Celery
        stores, with ``source`` ``backend``: its end, what it reports with ``update_state``, and STARTED with
        ``task_track_started``.

        :param since: ``(epoch, offset)`` of an event that was seen: go on after it.
        """
        return Events(identity_of(task), self._tasks, self._policy, since)

    async def sse(self, task: One, /, *, last_event_id: str | None = None) -> AsyncGenerator[str, None]:
        """The same as server-sent events: the body of a ``text/event-stream`` response.

        Each event is a message whose data is its JSON and whose id is ``EPOCH:OFFSET``. After the one that ends the
        task there is a message of the type ``end``: that is the time to close the EventSource, which else connects
        anew.

        :param last_event_id: the request's ``Last-Event-ID``: go on after it. One that is malformed is passed over.
        """
        async with self.events(task, since=_position(last_event_id)) as events:
            while True:
                with anyio.move_on_after(_HEARTBEAT) as quiet:
                    event = await anext(events, None)
                if quiet.cancelled_caught:
                    yield ": still there\n\n"
                elif event is None:
                    break
                else:
                    position = f"id: {event.epoch}:{event.offset}\n" if event.offset else ""
                    yield f"{position}data: {event.line.decode()}\n\n"
        yield "event: end\ndata: {}\n\n"

    def close(self) -> None:
        """Let go of everything that waits; :func:`results` does it."""
        self._tasks.close(ResultsClosed("the results block was exited"))


class OpeningResults:
    """What :func:`results` returns: an async context manager, to be used once."""

    def __init__(
        self,
        *,
        stored: Target,
        prefix: str,
        redis: Target,
        journal: Journal,
        reader: Reader,
        policy: Policy,
    ) -> None:
        self._stored = stored
        self._prefix = prefix
        self._redis = redis
        self._journal = journal
        self._reader = reader
        self._policy = policy
        self._exits = AsyncExitStack()
        self._results: Results | None = None

    async def __aenter__(self) -> Results:
        async with AsyncExitStack() as exits:
            stored = await exits.enter_async_context(async_client(self._stored))
            await reach(stored, self._stored, self._journal.open)
            await stored.connection_pool.disconnect()  # who listens has a connection of its own, and nobody looks yet
            redis, apart = stored, False
            if self._redis.note:
                logger.warning("%s", self._redis.note)
            if self._redis != self._stored:
                redis = await exits.enter_async_context(async_client(self._redis))
                apart = self._redis.server != self._stored.server
            tasks = WaitRegistry(stored, self._prefix, redis, self._journal, apart=apart)
            self._group = await anyio.create_task_group().__aenter__()
            tasks.start(self._group)
            self._exits = exits.pop_all()
        self._results = Results(tasks, self._reader, self._policy)
        return self._results

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._results is not None:
            self._results.close()
        async with self._exits:
            self._group.cancel_scope.cancel()
            # As in watcher/client/relay.py: a group would wrap what the block raised, so it isn't told of it.
            if isinstance(error, anyio.get_cancelled_exc_class()):
                await self._group.__aexit__(kind, error, trace)
            else:
                await self._group.__aexit__(None, None, None)


def results(app_or_url: Celery | str, /, *, global_keyprefix: str = "") -> OpeningResults:
    """Results and events straight from Redis, without a relay: ``async with watcher.results(app) as results``.

    It takes one subscriber connection, and up to three for looking up, whatever the number of waits, and no thread; a
    further subscriber where the journal is on another server than the results. After a restart of Redis it subscribes
    anew, looks again, and every wait goes on. One for a process and event loop is enough. Leaving the block ends what
    still waits (ResultsClosed). It needs asyncio, under anyio or not.

    :param app_or_url: the Celery app, whose result backend is a Redis: results are decoded with the serializers that it
        accepts, and raise what its ``get()`` raises. Or that Redis' URL: then JSON is read, and nothing else.
    :param global_keyprefix: with a URL, what the app has in ``result_backend_transport_options`` under this name.
    :raises RedisUnreachable: at the begin of the block, Redis doesn't answer.
    :raises SettingError: the result backend isn't a Redis, the URL isn't one, or a ``WATCHER_…`` variable is wrong.
    """
    settings = Settings.load(os.environ)
    rendering = Rendering.of(settings)  # of what events show; values belong to whoever waits for them
    if isinstance(app_or_url, str):
        stored = Target.of(app_or_url, "results(url)")
        redis = Target.of(settings.redis_url, "WATCHER_REDIS_URL") if settings.redis_url else stored
        return OpeningResults(
            stored=stored,
            prefix=f"{_global(global_keyprefix)}{_PREFIX}",
            redis=redis,
            journal=_journal(settings, redis),
            reader=JsonReader(),
            policy=Policy(None, rendering),
        )

    if global_keyprefix:
        raise TypeError("global_keyprefix is for a URL only: the app has its own")
    target = backend_target(app_or_url)
    if target is None:
        shown = _scheme(app_or_url.conf.result_backend)
        raise SettingError("result_backend", shown, "watcher.results() needs the URL of one Redis: redis://…")
    backend: Any = app_or_url.backend
    redis = journal_target(settings, app_or_url)
    return OpeningResults(
        stored=target,
        prefix=bytes(backend.task_keyprefix).decode(),
        redis=redis,
        journal=_journal(settings, redis),
        reader=AppReader(app_or_url),
        policy=Policy(app_or_url, rendering, redact_hook()),
    )


def _journal(settings: Settings, redis: Target) -> Journal:
    return Journal(settings.namespace, redis.database, settings.history, settings.history_bytes)


def _global(prefix: str) -> str:
    """As Celery joins it with its own: `BaseKeyValueStoreBackend._add_global_keyprefix`."""
    return f"{prefix}_" if prefix and prefix[-1] not in ":_-." else prefix


def _scheme(url: object) -> str:
    return str(url).partition("://")[0] if url else ""


def _position(last_event_id: str | None) -> tuple[str, int] | None:
    epoch, _, offset = (last_event_id or "").partition(":")
    return (epoch, int(offset)) if epoch and offset.isascii() and offset.isdigit() else None


def _as_given(shape: Any, values: Any) -> Any:
    """The values in the shape of the group that they are of."""
    if isinstance(shape, ResultSet):
        return [_as_given(member, values) for member in shape.results or ()]
    return next(values)
