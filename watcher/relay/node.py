"""What sockets, routes, feed and safety net have in common: the hub, the calls under way, and who is connected."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio
from anyio.lowlevel import checkpoint
from celery import Celery
from redis.asyncio import Redis

import watcher
from watcher.centrifuge.messages import SubscribeRequest, task_identity
from watcher.core.errors import NoMethod, Refused, Unavailable
from watcher.core.event import Task
from watcher.core.permissions import OPEN, Grant, grant, keyring_of
from watcher.core.settings import Settings
from watcher.journal.layout import Journal
from watcher.relay.common.addresses import remote_address
from watcher.relay.common.audit_log import REFUSED, AuditLog
from watcher.relay.common.stats import Load, Stats
from watcher.relay.common.watched_files import WatchedFile
from watcher.relay.limits.limits import Deadlines, Limits
from watcher.relay.limits.timeouts import Timeouts
from watcher.relay.malloc import give_back
from watcher.relay.safety_net.safety_net import SafetyNet
from watcher.relay.security.claims_file import ClaimsFile
from watcher.relay.security.forwarded import Lines, Peer, peer
from watcher.relay.security.identity import Person, person
from watcher.relay.security.origins import refusal, unbelieved
from watcher.relay.security.token_expiry import TokenExpiries
from watcher.relay.stream.fanout import fan_out, pieces
from watcher.relay.stream.feed import Feed
from watcher.relay.stream.history import History
from watcher.relay.stream.hub import Hub
from watcher.relay.stream.positions import Positions, Size
from watcher.relay.stream.snapshot import JournalSnapshot
from watcher.relay.submit.announcer import Announcer
from watcher.relay.submit.gateway import Gateway, Submitted
from watcher.relay.submit.stored_results import ResultLocation
from watcher.relay.websocket.calls import CallRunner
from watcher.relay.websocket.connection import WebSocketConnection
from watcher.relay.websocket.records import Call, SessionConfig

__all__ = ["Node"]

logger = logging.getLogger(__name__)

#: Seconds between two pings of a client.
_PING: Final = 25
#: A flush hands each client no more than this at once, in bytes, so that one that can't take it is noticed soon.
_PIECE: Final = 256 * 1024
#: A relay is behind the journal by milliseconds; it is waited for this long, in seconds.
_LAG: Final = 1.0
#: The end takes at most so long, in seconds: calls under way, then clients that are asked to leave.
_FINISH: Final = 4.0
_LEAVE: Final = 3.0
#: So many clients are asked to leave at once, ten times a second, so that they don't all arrive elsewhere together.
_LEAVE_AT_ONCE: Final = 250
#: It is looked so often who is overdue, in seconds; while somebody is, so long lies between a few and the next few.
_LOOK: Final = 0.5
_BREATH: Final = 0.01
#: After so many clients that are told what has become of their rights, the others have their turn.
_AT_ONCE: Final = 100


class Node:
    """What sockets, the HTTP routes and the feed have in common.

    :param redis: of the journal, ``submitting`` the same with connections of its own, for submissions: nothing else
        that is asked for keeps them from theirs.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        redis: Redis,
        app: Celery | None,
        results: ResultLocation | None = None,
        *,
        submitting: Redis | None = None,
    ) -> None:
        self.settings = settings
        self._keyring = keyring_of(settings)
        self._roster = ClaimsFile.of(settings)
        self.followed: list[WatchedFile] = [self._roster.followed] if self._roster is not None else []
        self._restarted = False  # whether a journal was read whole a moment ago
        self.edition = 0  # of what people may do
        self.journal = journal
        self.hub: Hub[Any] = Hub(History(settings.history, settings.history_bytes))
        self.gateway = Gateway(app, settings, journal, submitting or redis, results)
        self.positions = Positions(redis, journal)
        self.feed = Feed(redis, journal, self.positions, self)
        self.net = None if results is None else SafetyNet(
            results=results.redis, prefix=results.prefix, expires=results.expires, redis=redis, journal=journal,
            history=self.hub.history, read=self.gateway.read_stored, append=Announcer(redis, journal).append,
        )  # fmt: skip
        self.counts = Stats()
        self.refusals = AuditLog()
        self.limits = Limits(settings, self.counts, time.monotonic)
        self.timeouts = Timeouts(settings)
        self.terms = SessionConfig(
            settings.namespace, watcher.__version__, _PING, self.admit, lambda: self.feed.trouble,
            subscriptions=settings.max_subscriptions, calls=settings.max_calls, message=settings.max_message,
            commands=settings.max_commands, reached=self.limits.reached, refused=self._refused,
        )  # fmt: skip
        self.draining = False
        self.loaded = anyio.Event()
        self._grown = anyio.Event()
        self._sockets: set[WebSocketConnection] = set()
        self._slots: list[set[WebSocketConnection]] = [set() for _ in range(_PING)]
        self._next_slot = itertools.cycle(self._slots)
        self._fresh = Deadlines[WebSocketConnection](settings.connect_timeout)
        self._expiries = TokenExpiries[WebSocketConnection]()
        self._calls = CallRunner(self._do, self._call_refused)

    # For everyone.

    @property
    def trouble(self) -> str | None:
        """Why the relay is not ready, or None where it is."""
        return "draining" if self.draining else self.feed.trouble

    def admit(self, token: str | None, person: Person | None = None) -> Grant:
        """The permissions of a token's holder, or, where there is no token, of a person whom a proxy names."""
        if person is not None and self._roster is not None and not token:
            return self._roster.grant(person)
        return grant(token, self._keyring)

    async def submit(self, data: bytes, grant: Grant, client: str, *, key: str | None = None) -> Submitted:
        """Submit a task; when this returns, whoever asks this relay for the task learns of it.

        :param data: JSON as in section 4 of docs/protocol.md. ``key``: an idempotency key.
        :param client: address that it comes from: who has no subject is counted by it.
        :raises Refused: it was not submitted, or nobody knows; see :class:`watcher.core.errors.Unavailable`.
        """
        try:
            self.limits.submission(f"sub {grant.subject}" if grant.subject else client)
            submitted = await self.gateway.submit(data, grant, key=key)
        except Refused as error:
            self.counts.submissions[error.kind] += 1
            raise
        self.counts.submissions["accepted"] += 1
        await self.reached(submitted.epoch, submitted.offset)
        return submitted

    async def lookup(self, identity: str, grant: Grant = OPEN) -> Task | None:
        """What is known of a task: in the history, else by the result backend.

        One that may not be seen is asked for just as one that there is not: by its answer, its errors and the commands
        that it takes nobody learns which it is.

        :param grant: of whoever asks; None is answered where it lets the task not be seen.
        :raises Unavailable: Redis or the result backend doesn't answer.
        """
        if not grant.watch:
            return None
        history = self.hub.history
        for again in (False, True):
            if again:  # it may have been sent a moment ago, by way of another relay
                await self.reached(*await self.positions.newest())
            if (task := history.task(identity)) is not None and grant.may_see(task.channels()):
                return task
        stored = await self.gateway.get(identity)
        hidden = history.has(f"task:{identity}") or stored is None or not grant.may_see(stored.channels())
        return None if hidden else stored

    async def reached(self, epoch: str, offset: int) -> None:
        """Wait, not for long, until the history has reached an offset of the journal."""
        history = self.hub.history
        with anyio.move_on_after(_LAG):
            while history.epoch == epoch and history.last < offset:
                await self._grown.wait()

    def load(self) -> Load:
        """What there is at this moment, for the metrics."""
        each = [subscriptions for socket in self._sockets if (subscriptions := socket.subscriptions) is not None]
        return Load(
            connections=len(self._sockets),
            subscriptions=sum(map(len, each)),
            behind=sum(not subscriptions.live for subscriptions in each),
            submitting=self.gateway.under_way,
            redis=self.feed.trouble is None,
            completed=self.net.completed if self.net is not None else 0,
            nets=self.net is not None and self.net.active,
            stale={each.field: each.stale for each in self.followed},
        )

    async def journal_size(self) -> Size | None:
        """How large the journal is; None where Redis doesn't answer."""
        try:
            return await self.positions.size()
        except Unavailable:
            return None

    # For the feed.

    def restart(self, snapshot: JournalSnapshot) -> None:
        """Take a whole journal; who watched the one before is told."""
        subscribers = self.hub.subscribers() | self._sockets
        self.hub.reset(snapshot.epoch, snapshot.first)
        for offset, line in snapshot.kept:
            self.hub.history.keep(offset, line)
        self._count_invalid(self.hub.publish(snapshot.lines))
        self.hub.flush()  # nobody is handed this: they are told to ask
        for subscriber in subscribers:
            subscriber.restart()
        self.loaded.set()
        self._restarted = True

    def extend(self, lines: Sequence[bytes]) -> None:
        """Take the next events, and hand each subscriber what it watches, once."""
        self.counts.events += len(lines)
        for piece in pieces(lines, _PIECE):
            if self.hub.waiting() + sum(map(len, piece)) > _PIECE:
                fan_out(self.hub.flush(), self.counts)
            self._count_invalid(self.hub.publish(piece))
        fan_out(self.hub.flush(), self.counts)
        self._grown.set()
        self._grown = anyio.Event()

    def disturb(self, trouble: str | None) -> None:
        """Tell everyone that events may be late, or no longer."""
        for client in self._sockets:
            client.tell({"trouble": trouble})

    def _count_invalid(self, count: int) -> None:
        if count:
            self.counts.invalid += count
            logger.warning("passed over %d entries of %s that are no events", count, self.journal.stream)

    # For sockets.

    def peer(self, transport: asyncio.Transport, lines: Lines) -> Peer:
        """Who sends a request; as :func:`watcher.relay.security.forwarded.peer`."""
        connection = remote_address(transport)
        return peer(connection[0] if connection else None, lines, self.settings.trusted_proxies)

    def named(self, peer: Peer, lines: Lines) -> Callable[[], Grant] | None:
        """What whoever a trusted proxy names may do; None where none does."""
        found = person(self.settings, peer, lines)
        return None if found is None else functools.partial(self.admit, None, found)

    def refusal(self, peer: Peer, lines: Lines) -> str | None:
        """Why a handshake of this peer is refused, or None; the log learns it, too."""
        why = refusal(self.settings, peer, lines)
        if (told := unbelieved(self.settings, peer, lines)) is not None:
            self.refusals.tell(peer.name, "a name in a header", told)
        if why is not None:
            self.counts.refused["handshake"] += 1
            self.refusals.tell(peer.name, "a WebSocket handshake", why)
        return why

    def handshake_failed(self, why: str) -> None:
        """Somebody has come who didn't get as far as TLS: by http, or without a certificate that is wanted."""
        self.counts.refused["tls-handshake"] += 1
        self.refusals.tell(None, "a TLS handshake", why)

    def opened(self, socket: WebSocketConnection) -> bool:
        """A client has come; False where it can't stay."""
        if self.draining:
            return False
        self._sockets.add(socket)
        next(self._next_slot).add(socket)
        self._fresh.start(socket, time.monotonic())
        return True

    def closed(self, socket: WebSocketConnection) -> None:
        """A client has gone."""
        self._sockets.discard(socket)
        self._fresh.stop(socket)
        self._expiries.drop(socket)
        for slot in self._slots:
            slot.discard(socket)

    def expires(self, socket: WebSocketConnection, moment: float | None) -> None:
        """A token of the client's ends at this Unix time; None: no token does."""
        self._expiries.put(socket, moment)

    def call(self, socket: WebSocketConnection, call: Call) -> None:
        """Carry out a client's call beside everything else."""
        self._calls.begin(socket, call)

    def _refused(self, socket: WebSocketConnection, what: str, why: str) -> None:
        """A client asked for what it may not have."""
        self.refusals.tell(socket.address or None, what, why, subject=socket.grant.subject)

    def _call_refused(self, socket: WebSocketConnection, call: Call, error: Refused) -> None:
        self.counts.refused[error.kind] += 1
        if error.status in REFUSED:
            self._refused(socket, call.method, str(error))

    async def _do(self, socket: WebSocketConnection, call: Call) -> Any:
        grant = socket.grant
        if call.method == "submit":
            return await self.submit(call.data, grant, socket.address)
        if call.method == "revoke":
            return await self.gateway.revoke(call.data, grant)
        if call.method == "registry":
            return await self.gateway.registry(grant)
        if call.request is not None:
            return await self._before_subscription(call.request)
        if call.method != "get":
            raise NoMethod(f"there is no method {call.method!r}: submit, revoke, registry and get are served")
        return {"task": await self.lookup(task_identity(call.data), grant)}

    async def _before_subscription(self, request: SubscribeRequest) -> Task | None:
        """What a session can't know by itself; that the client may subscribe was found before."""
        if request.recover:
            await self.reached(request.epoch, request.offset)
        kind, _, name = request.channel.partition(":")
        return await self.lookup(name) if kind == "task" else None

    # Time and the end.

    async def run(self) -> None:
        """Feed and tick until cancelled."""
        async with anyio.create_task_group() as group:
            self._calls.group = group
            group.start_soon(self.feed.run)
            if self.net is not None:
                group.start_soon(self.net.run)
            if self._roster is not None:
                group.start_soon(self._roster.run, self._reconsider)
            group.start_soon(self._end_overdue)
            await self._tick()

    async def _reconsider(self) -> None:
        """People may do something else from now on."""
        self.edition += 1
        for waiting in self.hub.subscribers() - self._sockets:
            waiting.restart()  # a stream of events looks whether it may go on
        clients = list(self._sockets)
        while clients:
            for client in clients[:_AT_ONCE]:
                client.reconsider()
            del clients[:_AT_ONCE]
            await checkpoint()

    async def _tick(self) -> None:
        for slot in itertools.cycle(self._slots):
            await anyio.sleep(1)
            now, unix = anyio.current_time(), time.time()
            for count, client in enumerate(self._expiries.due(unix), 1):
                client.expire(unix)
                if count % _AT_ONCE == 0:
                    await checkpoint()
            for client in list(slot):
                client.tick(now)
            if self._restarted:
                self._restarted = False
                give_back()
            self.limits.forget()

    async def _end_overdue(self) -> None:
        """End those who have not said in time what they had to say.

        Who came together is due together, and to end a thousand takes as long as to answer a thousand: so it is done a
        few at a time, within a second. That they come back one by one, if they do, is as much worth.
        """
        while True:
            now = time.monotonic()
            silent = self._fresh.due(now)
            for client in silent:
                client.close_if_silent()
            more = self.timeouts.end(now) or silent
            await anyio.sleep(_BREATH if more else _LOOK)

    async def drain(self) -> None:
        """Take no more, finish what is under way, and ask the clients to leave."""
        self.draining = True
        for waiting in self.hub.subscribers() - self._sockets:
            waiting.restart()  # a request that waits for a task is answered with what there is
        with anyio.move_on_after(_FINISH):
            await self._calls.finish()
        with anyio.move_on_after(_LEAVE):
            while leaving := list(self._sockets)[:_LEAVE_AT_ONCE]:
                for client in leaving:
                    client.shutdown()
                    self.closed(client)
                await anyio.sleep(0.1)
