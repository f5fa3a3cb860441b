"""One client's conversation, without I/O: frames in, replies and calls out."""

from __future__ import annotations

import random
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

import msgspec
from msgspec import Raw

from watcher.centrifuge import messages
from watcher.centrifuge.messages import Command, ErrorReply, SubscribeRequest
from watcher.core.errors import Refused, Unauthorized
from watcher.core.event import Task
from watcher.core.permissions import Grant
from watcher.relay.stream.history import ALL
from watcher.relay.stream.hub import Hub
from watcher.relay.websocket.lookups import Lookups, Waiting
from watcher.relay.websocket.records import NOTHING, Call, FrameOutcome, SessionConfig, SubscriptionQuota
from watcher.relay.websocket.subscriptions import Subscriptions

__all__ = ["Session"]

#: Publications in one reply: an SDK gives a command 5 s, so a reply must be small. In bytes of lines.
_REPLY_BYTES: Final = 256 * 1024
#: So many commands of one frame are taken before others have their turn; it is a millisecond or two.
_AT_ONCE: Final = 100
#: What the commands of one frame are given before the next has to wait, for them to leave and for others to have their
#: turn. In bytes of replies; a subscription counts for more than its reply, as it takes so much longer.
_GIVEN: Final = 512 * 1024
_SUBSCRIPTION: Final = 8 * 1024
#: Tasks in the reply to a subscription of ``root:`` or ``group:``.
_REPLY_TASKS: Final = 1000
_NOT_GRANTED: Final = "the token does not allow watching it"
#: What clients are told of a lifetime at most, in seconds: ``ttl`` is an integer of 32 bits in the protocol.
_LONGEST: Final = 2**31 - 1


