"""One client's conversation, without I/O: frames in, replies and calls out.

What holds: each command is answered once, in its frame's outcome or, where it needs a call, by :meth:`Session.answer`
or :meth:`Session.give_up`; at most ``terms.calls`` wait for that. What a client says of a channel whose task is being
looked up waits too, so that replies for one channel keep their order. What it may do is :mod:`.rights`' to say, what it
is subscribed to :mod:`.subscriptions`', and what it is told of the past :mod:`.recovery`'s.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from watcher.centrifuge import messages
from watcher.centrifuge.messages import Command, ErrorReply, SubscribeRequest
from watcher.core.errors import Refused, Unauthorized
from watcher.core.event import OVERVIEW
from watcher.core.permissions import Grant
from watcher.relay.stream.history import ALL
from watcher.relay.stream.hub import Hub
from watcher.relay.websocket import recovery
from watcher.relay.websocket.lookups import Lookups, Waiting
from watcher.relay.websocket.records import Call, FrameOutcome, SessionConfig, SubscriptionQuota
from watcher.relay.websocket.rights import Rights
from watcher.relay.websocket.subscriptions import Subscriptions

__all__ = ["Session"]

#: So many commands of one frame are taken before others have their turn; it is a millisecond or two.
_AT_ONCE: Final = 100
#: What the commands of one frame are given before the next has to wait, for them to leave and for others to have their
#: turn. In bytes of replies; a subscription counts for more than its reply, as it takes so much longer.
_GIVEN: Final = 512 * 1024
_SUBSCRIPTION: Final = 8 * 1024
_NO_PAST: Final = "the channel overview has no events, only what holds now"
_NOT_GRANTED: Final = "the token does not allow watching it"


class Session:
    """One client.

    :param hub: where it watches.
    :param outlet: what the hub knows it by, and hands its publications to.
    :param named: what the client may do without a token, being named by a proxy; None: it needs one.
    :param holder: the address that has its subscriptions, with those of its other connections; None: nobody counts.
    """

    __slots__ = (
        "_calls", "_holder", "_hub", "_lookups", "_outlet", "_rights", "_terms", "client", "subscriptions",
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
        self._rights = Rights(named)
        self._holder = holder
        self._lookups = Lookups(holder)
        self._calls = 0  # that are under way, and what waits for one
        self.subscriptions = Subscriptions(hub, outlet, holder)
        self.client = ""

    @property
    def grant(self) -> Grant | None:
        """What the client may do; None until it has connected."""
        return self._rights.grant

    def expired(self, now: float) -> bool:
        """Whether the client's token has ended, by Unix time ``now`` in seconds."""
        return self._rights.expired(now)

    @property
    def _who(self) -> str:
        grant = self._rights.grant
        return (grant.subject if grant is not None else "") or self.client

    @property
    def next_end(self) -> float | None:
        """When the first of the client's tokens ends, Unix seconds; None where none does."""
        return self._rights.next_end

    def end_subscriptions(self, now: float) -> list[bytes]:
        """End the subscriptions that the client has no token for any more; returns the pushes that say so."""
        self._rights.give_back_ended(now)
        gone = [channel for channel in self.subscriptions if not self._rights.may_watch(channel)]
        for channel in gone:
            self.subscriptions.remove(channel)
        return [messages.unsubscribe_push(channel, messages.UNSUBSCRIBE_EXPIRED) for channel in gone]

    def reconsider(self) -> list[bytes]:
        """Look again at what the client may do, if a proxy has named it; returns the pushes that say what it lost."""
        return self.end_subscriptions(time.time()) if self._rights.reconsider() else []

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
                if outcome.size > _GIVEN and at + 1 < len(lines):
                    rest = lines[at + 1 :]
                    outcome.rest = b"\n".join([*rest, outcome.rest] if outcome.rest else rest)
                    break
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            outcome.disconnect = messages.BAD_PROTOCOL
        return outcome

    def _command(self, command: Command, outcome: FrameOutcome) -> None:
        if command == messages.PONG:
            return
        connected = self._rights.grant is not None
        if connected and command.send is not None:
            outcome.disconnect = messages.UNAVAILABLE
            return
        if command.id <= 0 or connected == (command.connect is not None):
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
            outcome.size += _SUBSCRIPTION
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
            outcome.size += len(reply)

    # Commands.

    def _connect(self, command_id: int, token: str) -> bytes:
        grant = self._rights.connect(token, self._terms.admit)
        # It names a connection and guards nothing: not worth asking the system for randomness at each.
        self.client = str(uuid.UUID(int=random.getrandbits(128), version=4))
        history = self._hub.history
        where: dict[str, Any] = {"namespace": self._terms.namespace, "epoch": history.epoch, "offset": history.last}
        if (trouble := self._terms.trouble()) is not None:
            where["trouble"] = trouble
        if not grant.may_watch(ALL):
            where["watch"] = grant.watch  # so that a page knows which channels to ask for
        expires, ttl = self._rights.lifetime()
        result = messages.ConnectResult(
            client=self.client, version=self._terms.version, data=Raw(messages.encode(where)),
            expires=expires, ttl=ttl, ping=self._terms.ping, pong=True,
        )  # fmt: skip
        return messages.reply(command_id, "connect", result)

    def _refresh(self, command_id: int, token: str) -> bytes:
        if not self._rights.refresh(self._terms.admit(token)):
            return messages.error_reply(command_id, messages.UNAUTHORIZED, "the token belongs to another subject")
        expires, ttl = self._rights.lifetime()
        result = messages.RefreshResult(client=self.client, version=self._terms.version, expires=expires, ttl=ttl)
        return messages.reply(command_id, "refresh", result)

    def _subscribe(self, command_id: int, request: SubscribeRequest, outcome: FrameOutcome) -> bytes | None:
        channel = request.channel
        error, until = self._objection(channel, "subscribe", lent=bool(request.token)), None
        if error == messages.PERMISSION_DENIED and request.token:
            lent = self._terms.admit(request.token)
            error, until = (None, lent.ends) if lent.may_watch(channel) else (error, None)
            if error is not None:
                self._terms.refused(self._outlet, f"subscribe {channel}", _NOT_GRANTED)
        error = error or messages.unserved(request) or self._obstacle(channel)
        if error is not None:
            return messages.error_reply(command_id, error)
        asked = Waiting(command_id, request, until)
        if channel in self._lookups:  # unsubscribed, and subscribed again, before the first subscription was answered
            return self._wait(channel, asked)
        history = self._hub.history
        data = recovery.subscription_data(history, channel)
        # Another relay was ahead of this one when it served the client: what it has seen is about to come here too.
        ahead = request.recover and request.epoch == history.epoch and request.offset > history.last
        if data is not None and not ahead:
            return self._subscribed(command_id, request, data, until)
        refused = self._call(Call(command_id, "subscribe", b"", request), outcome)
        if refused is None:
            self._lookups.start(channel, asked)
        return refused

    def _obstacle(self, channel: str) -> ErrorReply | None:
        """What the client has already that keeps it from one more subscription."""
        if channel in self.subscriptions or self._lookups.wanted(channel):
            return messages.ALREADY_SUBSCRIBED
        full = self._terms.full(len(self.subscriptions) + len(self._lookups), self._who, self._holder)
        return None if full is None else messages.limit_exceeded(full)

    def _unsubscribe(self, command_id: int, channel: str) -> bytes | None:
        if channel in self._lookups:
            return self._wait(channel, Waiting(command_id))
        return self._unsubscribed(command_id, channel)

    def _unsubscribed(self, command_id: int, channel: str) -> bytes:
        self._rights.give_back(channel)
        self.subscriptions.remove(channel)
        return messages.reply(command_id, "unsubscribe", {})

    def _wait(self, channel: str, asked: Waiting) -> bytes | None:
        """Answer this when the channel's first subscription is answered."""
        if (refused := self._take_call(asked.id)) is None:
            self._lookups.wait(channel, asked)
        return refused

    def _objection(self, channel: str, method: str, *, lent: bool = False) -> ErrorReply | None:
        """What stands against watching a channel.

        :param lent: whether there is another token to be looked at, before it is told.
        """
        if (error := messages.channel_error(channel)) is not None or self._rights.may_watch(channel):
            return error
        if not lent:
            self._terms.refused(self._outlet, f"{method} {channel}", _NOT_GRANTED)
        return messages.PERMISSION_DENIED

    def _subscribed(self, command_id: int, request: SubscribeRequest, data: Any, until: float | None) -> bytes:
        history, channel = self._hub.history, request.channel
        encoded = Raw(messages.encode(data)) if data else None
        if channel == OVERVIEW:  # it is told what holds now, so there is nothing to be recovered
            if until is not None:
                self._rights.lend(channel, until)
            self.subscriptions.add(channel, history.last, whole=True)
            return messages.reply(command_id, "subscribe", messages.SubscribeResult(data=encoded))
        missed = recovery.recover(history, request)
        if missed is None:
            return messages.error_reply(command_id, messages.UNRECOVERABLE)
        if until is not None:
            self._rights.lend(channel, until)
        self.subscriptions.add(channel, missed.position, whole=missed.recovered or not request.recover)
        result = messages.SubscribeResult(
            recoverable=True, positioned=True, epoch=history.epoch, offset=missed.position, data=encoded,
            was_recovering=request.recover, recovered=missed.recovered, publications=missed.publications,
        )  # fmt: skip
        return messages.reply(command_id, "subscribe", result)

    def _history(self, command_id: int, request: messages.HistoryRequest) -> bytes:
        error = self._objection(request.channel, "history")
        if error is not None:
            return messages.error_reply(command_id, error)
        if request.channel == OVERVIEW:
            return messages.error_reply(command_id, messages.NOT_AVAILABLE, _NO_PAST)
        page = recovery.page(self._hub.history, request)
        if page is None:
            return messages.error_reply(command_id, messages.UNRECOVERABLE)
        return messages.reply(command_id, "history", page)

    # Calls.

    def _call(self, call: Call, outcome: FrameOutcome) -> bytes | None:
        refused = self._take_call(call.id)
        if refused is None:
            outcome.calls.append(call)
        return refused

    def _take_call(self, command_id: int) -> bytes | None:
        """Count one more call under way; the reply that refuses it, where there are as many as may be."""
        if self._calls >= self._terms.calls:
            self._terms.reached("max_calls", self._who)
            return messages.error_reply(command_id, messages.TOO_MANY)
        self._calls += 1
        return None

    def answer(self, call: Call, value: Any) -> list[bytes]:
        """The reply to a call that was carried out, and to what has waited for it."""
        if call.request is None:
            self._calls -= 1
            return [messages.reply(call.id, "rpc", {"data": value})]
        channel = call.request.channel
        data: Any = recovery.subscription_data(self._hub.history, channel)
        if data is None:
            data = value if channel == OVERVIEW else {"task": value}
        return [self._in_turn(channel, asked, data) for asked in self._finished(channel)]

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

    def _in_turn(self, channel: str, asked: Waiting, data: Any) -> bytes:
        """The reply to what was said of a channel whose task has been looked up by now."""
        if asked.request is None:
            return self._unsubscribed(asked.id, channel)
        if asked.until is not None and asked.until <= time.time():
            return messages.error_reply(asked.id, messages.TOKEN_EXPIRED)
        if asked.until is None and not self._rights.may_watch(channel):  # its rights have changed meanwhile
            self._terms.refused(self._outlet, f"subscribe {channel}", _NOT_GRANTED)
            return messages.error_reply(asked.id, messages.PERMISSION_DENIED)
        return self._subscribed(asked.id, asked.request, data, asked.until)

    def refuse(self, command_id: int, error: Refused) -> bytes:
        """The reply that tells of ``error``."""
        return messages.error_reply(command_id, ErrorReply(error.code, error.title, error.temporary), str(error))

    # The end.

    def restart(self) -> list[bytes]:
        """The journal is another one: end all subscriptions to events; returns the pushes that say so."""
        self._rights.give_back_all()
        return self.subscriptions.restart(keeps=OVERVIEW if self._rights.may_watch(OVERVIEW) else None)

    def close(self) -> None:
        """The connection has ended: watch nothing any more."""
        self._lookups.clear()
        self._rights.give_back_all()
        self.subscriptions.clear()
