"""Server-sent events: ``GET /api/events``, the feed for clients that have only HTTP."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

import anyio
from anyio.lowlevel import checkpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from watcher.centrifuge import messages
from watcher.core.errors import BadRequest, NotPermitted, Refused, TooMany
from watcher.core.event import CHANNEL_LIMIT, Event, Task, encode
from watcher.core.permissions import Grant
from watcher.relay.api.schemas import CHANNELS, EVENTS
from watcher.relay.common.stats import Stats
from watcher.relay.http.connection import TRANSPORT
from watcher.relay.http.event_stream import EventStream, StreamCursor
from watcher.relay.http.request_parts import CLIENT, admitted
from watcher.relay.limits.limits import Limits
from watcher.relay.limits.socket_backlog import SocketProgress
from watcher.relay.security.identity import Person
from watcher.relay.stream.hub import Hub
from watcher.relay.stream.wakeup import ChannelWakeup

__all__ = ["EventStreamRoute"]

#: Events sent to a reader at a time, in bytes (approximate).
_PIECE: Final = 64 * 1024
#: Longest silence, in seconds. A keep-alive ends it: proxies close quiet streams, and a gone reader must be noticed.
_QUIET: Final = 15.0
#: A reader that takes no byte for this long, in seconds, is dropped …
_STALLED: Final = 60.0
#: … and while it takes none, it is checked at this interval, in seconds.
_LOOK: Final = 1.0
#: Range of delays, in milliseconds, after which a disconnected reader reconnects; random, so that not all come at once.
_RETRY: Final = (1000, 3000)
_ACCEPTED: Final = (*EVENTS, "token")

_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events until its buffer is full
}


class EventSource(Protocol):
    """What server-sent events need from the relay."""

    hub: Hub[Any]
    counts: Stats
    limits: Limits
    draining: bool
    edition: int

    def admit(self, token: str | None, person: Person | None = None) -> Grant:
        """The permissions of a token, or else of a user; raises :exc:`watcher.core.errors.Unauthorized`."""

    async def lookup(self, identity: str) -> Task | None:
        """A task from the history, or else from the result backend."""

    async def reached(self, epoch: str, offset: int) -> None:
        """Wait, briefly, until the history has reached an offset of the journal."""


class EventStreamRoute:
    """The route ``/api/events``.

    :param quiet: seconds of silence after which a stream is sent a keep-alive.
    :param stalled: seconds after which a reader that takes nothing is dropped.
    """

    def __init__(self, relay: EventSource, *, quiet: float = _QUIET, stalled: float = _STALLED) -> None:
        self._relay = relay
        self._quiet = quiet
        self._stalled = stalled

    async def get(self, request: Request) -> Response:
        """``GET /api/events``."""
        channels, since, token = _asked(request)
        grant = admitted(request, self._relay.admit, token)
        for channel in channels:
            if not grant.may_watch(channel):
                raise NotPermitted(f"the token does not allow watching {channel[:300]!r}")
        snapshots = {}
        if since is None:
            snapshots = await self._unknown(channels)
        else:
            # The relay that served the reader before was ahead of this one.
            await self._relay.reached(since.epoch, since.offset)
        stream = EventStream(self._relay.hub.history, channels, since, snapshots)
        edition = None if token else self._relay.edition
        return _Answer(
            self._relay, stream, channels, ends=grant.ends, edition=edition, quiet=self._quiet, stalled=self._stalled
        )

    async def _unknown(self, channels: Iterable[str]) -> dict[str, bytes]:
        """What only the result backend knows, as an event without a place in the journal."""
        snapshots, failures = dict[str, bytes](), list[Refused]()

        async def look(channel: str, task_id: str) -> None:
            try:
                task = await self._relay.lookup(task_id)
            except Refused as error:
                failures.append(error)
            else:
                if task is not None and not task.offset:
                    snapshots[channel] = encode(_event(task))

        async with anyio.create_task_group() as group:  # together, as they are asked for together
            for channel in channels:
                kind, _, task_id = channel.partition(":")
                if kind == "task":
                    group.start_soon(look, channel, task_id)
        if failures:
            raise failures[0]
        return snapshots


def _event(task: Task) -> Event:
    return Event(**{name: getattr(task, name) for name in Event.__struct_fields__ if name != "late"})


def _asked(request: Request) -> tuple[list[str], StreamCursor | None, str | None]:
    """Channels, position and token of a request.

    :raises BadRequest: a parameter is not accepted; names it.
    """
    parameters = request.query_params
    for name in parameters:
        if name not in _ACCEPTED:
            raise BadRequest(f"parameter {name[:80]!r}: is unknown; accepted are {', '.join(_ACCEPTED)}")
        if name != "channel" and len(parameters.getlist(name)) > 1:
            raise BadRequest(f"parameter {name!r}: may be given once")
    if not 0 < len(names := parameters.getlist("channel")) <= CHANNELS:
        raise BadRequest(f"parameter 'channel': is required, and may be given {CHANNELS} times at most")
    channels = list(dict.fromkeys(names))
    for channel in channels:
        if messages.channel_error(channel) is not None:
            accepted = f"expected tasks, task:ID, root:ID, group:ID, name:NAME or tag:TAG, {CHANNEL_LIMIT} characters"
            raise BadRequest(f"parameter 'channel': {accepted} at most, not {channel[:80]!r}")
    # Last-Event-ID is newer than `since`, which stays in the address when a browser reconnects.
    since = None
    if last := request.headers.get("last-event-id"):
        since = StreamCursor.read(last, "header 'Last-Event-ID'")
    elif "since" in parameters:
        since = StreamCursor.read(parameters["since"], "parameter 'since'")
    return channels, since, parameters.get("token")


class _Answer(Response):
    """Stream the events until the reader leaves, its token expires, permissions change or the relay stops.

    :param edition: version of the permissions table that authorised this stream.
    """

    def __init__(
        self,
        relay: EventSource,
        stream: EventStream,
        channels: list[str],
        *,
        ends: float | None,
        edition: int | None,
        quiet: float,
        stalled: float,
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._relay = relay
        self._stream = stream
        self._channels = channels
        self._ends = ends
        self._edition = edition
        self._quiet = quiet
        self._stalled = stalled
        self._bell = ChannelWakeup()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body"})
            return
        with self._watching(scope.get(CLIENT, "")):
            await send(start)
            async with anyio.create_task_group() as group:
                group.start_soon(_leave, receive, group.cancel_scope)
                await self._run(send, SocketProgress(scope.get("state", {}).get(TRANSPORT)))
                group.cancel_scope.cancel()

    @contextlib.contextmanager
    def _watching(self, address: str) -> Iterator[None]:
        """Watch the channels.

        :raises TooMany: the reader's address has too many subscriptions.
        """
        hub, counts, count = self._relay.hub, self._relay.counts, len(self._channels)
        account = self._relay.limits.find(address)
        if account is not None and not account.has_room(count):
            self._relay.limits.reached("max_subscriptions_per_address", account.address)
            raise TooMany(f"the relay accepts {account.most} subscriptions from one address")
        if account is not None:
            account.hold(count)
        for channel in self._channels:
            hub.watch(channel, self._bell)
        counts.streams += 1
        try:
            yield
        finally:
            counts.streams -= 1
            for channel in self._channels:
                hub.unwatch(channel, self._bell)
            if account is not None:
                account.hold(-count)

    async def _run(self, send: Send, progress: SocketProgress) -> None:
        taken = await self._send(send, b"retry: %d\n" % random.randint(*_RETRY), progress)  # noqa: S311 - no secret
        while taken and self._lasts():
            before = self._stream.sent
            piece = self._stream.next(_PIECE)
            self._relay.counts.streamed += self._stream.sent - before
            if piece:
                taken = await self._send(send, piece, progress)
                await checkpoint()  # a reader that takes all at once must not keep the others waiting
                continue
            with anyio.move_on_after(min(self._quiet, self._left())) as quiet:
                await self._bell.wait()
            if quiet.cancelled_caught and self._left() > 0:
                taken = await self._send(send, self._stream.idle(), progress) and progress.stalled() < self._stalled
        if taken:
            with anyio.move_on_after(_LOOK) as looked:
                await send({"type": "http.response.body"})
            taken = not looked.cancelled_caught
        if not taken:
            await progress.abort()

    async def _send(self, send: Send, data: bytes, progress: SocketProgress) -> bool:
        """Send once the reader has room; False if it must be dropped."""
        behind = 0
        try:
            while True:
                # The server waits for room before it writes anything: who gives up waiting has sent nothing.
                with anyio.move_on_after(_LOOK) as looked:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                if not looked.cancelled_caught:
                    progress.sent(len(data))
                    return True
                if progress.stalled() >= self._stalled or not self._lasts():
                    return False
                self._relay.counts.streams_behind += 1 - behind
                behind = 1
        finally:
            self._relay.counts.streams_behind -= behind

    def _lasts(self) -> bool:
        same = self._edition is None or self._edition == self._relay.edition
        return same and not self._relay.draining and self._left() > 0

    def _left(self) -> float:
        """Seconds until the token expires."""
        return float("inf") if self._ends is None else self._ends - time.time()


async def _leave(receive: Receive, scope: anyio.CancelScope) -> None:
    """Cancel the answer when the reader has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