class Session:
    """One client.

    :param hub: where it watches.
    :param outlet: what the hub knows it by, and hands its publications to.
    :param named: what the client may do without a token, being named by a proxy; None: it needs one.
    :param holder: the address that has its subscriptions, with those of its other connections; None: nobody counts.
    """

    __slots__ = (
        "_borrowed", "_calls", "_holder", "_hub", "_lookups", "_named", "_outlet", "_terms", "client", "grant",
        "subscriptions",
    )  # fmt: skip

    def __init__(
        self,
        hub: Hub[Any],
        outlet: Any,
        terms: SessionConfig,
        named: Callable[[], Grant] | None = None,
        holder: SubscriptionQuota | None = None,
    ) -> None:
        self._hub = hub
        self._outlet = outlet
        self._terms = terms
        self._named = named
        self._holder = holder
        self._lookups = Lookups(holder)
        # Channels that are watched by a token of their own, not by the connection's, and when its right ends.
        self._borrowed: dict[str, float] = NOTHING
        self._calls = 0
        self.subscriptions = Subscriptions(hub, outlet, holder)
        self.client = ""
        self.grant: Grant | None = None

    def expired(self, now: float) -> bool:
        """Whether the client's token has ended, by Unix time ``now`` in seconds."""
        return self.grant is not None and self.grant.ends is not None and now >= self.grant.ends

    @property
    def _who(self) -> str:
        return (self.grant.subject if self.grant is not None else "") or self.client

    @property
    def next_end(self) -> float | None:
        """When the first of the client's tokens ends, Unix seconds; None where none does."""
        own = self.grant.ends if self.grant is not None else None
        return min((end for end in (own, *self._borrowed.values()) if end is not None), default=None)

    def may_watch(self, channel: str) -> bool:
        """Whether the client may watch a channel, by its own token or by the one that it subscribed with."""
        return channel in self._borrowed or (self.grant is not None and self.grant.may_watch(channel))

    def end_subscriptions(self, now: float) -> list[bytes]:
        """End the subscriptions that the client has no token for any more; returns the pushes that say so."""
        self._borrowed = {channel: end for channel, end in self._borrowed.items() if end > now}
        gone = [channel for channel in self.subscriptions if not self.may_watch(channel)]
        for channel in gone:
            self.subscriptions.remove(channel)
        return [messages.unsubscribe_push(channel, messages.UNSUBSCRIBE_EXPIRED) for channel in gone]

    def reconsider(self) -> list[bytes]:
        """Look again at what the client may do, if a proxy has named it; returns the pushes that say what it lost."""
        if self.grant is None or self._named is None:
            return []
        self.grant = replace(self._named(), expires=self.grant.expires)
        return self.end_subscriptions(time.time())

    # Frames in.

    def receive(self, text: bytes) -> FrameOutcome:
        """Take one text frame, or the rest of one."""
        outcome = FrameOutcome()
        lines = text.split(b"\n", _AT_ONCE)
        if len(lines) > _AT_ONCE:
            outcome.rest = lines.pop()
        try:
            for at, command in messages.commands(lines):
                self._command(command, outcome)
                if outcome.disconnect:
                    break
                if outcome.given > _GIVEN and at + 1 < len(lines):
                    rest = lines[at + 1 :]
                    outcome.rest = b"\n".join([*rest, outcome.rest] if outcome.rest else rest)
                    break
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            outcome.disconnect = messages.BAD_PROTOCOL
        return outcome

    def _command(self, command: Command, outcome: FrameOutcome) -> None:
        if command == messages.PONG:
            return
        if self.grant is not None and command.send is not None:
            outcome.disconnect = messages.UNAVAILABLE
            return
        if command.id <= 0 or (self.grant is None) != (command.connect is not None):
            outcome.disconnect = messages.BAD_PROTOCOL
            return
        try:
            self._dispatch(command, outcome)
        except Refused as error:
            what = "subscribe" if command.subscribe else "refresh" if command.refresh else "connect"
            self._terms.refused(self._outlet, what, str(error))
            if command.connect and type(error) is Unauthorized and error.code == messages.UNAUTHORIZED.code:
                outcome.disconnect = messages.INVALID_TOKEN
            else:
                outcome.replies.append(self.refuse(command.id, error))

    def _dispatch(self, command: Command, outcome: FrameOutcome) -> None:
        reply: bytes | None
        if command.connect is not None:
            reply = self._connect(command.id, command.connect.token)
        elif command.subscribe is not None:
            reply = self._subscribe(command.id, command.subscribe, outcome)
            outcome.given += _SUBSCRIPTION
        elif command.unsubscribe is not None:
            reply = self._unsubscribe(command.id, command.unsubscribe.channel)
        elif command.history is not None:
            reply = self._history(command.id, command.history)
        elif command.rpc is not None:
            reply = self._call(Call(command.id, command.rpc.method, bytes(command.rpc.data)), outcome)
        elif command.refresh is not None:
            reply = self._refresh(command.id, command.refresh.token)
            outcome.replies += self.end_subscriptions(time.time())  # a new token may grant less
        elif command.ping is not None:
            reply = messages.reply(command.id, "ping", {})
        else:
            reply = messages.error_reply(command.id, messages.why_not(command, self.subscriptions))
        if reply is not None:
            outcome.replies.append(reply)
            outcome.given += len(reply)

    # Commands.

    def _connect(self, identity: int, token: str) -> bytes:
        if token or self._named is None:
            self.grant, self._named = self._terms.admit(token), None  # a token is chosen, a proxy's word comes along
        else:
            self.grant = self._named()
        # It names a connection and guards nothing: not worth asking the system for randomness at each.
        self.client = str(uuid.UUID(int=random.getrandbits(128), version=4))
        history = self._hub.history
        where: dict[str, Any] = {"namespace": self._terms.namespace, "epoch": history.epoch, "offset": history.last}
        if (trouble := self._terms.trouble()) is not None:
            where["trouble"] = trouble
        if not self.grant.may_watch(ALL):
            where["watch"] = self.grant.watch  # so that a page knows which channels to ask for
        expires, ttl = self._lifetime()
        result = messages.ConnectResult(
            client=self.client, version=self._terms.version, data=Raw(messages.encode(where)),
            expires=expires, ttl=ttl, ping=self._terms.ping, pong=True,
        )  # fmt: skip
        return messages.reply(identity, "connect", result)

    def _refresh(self, identity: int, token: str) -> bytes:
        fresh = self._terms.admit(token)
        if self.grant is not None and fresh.subject != self.grant.subject:
            return messages.error_reply(identity, messages.UNAUTHORIZED, "the token belongs to another subject")
        self.grant, self._named = fresh, None
        expires, ttl = self._lifetime()
        result = messages.RefreshResult(client=self.client, version=self._terms.version, expires=expires, ttl=ttl)
        return messages.reply(identity, "refresh", result)

    def _lifetime(self) -> tuple[bool, int]:
        # Whom a proxy has named has nothing to refresh: when the time is over, the connection is made again.
        if self.grant is None or self.grant.expires is None or self._named is not None:
            return False, 0
        return True, max(1, int(min(self.grant.expires - time.time(), _LONGEST)))

    def _subscribe(self, identity: int, request: SubscribeRequest, outcome: FrameOutcome) -> bytes | None:
        channel = request.channel
        error, until = self._objection(channel, "subscribe", lent=bool(request.token)), None
        if error == messages.PERMISSION_DENIED and request.token:
            lent = self._terms.admit(request.token)
            error, until = (None, lent.ends) if lent.may_watch(channel) else (error, None)
            if error is not None:
                self._terms.refused(self._outlet, f"subscribe {channel}", _NOT_GRANTED)
        error = error or messages.unserved(request) or self._obstacle(channel)
        if error is not None:
            return messages.error_reply(identity, error)
        asked = Waiting(identity, request, until)
        if channel in self._lookups:  # unsubscribed, and subscribed again, before the first subscription was answered
            return self._wait(channel, asked)
        known, history = self._known(channel), self._hub.history
        # Another relay was ahead of this one when it served the client: what it has seen is about to come here too.
        ahead = request.recover and request.epoch == history.epoch and request.offset > history.last
        if known is not None and not ahead:
            return self._subscribed(identity, request, known, until)
        refused = self._call(Call(identity, "subscribe", b"", request), outcome)
        if refused is None:
            self._lookups.start(channel, asked)
        return refused

    def _obstacle(self, channel: str) -> ErrorReply | None:
        """What the client has already that keeps it from one more subscription."""
        if channel in self.subscriptions or self._lookups.wanted(channel):
            return messages.ALREADY_SUBSCRIBED
        full = self._terms.full(len(self.subscriptions) + len(self._lookups), self._who, self._holder)
        return None if full is None else messages.limit_exceeded(full)

    def _unsubscribe(self, identity: int, channel: str) -> bytes | None:
        if channel in self._lookups:
            return self._wait(channel, Waiting(identity))
        return self._unsubscribed(identity, channel)

    def _unsubscribed(self, identity: int, channel: str) -> bytes:
        self._borrowed.pop(channel, None)
        self.subscriptions.remove(channel)
        return messages.reply(identity, "unsubscribe", {})

    def _wait(self, channel: str, asked: Waiting) -> bytes | None:
        """Answer this when the channel's first subscription is answered."""
        if (refused := self._take_call(asked.id)) is None:
            self._lookups.wait(channel, asked)
        return refused

    def _objection(self, channel: str, method: str, *, lent: bool = False) -> ErrorReply | None:
        """What stands against watching a channel.

        :param lent: whether there is another token to be looked at, before it is told.
        """
        if (error := messages.channel_error(channel)) is not None or self.may_watch(channel):
            return error
        if not lent:
            self._terms.refused(self._outlet, f"{method} {channel}", _NOT_GRANTED)
        return messages.PERMISSION_DENIED

    def _known(self, channel: str) -> dict[str, Task | list[Task] | None] | None:
        """The ``data`` of a subscription; None where a task is not known here."""
        history = self._hub.history
        kind, _, name = channel.partition(":")
        if kind == "task":
            task = history.task(name)
            return None if task is None else {"task": task}
        if kind in ("root", "group"):
            return {"tasks": history.tasks(channel, _REPLY_TASKS)}
        return {}

    def _subscribed(
        self, identity: int, request: SubscribeRequest, known: dict[str, Any] | None, until: float | None
    ) -> bytes:
        history = self._hub.history
        channel, position = request.channel, history.last
        data = Raw(messages.encode(known)) if known else None
        recovered, found = False, list[tuple[str, int, bytes]]()
        if request.recover:
            any_epoch = not request.epoch and request.offset == 0
            same = any_epoch or request.epoch == history.epoch
            since = request.offset if same else 0
            recovered = same and history.is_whole(channel, since)
            if not recovered and request.flag & 2:
                return messages.error_reply(identity, messages.UNRECOVERABLE)
            found, position = history.since({channel: since}, 0, _REPLY_BYTES)
        if until is not None:
            self._borrowed = {} if self._borrowed is NOTHING else self._borrowed
            self._borrowed[channel] = until
        self.subscriptions.add(channel, position, whole=recovered or not request.recover)
        result = messages.SubscribeResult(
            recoverable=True, positioned=True, epoch=history.epoch, offset=position, data=data,
            was_recovering=request.recover, recovered=recovered,
            publications=tuple(messages.Publication(Raw(line), offset) for _, offset, line in found),
        )  # fmt: skip
        return messages.reply(identity, "subscribe", result)

    def _history(self, identity: int, request: messages.HistoryRequest) -> bytes:
        error = self._objection(request.channel, "history")
        if error is not None:
            return messages.error_reply(identity, error)
        history, since = self._hub.history, request.since
        if since is not None and since.epoch not in ("", history.epoch):
            return messages.error_reply(identity, messages.UNRECOVERABLE)
        events: Iterable[tuple[int, bytes]]
        if request.reverse:
            events = history.newest(request.channel, since.offset if since else None)
        else:
            piece = history.since({request.channel: since.offset if since else 0}, 0, _REPLY_BYTES)
            events = ((offset, line) for _, offset, line in piece.events)
        publications: list[messages.Publication] = []
        size = 0
        for offset, line in islice(events, None if request.limit < 0 else min(request.limit, sys.maxsize)):
            if size > _REPLY_BYTES:
                break
            publications.append(messages.Publication(Raw(line), offset))
            size += len(line)
        result = messages.HistoryResult(publications=publications, offset=history.last, epoch=history.epoch)
        return messages.reply(identity, "history", result)

    # Calls.

    def _call(self, call: Call, outcome: FrameOutcome) -> bytes | None:
        refused = self._take_call(call.id)
        if refused is None:
            outcome.calls.append(call)
        return refused

    def _take_call(self, identity: int) -> bytes | None:
        """Count one more call under way; the reply that refuses it, where there are as many as may be."""
        if self._calls >= self._terms.calls:
            self._terms.reached("max_calls", self._who)
            return messages.error_reply(identity, messages.TOO_MANY)
        self._calls += 1
        return None

    def answer(self, call: Call, value: Any) -> list[bytes]:
        """The reply to a call that was carried out, and to what has waited for it."""
        if call.request is None:
            self._calls -= 1
            return [messages.reply(call.id, "rpc", {"data": value})]
        channel = call.request.channel
        known = self._known(channel)
        if known is None:
            known = {"task": value}
        return [self._in_turn(channel, asked, known) for asked in self._finished(channel)]

    def give_up(self, call: Call, error: Refused) -> list[bytes]:
        """The replies to a call that could not be carried out, and to what has waited for it."""
        if call.request is None:
            self._calls -= 1
            return [self.refuse(call.id, error)]
        return [
            self.refuse(asked.id, error) if asked.request else messages.reply(asked.id, "unsubscribe", {})
            for asked in self._finished(call.request.channel)
        ]

    def _finished(self, channel: str) -> Sequence[Waiting]:
        waited = self._lookups.finish(channel)
        self._calls -= len(waited)
        return waited

    def _in_turn(self, channel: str, asked: Waiting, known: dict[str, Any]) -> bytes:
        """The reply to what was said of a channel whose task has been looked up by now."""
        if asked.request is None:
            return self._unsubscribed(asked.id, channel)
        if asked.until is not None and asked.until <= time.time():
            return messages.error_reply(asked.id, messages.TOKEN_EXPIRED)
        if asked.until is None and not self.may_watch(channel):  # its rights have changed meanwhile
            self._terms.refused(self._outlet, f"subscribe {channel}", _NOT_GRANTED)
            return messages.error_reply(asked.id, messages.PERMISSION_DENIED)
        return self._subscribed(asked.id, asked.request, known, asked.until)

    def refuse(self, identity: int, error: Refused) -> bytes:
        """The reply that tells of ``error``."""
        return messages.error_reply(identity, ErrorReply(error.code, error.title, error.temporary), str(error))

    # The end.

    def restart(self) -> list[bytes]:
        """The journal is another one: end all subscriptions; returns the pushes that say so."""
        self._borrowed.clear()
        return self.subscriptions.restart()

    def close(self) -> None:
        """The connection has ended: watch nothing any more."""
        self._lookups.clear()
        self._borrowed.clear()
        self.subscriptions.clear()
