"""The client: one connection to a relay, and all that can be asked over it."""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from ssl import SSLContext
from types import TracebackType
from typing import Any, Final

import anyio
import msgspec
from anyio.abc import TaskGroup

from watcher.centrifuge.client_messages import ALL_KEPT, ChannelPosition
from watcher.centrifuge.messages import TOO_MANY
from watcher.centrifuge.protocol import socket_url
from watcher.client import tls
from watcher.client.connection import RelayConnection, Token
from watcher.client.errors import EventsLost, RelayClosed, RelayUnavailable
from watcher.client.models import Snapshot
from watcher.client.pipeline import pipeline
from watcher.client.queries import TaskQueries
from watcher.client.subscriptions import ClientSubscriptions
from watcher.client.task import Options, Task, submission
from watcher.client.wait import KnownTask
from watcher.client.watch import Watch
from watcher.core.backoff import TO_RELAY
from watcher.core.event import OVERVIEW

__all__ = ["DEFAULT_URL", "Connecting", "Relay", "Submitter", "connect"]

DEFAULT_URL: Final = "http://127.0.0.1:5556"
#: Seconds for which a relay that takes no more submissions for now is asked again.
_PATIENT: Final = 30.0
#: A submission that is repeated after a lost connection may find the first one not yet settled: it is asked again for
#: so long after the loss, in seconds (docs/protocol.md, "Once only").
_UNSETTLED: Final = 8.0


class _Submitted(msgspec.Struct, frozen=True):
    id: str
    epoch: str
    offset: int
    token: str | None = None
    existing: bool = False


class Submitter:
    """Submits tasks with certain options; made by :meth:`Relay.options`."""

    def __init__(self, relay: Relay, options: Options) -> None:
        self._relay = relay
        self._options = options

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
    ) -> Submitter:
        """Submit with these options; see :class:`watcher.client.Options`. Those that are not given stay as they are.

        They are apart from a task's own arguments, which may have any name:
        ``relay.options(queue="slow").submit("tasks.paint", queue=3)``.
        """
        named_options: dict[str, Any] = {
            "task_id": task_id, "queue": queue, "countdown": countdown, "eta": eta, "expires": expires,
            "priority": priority, "tags": tags,
        }  # fmt: skip
        changed = {name: value for name, value in named_options.items() if value not in (None, ())}
        return Submitter(self._relay, replace(self._options, **changed))

    async def submit(self, name: str, /, *args: Any, **kwargs: Any) -> Task:
        """Submit a task; arguments are the task's own, as with Celery's ``delay``.

        It chooses the task's id before it asks, so that it can ask again after a lost connection without the task being
        sent twice. Cancelled, it may have been sent all the same.

        :param name: as the app has it registered, for example ``tasks.add``.
        :returns: a handle: ``await`` it for the result, iterate over it for the events. It is another task's where the
            task's own ``apply_async`` has one in its place.
        :raises RelayRefused: unknown task, arguments that don't fit, not permitted, refused by the task's own code; the
            message says which.
        :raises RelayUnavailable: broker or Redis is away; it was not, or may not have been, sent.
        :raises TypeError: an argument is nothing that JSON has.
        :raises ValueError: it is NaN or Infinity, not Unicode, or nested too deeply.
        """
        return await self._relay.send(name, args, kwargs, self._options)

    def map(
        self, name: str, items: Iterable[Any] | AsyncIterable[Any], /, *,
        limit: int = 100, ordered: bool = True, return_exceptions: bool = False,
    ) -> AsyncGenerator[Any, None]:  # fmt: skip
        """The results of a task for each item, its only argument, as an async iterator.

        ``limit`` tasks are under way at a time; a result counts until it is taken from here, so a slow reader slows
        down the submissions. Left early, tasks that were sent run on.

        :param ordered: whether results come in the order of the items, or as they are there.
        :param return_exceptions: give what a task raised instead of raising it, which ends the iteration.
        """
        return self._map(name, items, _one, limit, ordered=ordered, return_exceptions=return_exceptions)

    def starmap(
        self, name: str, items: Iterable[Iterable[Any]] | AsyncIterable[Iterable[Any]], /, *,
        limit: int = 100, ordered: bool = True, return_exceptions: bool = False,
    ) -> AsyncGenerator[Any, None]:  # fmt: skip
        """The same where each item is a sequence of positional arguments, as in ``itertools.starmap``."""
        return self._map(name, items, tuple, limit, ordered=ordered, return_exceptions=return_exceptions)

    async def _map(
        self, name: str, items: Any, arguments: Callable[[Any], Sequence[Any]], limit: int,
        *, ordered: bool, return_exceptions: bool,
    ) -> AsyncGenerator[Any, None]:  # fmt: skip
        if self._options.task_id is not None:
            raise ValueError("task_id is for one task: map() submits many")

        async def carry(item: Any) -> Any:
            return await (await self.submit(name, *arguments(item)))

        async with aclosing(pipeline(self._relay.group, carry, items, limit=limit, ordered=ordered)) as jobs:
            async for job in jobs:
                if return_exceptions and job.error is not None:
                    yield job.error
                else:
                    yield job.result()


