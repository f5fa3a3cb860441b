"""What sockets, routes, feed and safety net have in common; it puts them together, and starts and ends them.

What each of them does is its own: :mod:`.clients` has the WebSockets, :mod:`.client_calls` what those call,
:mod:`.stream.broadcaster` what the feed brings, and :mod:`.submit.gateway` the Celery app.
"""

from __future__ import annotations

import functools
import time
from typing import Any, Final

import anyio
from celery import Celery
from redis.asyncio import Redis

import watcher
from watcher.core.errors import Refused, Unavailable
from watcher.core.event import Task
from watcher.core.permissions import OPEN, Grant, grant, keyring_of
from watcher.core.settings import Settings
from watcher.journal.layout import Journal
from watcher.relay.answers import Answers
from watcher.relay.archive.archive import Archive
from watcher.relay.archive.following import Journals
from watcher.relay.client_calls import ClientCalls, log_refusal
from watcher.relay.clients import Clients
from watcher.relay.common.audit_log import AuditLog
from watcher.relay.common.stats import Load, Stats
from watcher.relay.common.watched_files import WatchedFile
from watcher.relay.limits.limits import Limits
from watcher.relay.limits.timeouts import Timeouts
from watcher.relay.malloc import give_back
from watcher.relay.safety_net.safety_net import SafetyNet
from watcher.relay.security.claims_file import ClaimsFile
from watcher.relay.security.identity import Person
from watcher.relay.stream.broadcaster import Broadcaster
from watcher.relay.stream.feed import Feed
from watcher.relay.stream.history import History
from watcher.relay.stream.hub import Hub
from watcher.relay.stream.overview import OverviewChannel
from watcher.relay.stream.positions import Positions, Size
from watcher.relay.submit.announcer import Announcer
from watcher.relay.submit.gateway import Gateway, Submitted
from watcher.relay.submit.stored_results import ResultLocation
from watcher.relay.websocket.records import SessionConfig

__all__ = ["Node"]

#: Seconds between two pings of a client.
_PING: Final = 25
#: The end takes at most so long, in seconds: calls under way, then clients that are asked to leave.
_FINISH: Final = 4.0
_LEAVE: Final = 3.0
#: Seconds between two looks for clients that are overdue; between a few of them and the next few while there are any.
_LOOK: Final = 0.5
_BREATH: Final = 0.01


