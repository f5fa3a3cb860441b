"""One WebSocket: bytes in and out, between a client and its session.

An ``asyncio.Protocol`` around websockets' Sans-I/O ``ServerProtocol``, which does the handshake, control frames and the
checks of RFC 6455. What the hub hands out goes another way: frames that were built once for all subscribers are written
straight to the transport, between the protocol's own messages, while the connection is open. An idle connection has no
task, no queue and no future; one ticker serves all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, cast

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from watcher.centrifuge import messages
from watcher.centrifuge.frames import PING, frames
from watcher.centrifuge.messages import Disconnect
from watcher.core.errors import Refused, TooMany
from watcher.core.permissions import Grant
from watcher.relay.limits.direct_writer import DirectOutlet, DirectWriter, half_close
from watcher.relay.limits.limits import ACCOUNT, COMMAND, AddressUsage, RateLimiter
from watcher.relay.limits.socket_backlog import acknowledged, waiting
from watcher.relay.limits.throttled import ReadThrottle
from watcher.relay.security.forwarded import Lines, Peer
from watcher.relay.websocket.handshake import Handshake, answer, objection
from watcher.relay.websocket.records import Call
from watcher.relay.websocket.services import SocketServices
from watcher.relay.websocket.session import Session
from watcher.relay.websocket.slow_consumer import HIGH_WATER, SlowConsumer
from watcher.relay.websocket.subscriptions import Subscriptions

__all__ = ["WebSocketConnection"]

#: For websockets, which would tell of each connection.
_quiet = logging.getLogger(f"{__name__}.protocol")
_quiet.setLevel(logging.WARNING)

#: Bytes of replies that count as one more command.
_REPLY: Final = 4 * 1024
#: Seconds after which a client that doesn't finish the closing handshake is given up.
_CLOSING: Final = 3.0


class WebSocketConnection(DirectOutlet, asyncio.Protocol):
    """A client's connection: a throttle lets its bytes in, a writer takes bytes out, and between them is the protocol.

    Whoever has read that a request asks for an upgrade makes one, and hands it the transport and the request.

    :param server_state: the server's; its ``connections`` are what a stopping server waits for.
    :param app_state: has the account of the address that it comes from.
    :param handshake: where it was read already; it is answered by :meth:`welcome`, and no bytes of it come.
    """

    __slots__ = (
        "_connections", "_desk", "_ends", "_fragments", "_pinged", "_protocol", "_room", "_session", "_slow_consumer",
        "_throttle", "_transport",
    )  # fmt: skip

    _transport: asyncio.Transport

    def __init__(
        self,
        desk: SocketServices,
        *,
        server_state: Any,
        app_state: Any = None,
        handshake: Handshake | None = None,
        **_: Any,
    ) -> None:
        self._throttle = ReadThrottle(RateLimiter(desk.terms.commands, (app_state or {}).get(ACCOUNT)), self)
        self._desk = desk
        self._connections: set[Any] = server_state.connections
        state = State.OPEN if handshake else State.CONNECTING
        self._protocol = ServerProtocol(state=state, max_size=desk.terms.message, logger=_quiet)
        self._session: Session | None = None
        self._fragments: bytearray | None = None
        self._slow_consumer: SlowConsumer | None = None  # made when the client is first behind
        self._pinged = False  # whether a pong is due
        self._room: asyncio.Event | None = None  # what waits until the client takes what it is sent
        self._ends: float | None = None  # when the desk is to call expire()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is handed over."""
        self._transport = cast(asyncio.Transport, transport)
        self._throttle.open(self._transport)
        self._writer = DirectWriter(self._transport, high=HIGH_WATER)
        self._straight = self._writer.let_data(False)  # the writer's straight way, kept for deliver()
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._throttle.receive(data)

    def eof_received(self) -> None:
        """The client sends nothing more."""
        self._protocol.receive_eof()
        self._send_control()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self._straight = self._writer.close()
        self._connections.discard(self)
        self._throttle.close()
        if self.account is not None:
            self.account.leave()
        if self._session is not None:
            self._session.close()
            self._desk.closed(self)
            self._session = self._slow_consumer = None  # no cycle, so that all of it is freed at once
        self._make_room()

    def pause_writing(self) -> None:
        """The client takes less than it is sent: it is fed from the history from now on, and not heard meanwhile."""
        self._throttle.pause()
        if self._slow_consumer is not None:
            self._slow_consumer.forget_progress()
        if self._session is not None:
            self._session.subscriptions.fall_behind()

    def resume_writing(self) -> None:
        """It has taken enough to be sent more."""
        self._throttle.resume()
        self._make_room()
        self._catch_up()

    # Frames in.

    @property
    def account(self) -> AddressUsage | None:
        """Of the address where the client is; None where that isn't known."""
        return self._throttle.pace.account

    @property
    def address(self) -> str:
        """Where the client is; empty where that isn't known."""
        account = self._throttle.pace.account
        return "" if account is None else account.address

    def read(self, data: bytes) -> bool:
        """Look at some bytes; whether more of them are wanted."""
        before = self._protocol.parser_exc
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._handshake(event)
            elif isinstance(event, Frame):
                self._throttle.cost += 1
                self._frame(event)
        self._send_control()
        if self._protocol.state is State.OPEN:
            return True
        if before is None and isinstance(self._protocol.parser_exc, PayloadTooBig):
            self.slowed("max_message")
        return False

    def slowed(self, limit: str) -> None:
        """The client goes beyond what it may: the name of the setting that says so."""
        self._desk.terms.reached(limit, self.grant.subject or self.address)

    def welcome(self, handshake: Handshake) -> None:
        """Answer the handshake that was read before this was made."""
        lines = handshake.lines
        peer = self._desk.peer(self._transport, lines)
        refused = objection(handshake.target, peer, lines, self._desk.refusal) or self._seat(peer, lines)
        if refused is None:
            self._writer.let_data(True)
            self._straight = self._writer.send(handshake.answer)
        else:
            self._protocol = ServerProtocol(logger=_quiet)  # for one that is open would close as a WebSocket
            self._protocol.send_response(self._protocol.reject(*refused))
            self._send_control()

    def _handshake(self, request: Request) -> None:
        lines = request.headers.get_all
        peer = self._desk.peer(self._transport, lines)
        refused = objection(request.path, peer, lines, self._desk.refusal)
        response = self._protocol.reject(*refused) if refused else answer(self._protocol, request)
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS and (refused := self._seat(peer, lines)):
            response = self._protocol.reject(*refused)
        self._protocol.send_response(response)
        self._send_control()

    def _seat(self, peer: Peer, lines: Lines) -> tuple[HTTPStatus, str] | None:
        """Begin the client's session; why there is no room for it, or None."""
        pace = self._throttle.pace
        account = pace.account
        if account is not None and peer.proxied and peer.address is not None:
            try:
                pace.account = account.hand_over(str(peer.address))
            except TooMany as error:
                return HTTPStatus.TOO_MANY_REQUESTS, f"{error}\n"
        if not self._desk.opened(self):
            return HTTPStatus.SERVICE_UNAVAILABLE, "the relay is stopping\n"
        named = self._desk.named(peer, lines)
        self._session = Session(self._desk.hub, self, self._desk.terms, named, pace.account)
        return None

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY:
            self.close(messages.JSON_ONLY)
        elif frame.opcode is Opcode.TEXT and frame.fin:
            self.read_message(bytes(frame.data))
        elif frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self._fragments = bytearray() if self._fragments is None else self._fragments
            self._fragments += frame.data
            if frame.fin:
                text, self._fragments = bytes(self._fragments), None
                self.read_message(text)

    def read_message(self, text: bytes) -> None:
        """Look at a message, unless it has to wait."""
        if self._session is None or self._protocol.state is not State.OPEN or not self._throttle.admit(text):
            return
        self._pinged = False  # whoever talks is there
        start = time.thread_time()
        outcome = self._session.receive(text)
        counted = text.count(b"\n") - outcome.rest.count(b"\n") + outcome.size // _REPLY
        self._throttle.cost += max(counted, int((time.thread_time() - start) / COMMAND))
        if outcome.rest:
            self._throttle.put_back(outcome.rest)
        self._write_text(outcome.replies)
        for call in outcome.calls:
            self._desk.call(self, call)
        if outcome.disconnect is not None:
            self.close(outcome.disconnect)
        self._tell_end()
        self._catch_up()

    def _tell_end(self) -> None:
        """Tell the desk when the client's next token ends, where that has changed."""
        ends = self._session.next_end if self._session and self._writer.open else None
        if ends != self._ends:
            self._ends = ends
            self._desk.expires(self, ends)

    # Frames out.

    def answer(self, call: Call, value: Any) -> None:
        """Send the reply to a call that was carried out; nothing where the client has left meanwhile."""
        if self._session is not None and self._protocol.state is State.OPEN:
            replies = self._session.answer(call, value)
            self._throttle.cost += sum(map(len, replies)) // _REPLY
            self._write_text(replies)
            self._tell_end()
            self._catch_up()

    async def room(self) -> None:
        """Wait until the client takes what it is sent, or is gone; safe to cancel."""
        while self._throttle.paused and self._session is not None:
            self._room = self._room or asyncio.Event()
            await self._room.wait()

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    def refuse(self, call: Call, error: Refused) -> None:
        """Send the reply to a call that could not be carried out."""
        if self._session is not None and self._writer.open:
            self._write_text(self._session.give_up(call, error))

    @property
    def subscriptions(self) -> Subscriptions | None:
        """What the client is subscribed to; None before the handshake."""
        return None if self._session is None else self._session.subscriptions

    @property
    def grant(self) -> Grant:
        """What the client may do."""
        return (self._session.grant if self._session is not None else None) or Grant()

    def tell(self, data: Any) -> None:
        """Send a message that belongs to no channel, unless the client is not connected yet or can't take more."""
        if self._session is not None and self._session.grant is not None and not self._throttle.paused:
            self._write_text([messages.message_push(data)])

    def restart(self) -> None:
        """The journal is another one: subscriptions end, and clients subscribe again."""
        if self._session is not None:
            self._write_text(self._session.restart())

    def reconsider(self) -> None:
        """People may do something else from now on."""
        if self._session is not None:
            self._write_text(self._session.reconsider())

    def _write_text(self, texts: Sequence[bytes]) -> None:
        if texts:
            self.deliver(frames(texts))

    def _send_control(self) -> None:
        """Send what the WebSocket protocol itself has to say: handshake, pongs, close."""
        is_open = self._protocol.state is State.OPEN  # between the handshake and the closing one
        self._straight = self._writer.let_data(is_open)
        for data in self._protocol.data_to_send():
            if data:
                self._straight = self._writer.send(data)
            elif self._transport.is_closing():
                break
            elif not half_close(self._transport):
                self._transport.close()  # TLS has no half-closed connection; what was written still goes out
        if self._protocol.close_expected() and not self._transport.is_closing():
            # The client ends the TCP connection's other half; if it doesn't, the server does (RFC 6455, 7.1.1).
            self._abort_after(_CLOSING)
        if self._protocol.state is State.CLOSED or self._protocol.handshake_exc is not None:
            self._transport.close()

    def _catch_up(self) -> None:
        """Send a client that is behind its next piece, if it can take one."""
        if self._session is not None and not self._session.subscriptions.live:
            self._as_slow_consumer(self._session).schedule()

    def _as_slow_consumer(self, session: Session) -> SlowConsumer:
        if self._slow_consumer is None:
            counts = self._desk.counts
            self._slow_consumer = SlowConsumer(session.subscriptions, counts, self._has_room, self._write_text)
        return self._slow_consumer

    def _has_room(self) -> bool:
        return self._session is not None and not self._throttle.paused and self._protocol.state is State.OPEN

    # Time and the end.

    def expire(self, now: float) -> None:
        """A token of the client's has ended by Unix time ``now``: its connection ends, or a subscription."""
        self._ends = None
        if self._session is not None and self._session.expired(now):
            self.close(messages.EXPIRED_CONNECTION)
        elif self._session is not None:
            self._write_text(self._session.end_subscriptions(now))
            self._tell_end()

    def tick(self, now: float) -> None:
        """Ask whether the client is there; called once per ping interval by the relay's ticker.

        :param now: the event loop's time, in seconds.
        """
        if self._session is None or (self._throttle.holding and not self._throttle.paused):
            return  # what it has said may be a pong
        left = waiting(self._transport)
        if self._throttle.paused or (self._pinged and left):
            # It may be slow, but what it has not taken yet it can't have answered.
            if self._as_slow_consumer(self._session).is_stalled(left, acknowledged(self._transport), now):
                self._transport.abort()
        elif self._pinged:
            self.close(messages.NO_PONG)
        elif self._session.grant is not None:
            self._pinged = True
            if self._slow_consumer is not None:
                self._slow_consumer.forget_progress()
            self.deliver(PING)

    def close_if_silent(self) -> None:
        """Close the connection if the client has not said ``connect``."""
        if self._session is None or self._session.grant is None:
            self._desk.terms.reached("connect_timeout", self.address)
            self.close(messages.STALE)

    def close(self, reason: Disconnect) -> None:
        """Close the connection; the client learns why, and whether to come back."""
        if self._protocol.state is State.OPEN:
            if self._session is not None:
                self._session.close()
            try:
                self._protocol.send_close(reason.code, reason.reason)
            except ProtocolError:
                self._transport.abort()
                return
            self._send_control()
            self._abort_after(_CLOSING)
        elif self._protocol.state is State.CONNECTING:
            self._transport.close()

    def shutdown(self) -> None:
        """The server stops; uvicorn calls this on each connection that is still there."""
        self.close(messages.SHUTDOWN)

    def _abort_after(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._transport.abort)