def _one(item: Any) -> tuple[Any]:
    return (item,)


class Relay(Submitter, TaskQueries):
    """A connection to a relay, made by :func:`connect`. Any number of tasks may use it at the same time."""

    def __init__(self, url: str, token: Token, group: TaskGroup, tls: SSLContext | None = None) -> None:
        super().__init__(self, Options())
        self.group = group
        self._link = RelayConnection(url, token, self, tls)
        self.channels = ClientSubscriptions(self._link, self._later)
        self.connected, self.lost = self.channels.connected, self.channels.lost
        self.pushed, self.over = self.channels.pushed, self.channels.over

    async def send(self, name: str, args: Iterable[Any], kwargs: dict[str, Any], options: Options) -> Task:
        """Submit a task; :meth:`submit` and :meth:`options` read better."""
        identity = options.task_id or str(uuid.uuid4())
        body = submission(name, args, kwargs, {**options.as_json(), "task_id": identity})
        answer = msgspec.json.decode(await self._submit(body), type=_Submitted)
        # Of a task that was there before, events may stand before that place.
        sent = None if answer.existing else ChannelPosition(answer.epoch, answer.offset)
        return Task(self, answer.id, name, sent=sent, token=answer.token)

    async def _submit(self, body: bytes) -> bytes:
        deadline = anyio.current_time() + _PATIENT
        for attempt in range(1000):
            try:
                return await self._link.call("submit", body)
            except RelayUnavailable as error:
                now = anyio.current_time()
                if now >= (deadline if error.code == TOO_MANY.code else self._link.lost_at + _UNSETTLED):
                    raise
            await anyio.sleep(TO_RELAY.seconds(attempt) + 0.1)
        raise AssertionError("the waits together are longer than the deadline")

    def task(self, identity: str, /, *, name: str | None = None, token: str | None = None) -> Task:
        """A handle for a task that somebody submitted, by its id.

        :param token: one that grants this task alone, as ``submit`` answers with at a relay with a secret.
        """
        return Task(self, identity, name, token=token)

    def watch(
        self, *channels: str, since: tuple[str, int] | None = None, on_gap: Callable[[EventsLost], None] | None = None
    ) -> Watch:
        """The events of some channels from now on, each once, as an async iterator: see :class:`Watch`.

        :param channels: ``task:ID``, ``root:ID``, ``group:ID``, ``name:NAME``, ``tag:TAG``, ``tasks``. Where there are
            only ``task:`` channels, they begin with all that is kept of these tasks.
        :param since: go on after this ``(epoch, offset)``, those of an event that was seen.
        :param on_gap: called where events are gone, and then it goes on; without it EventsLost is raised.
        """
        if not channels:
            raise ValueError("watch() takes at least one channel, for example 'tasks'")
        if OVERVIEW in channels:
            raise ValueError("the channel 'overview' has no events to watch; count() gives its numbers")
        if since is not None or not all(name.startswith("task:") for name in channels):
            return Watch(self.channels, channels, ChannelPosition(*since) if since else None, on_gap=on_gap)
        return Watch(self.channels, channels, ALL_KEPT, on_gap=on_gap)

    async def get(self, identity: str, /) -> Snapshot | None:
        """What is known of a task, or None where nobody knows it.

        :raises RelayError: the relay can't tell.
        """
        answer = await self._link.call("get", msgspec.json.encode({"id": identity}))
        task = bytes(msgspec.json.decode(answer, type=KnownTask).task)
        return None if task == b"null" else Snapshot(task)

    async def revoke(self, identity: str, /, *, terminate: bool = False) -> None:
        """Revoke a task: workers that have it will not run it. Its ``REVOKED`` comes when one takes it off the queue.

        :param terminate: also end it where it is running, by SIGTERM to its pool process.
        :raises RelayError: not permitted, or the broker is away.
        """
        await self._link.call("revoke", msgspec.json.encode({"id": identity, "terminate": terminate}))

    async def registry(self) -> list[dict[str, Any]]:
        """The tasks that may be submitted: ``{"name", "signature", "parameters", "doc"}`` of each."""
        return list(msgspec.json.decode(await self._link.call("registry", b"{}"))["tasks"])

    async def _ask(self, method: str, **parameters: Any) -> bytes:
        given = {name: value for name, value in parameters.items() if value not in (None, "")}
        return await self._link.call(method, msgspec.json.encode(given))

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        async def wait() -> None:
            await anyio.sleep(seconds)
            call()

        self.group.start_soon(wait)

    async def open(self, patience: float) -> None:
        """Connect, and stay connected; :func:`connect` does it."""
        self.group.start_soon(functools.partial(self._link.run, patience))
        await self._link.settle()

    def close(self) -> None:
        """Let go of everything that waits; :func:`connect` does it."""
        self._link.end(RelayClosed("the client was closed"))