class Node:
    """One relay, without its server.

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
        self.journal = journal
        self.draining = False
        self.edition = 0  # of what people may do
        self._keyring = keyring_of(settings)
        self._roster = ClaimsFile.of(settings)
        self.followed: list[WatchedFile] = [self._roster.followed] if self._roster is not None else []
        self.counts = Stats()
        self.refusals = AuditLog()
        self.limits = Limits(settings, self.counts, time.monotonic)
        self.timeouts = Timeouts(settings)
        self.hub: Hub[Any] = Hub(History(settings.history, settings.history_bytes))
        self.gateway = Gateway(app, settings, journal, submitting or redis, results)
        self._calls = ClientCalls(self)
        terms = SessionConfig(
            settings.namespace, watcher.__version__, _PING, self.admit, lambda: self.feed.trouble,
            subscriptions=settings.max_subscriptions, calls=settings.max_calls, message=settings.max_message,
            commands=settings.max_commands, reached=self.limits.reached,
            refused=functools.partial(log_refusal, self.refusals),
        )  # fmt: skip
        self.clients = Clients(
            settings, self.hub, terms, self._calls, counts=self.counts, refusals=self.refusals, admit=self.admit
        )
        self.broadcaster = Broadcaster(
            self.hub, self.counts, journal.stream,
            disturbed=lambda trouble: self.clients.tell({"trouble": trouble}), clients=lambda: list(self.clients),
        )  # fmt: skip
        self.loaded, self.reached = self.broadcaster.loaded, self.broadcaster.reached
        self.positions = Positions(redis, journal)
        self.feed: Feed = Feed(redis, journal, self.positions, self.broadcaster)
        self.safety_net = None if results is None else SafetyNet(
            results=results.redis, prefix=results.prefix, expires=results.expires, redis=redis, journal=journal,
            history=self.hub.history, read=self.gateway.read_stored, append=Announcer(redis, journal).append,
        )  # fmt: skip

        self.archive = Archive(
            settings,
            Journals(self.hub.history, redis, journal, self.loaded.wait, self.broadcaster.grown, self.gateway.stored),
        )
        self.answers = Answers(self.hub, self.archive)
        self.overview = OverviewChannel(self.hub, self.answers.overview)

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

    async def lookup(self, task_id: str, grant: Grant = OPEN) -> Task | None:
        """What is known of a task: in the history, else in the archive, else by the result backend.

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
            if (task := history.task(task_id)) is not None and grant.may_see(task.channels()):
                return task
        known = await self.archive.find(task_id)
        if known is not None and (history.has(f"task:{task_id}") or not grant.may_see(known.channels())):
            known = None
        if known is not None and known.final:
            return known
        stored = await self.gateway.get(task_id)
        hidden = history.has(f"task:{task_id}") or stored is None or not grant.may_see(stored.channels())
        return known if hidden else stored

    def load(self) -> Load:
        """What there is at this moment, for the metrics."""
        subscribed = [subscriptions for socket in self.clients if (subscriptions := socket.subscriptions) is not None]
        return Load(
            connections=len(self.clients),
            subscriptions=sum(map(len, subscribed)),
            behind=sum(not subscriptions.live for subscriptions in subscribed),
            submitting=self.gateway.under_way,
            redis=self.feed.trouble is None,
            completed=self.safety_net.completed if self.safety_net is not None else 0,
            nets=self.safety_net is not None and self.safety_net.active,
            stale={file.field: file.stale for file in self.followed},
            archive=self.archive.figures,
        )

    async def journal_size(self) -> Size | None:
        """How large the journal is; None where Redis doesn't answer."""
        try:
            return await self.positions.size()
        except Unavailable:
            return None

    def handshake_failed(self, why: str) -> None:
        """Somebody has come who didn't get as far as TLS: by http, or without a certificate that is wanted."""
        self.counts.refused["tls-handshake"] += 1
        self.refusals.tell(None, "a TLS handshake", why)

    # Time and the end.

    async def run(self) -> None:
        """Feed and tick until cancelled."""
        async with anyio.create_task_group() as group:
            self._calls.group = group
            group.start_soon(self.feed.run)
            group.start_soon(self.overview.run)
            if self.safety_net is not None:
                group.start_soon(self.safety_net.run)
            if self._roster is not None:
                group.start_soon(self._roster.run, self._reconsider)
            group.start_soon(self.archive.run)
            group.start_soon(self._end_overdue)
            await self._tick()

    async def _reconsider(self) -> None:
        """People may do something else from now on."""
        self.edition += 1
        self._wake_requests()  # a stream of events looks whether it may go on
        await self.clients.reconsider()

    async def _tick(self) -> None:
        while True:
            await anyio.sleep(1)
            await self.clients.tick()
            if self.broadcaster.restarted:
                self.broadcaster.restarted = False
                give_back()
            self.limits.forget()

    async def _end_overdue(self) -> None:
        """End those who have not said in time what they had to say.

        Who came together is due together, and to end a thousand takes as long as to answer a thousand: so it is done a
        few at a time, within a second. That they come back one by one, if they do, is as much worth.
        """
        while True:
            now = time.monotonic()
            silent = self.clients.end_silent(now)
            more = self.timeouts.end(now) or silent
            await anyio.sleep(_BREATH if more else _LOOK)

    async def drain(self) -> None:
        """Take no more, finish what is under way, and ask the clients to leave."""
        self.draining, self.clients.open = True, False
        self._wake_requests()  # a request that waits for a task is answered with what there is
        with anyio.move_on_after(_FINISH):
            await self._calls.finish()
        with anyio.move_on_after(_LEAVE):
            await self.clients.leave()

    def _wake_requests(self) -> None:
        """Have requests that wait, and streams of events, look again."""
        for waiting in self.clients.others(self.hub.subscribers()):
            waiting.restart()
