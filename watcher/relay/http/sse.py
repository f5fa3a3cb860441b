"""Server-sent events: ``GET /api/events``, the feed for clients that have only HTTP."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

import anyio
from anyio.lowlevel import checkpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from watcher.centrifuge import messages
from watcher.core.errors import BadRequest, NotPermitted, Refused, TooMany
from watcher.core.event import CHANNEL_LIMIT, OVERVIEW, Event, Task, encode
from watcher.core.permissions import Grant
from watcher.relay.api.schemas import CHANNELS, EVENTS
from watcher.relay.common.stats import Stats
from watcher.relay.http.event_stream import EventStream, StreamCursor
from watcher.relay.http.request_parts import admitted
from watcher.relay.http.streaming import STALLED, StreamedAnswer
from watcher.relay.limits.limits import Limits
from watcher.relay.limits.socket_backlog import SocketProgress
from watcher.relay.security.identity import Person
from watcher.relay.stream.hub import Hub
from watcher.relay.stream.overview import OverviewChannel
from watcher.relay.stream.wakeup import ChannelWakeup

__all__ = ["EventStreamRoute"]

#: Events sent to a reader at a time, in bytes (approximate).
_PIECE: Final = 64 * 1024
#: Longest silence, in seconds. A keep-alive ends it: proxies close quiet streams, and a gone reader must be noticed.
_QUIET: Final = 15.0
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
    overview: OverviewChannel
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

    def __init__(self, relay: EventSource, *, quiet: float = _QUIET, stalled: float = STALLED) -> None:
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
        if OVERVIEW in channels:
            await self._relay.overview.now()
        snapshots = {}
        if since is None:
            snapshots = await self._unknown(channels)
        else:
            # The relay that served the reader before was ahead of this one.
            await self._relay.reached(since.epoch, since.offset)
        events = [channel for channel in channels if channel != OVERVIEW]
        stream = EventStream(self._relay.hub.history, events, since, snapshots)
        by_token = bool(token)
        return _Answer(
            self._relay, stream, channels, grant, by_token=by_token, quiet=self._quiet, stalled=self._stalled
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
            accepted = "expected tasks, overview, task:ID, root:ID, group:ID, name:NAME or tag:TAG"
            most = f"{CHANNEL_LIMIT} characters at most"
            raise BadRequest(f"parameter 'channel': {accepted}, {most}, not {channel[:80]!r}")
    # Last-Event-ID is newer than `since`, which stays in the address when a browser reconnects.
    since = None
    if last := request.headers.get("last-event-id"):
        since = StreamCursor.read(last, "header 'Last-Event-ID'")
    elif "since" in parameters:
        since = StreamCursor.read(parameters["since"], "parameter 'since'")
    return channels, since, parameters.get("token")


class _Answer(StreamedAnswer):
    """Stream the events until the reader leaves, its token expires, permissions change or the relay stops."""

    def __init__(
        self,
        relay: EventSource,
        stream: EventStream,
        channels: list[str],
        grant: Grant,
        *,
        by_token: bool,
        quiet: float,
        stalled: float,
    ) -> None:
        super().__init__(relay, grant, _HEADERS, by_token=by_token, stalled=stalled)
        self._relay = relay
        self._stream = stream
        self._channels = channels
        self._quiet = quiet
        self._numbers: Any = None  # what it was told of the channel that has no events
        self._bell = ChannelWakeup()

    @contextlib.contextmanager
    def open(self, address: str) -> Iterator[None]:
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

    def waiting(self, more: int) -> None:
        """So many more readers are slower than their events."""
        self._relay.counts.streams_behind += more

    async def send_all(self, send: Send, progress: SocketProgress) -> bool:
        """Send events until something ends that; then the answer is complete, unless its reader takes none."""
        taken = await self.send_piece(send, b"retry: %d\n" % random.randint(*_RETRY), progress)  # noqa: S311 - no secret
        while taken and self.lasts():
            before = self._stream.sent
            piece = self._news() + self._stream.next(_PIECE)
            self._relay.counts.streamed += self._stream.sent - before
            if piece:
                taken = await self.send_piece(send, piece, progress)
                await checkpoint()  # a reader that takes all at once must not keep the others waiting
                continue
            with anyio.move_on_after(min(self._quiet, self.left())) as quiet:
                await self._bell.wait()
            if quiet.cancelled_caught and self.left() > 0:
                taken = await self.send_piece(send, self._stream.idle(), progress)
                taken = taken and progress.stalled() < self._stalled
        return taken

    def _news(self) -> bytes:
        """What holds now, where that is watched and has changed: an event of its own type, and not of the journal."""
        numbers = self._relay.hub.overview
        if OVERVIEW not in self._channels or numbers is self._numbers:
            return b""
        self._numbers = numbers
        return b"event: overview\ndata: %s\n\n" % messages.encode(numbers)