class Connecting:
    """What :func:`connect` returns: an async context manager, to be used once."""

    def __init__(self, url: str, token: Token, patience: float, tls: SSLContext | None = None) -> None:
        self._url = url
        self._token = token
        self._patience = patience
        self._tls = tls
        self._relay: Relay | None = None

    async def __aenter__(self) -> Relay:
        self._group = await anyio.create_task_group().__aenter__()
        self._relay = Relay(self._url, self._token, self._group, self._tls)
        try:
            await self._relay.open(self._patience)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self._relay

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._relay is not None:
            self._relay.close()
        self._group.cancel_scope.cancel()
        # A task group would wrap what the block raised into an exception group: it isn't told of it. What its own tasks
        # raise, which is an error in this package, comes out as such a group.
        if isinstance(error, anyio.get_cancelled_exc_class()):
            await self._group.__aexit__(kind, error, trace)
        else:
            await self._group.__aexit__(None, None, None)


def connect(
    url: str | None = None, *, token: Token = None, patience: float = 0.0, ssl: SSLContext | None = None
) -> Connecting:
    """Connect to a relay: ``async with watcher.connect() as relay``.

    It is one WebSocket for any number of submissions, waits and watchers. When it is lost, it is made again, with
    growing and jittered waits, and everything goes on where it was; what can't go on raises. Leaving the block ends
    whatever still waits (RelayClosed) and leaves no task behind. It needs asyncio, under anyio or not.

    :param url: of the relay, ``http://…``, ``https://…``, ``ws://…`` or ``wss://…``; else ``WATCHER_URL``, else ``http://127.0.0.1:5556``.
    :param token: a token, or a function (async or not) that gives one, called before each connection and when the last
        one is about to end; else ``WATCHER_TOKEN``.
    :param patience: seconds for which the first connection is tried.
    :param ssl: which authorities are trusted, and which certificate is shown; else those that ``WATCHER_CA``,
        ``WATCHER_CLIENT_CERT`` and ``WATCHER_CLIENT_KEY`` name, else the system's and none.
    :raises RelayUnreachable: it can't be made. TokenRefused, RelayRefused: the relay refused it.
    :raises ValueError: ``url`` is no address of a relay, or a file that a variable names can't be used.
    """
    return Connecting(
        socket_url(url or os.environ.get("WATCHER_URL") or DEFAULT_URL),
        token or os.environ.get("WATCHER_TOKEN") or None,
        patience,
        ssl or tls.context(os.environ),
    )
