"""One WebSocket to the relay that comes back by itself: commands out, replies and pushes in.

Every attempt waits longer than the one before, with full jitter. The relay pings; a silence much longer than its
interval means that it is gone. Calls survive a lost connection: they are made again on the next one, which is why
each of them must be one that may be repeated. What belongs to one connection only (subscriptions) doesn't, see
:mod:`watcher.client.subscriptions`.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import urlsplit

import anyio
import msgspec
from msgspec import Raw
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus, WebSocketException

from watcher.centrifuge.client_messages import CommandError, Connected, Push, ServerMessage
from watcher.centrifuge.client_messages import messages as parse
from watcher.centrifuge.protocol import EMPTY, FRAME_BYTES, is_terminal, numbered
from watcher.client.errors import RelayError, RelayRefused, RelayUnreachable, detail_of, refusal
from watcher.client.tls import CA, CERT
from watcher.core.backoff import TO_RELAY
from watcher.core.loopback import is_loopback

__all__ = ["RelayConnection", "Token"]

logger = logging.getLogger("watcher.client")

#: A token, or what gives one: asked before each connection, and when the last one is about to end.
Token: TypeAlias = str | Callable[[], str | Awaitable[str]] | None

#: Opening a connection, the answer to ``connect`` included, in seconds.
_HANDSHAKE: Final = 10.0
#: A ping may be late by the interval between two, but at most by this. In seconds.
_GRACE: Final = 10.0
#: Seconds between two checks for silence; fixed, since the ping interval is known only once there is a connection.
_LOOK: Final = 1.0
#: Seconds that a connection must live to end a series of failures.
_STEADY: Final = 5.0
#: Most calls under way; further ones wait. The relay accepts 1,000, look-ups for subscriptions included.
_CALLS: Final = 500
#: A token is renewed this long before it ends, in seconds, or half-way where it is shorter.
_RENEW: Final = 30.0
#: Client errors that a proxy answers with while there is no relay behind it, and that pass: 408, 425, 429.
_PASSING: Final = frozenset((408, 425, 429))

Done: TypeAlias = Callable[[ServerMessage], None]
Failed: TypeAlias = Callable[[CommandError], None]


class ConnectionHandler(Protocol):
    """Takes what happens on the connection. Nothing here may block."""

    def connected(self) -> None:
        """There is a connection; commands sent from now on go out on it."""

    def lost(self) -> None:
        """There is none any more."""

    def pushed(self, push: Push) -> None:
        """The relay has pushed a message."""

    def over(self, error: RelayError) -> None:
        """There will be no further connection, because of this error."""


class _Call:
    """A call under way, on this connection or the next."""

    __slots__ = ("done", "error", "reply", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.done = anyio.Event()
        self.reply = b""
        self.error: RelayError | None = None


class RelayConnection:
    """The connection, and the number of each command on it.

    :param url: of the WebSocket.
    :param tls: for a ``wss://`` one; None: the system's authorities are trusted.
    """

    def __init__(self, url: str, token: Token, audience: ConnectionHandler, tls: ssl.SSLContext | None = None) -> None:
        self._url = url
        # websockets takes none for `ws://`, and without it chooses its own for `wss://`.
        self._tls: dict[str, Any] = {"ssl": tls} if tls is not None and url.startswith("wss:") else {}
        self._token = token
        self._audience = audience
        self._numbers = itertools.count(1)
        self._turns = anyio.Semaphore(_CALLS)
        self._calls: dict[int, _Call] = {}
        self._commands: dict[int, tuple[Done | None, Failed | None]] = {}
        self._out: list[bytes] = []
        self._stirred = anyio.Event()
        self._settled = anyio.Event()
        self._heard = 0.0
        self._silence = _HANDSHAKE
        self._lifetime = 0  # seconds that the token has left; 0: it doesn't end
        self._why = ""
        self._refused: RelayRefused | None = None
        self._over: RelayError | None = None
        self._pong = False
        self.is_connected = False
        #: When the last connection was lost, by the event loop's clock.
        self.lost_at = float("-inf")

    # For those who use it.

    async def settle(self) -> None:
        """Wait until there is a connection, or none can be had.

        :raises RelayError: none can be had.
        """
        await self._settled.wait()
        self.check()

    def check(self) -> None:
        """Raise what has ended the link, if something has."""
        if self._over is not None:
            raise copy.copy(self._over)

    def tell(self, kind: str, body: Any, done: Done | None = None, failed: Failed | None = None) -> None:
        """Send a command; it dies with the connection, and then neither callback is called."""
        if self.is_connected:
            self._tell(kind, body, done, failed)

    async def call(self, method: str, data: bytes) -> bytes:
        """Call a method of the relay, on the next connection again if this one is lost over it.

        :param data: JSON; returns JSON.
        :raises RelayError: the relay said no, or there is no connection to be had any more.
        """
        self.check()
        number = next(self._numbers)
        text = numbered(number, "rpc", {"method": method, "data": Raw(data)})
        if len(text) > FRAME_BYTES:
            raise RelayRefused(f"a call of {len(text)} bytes is too large: the relay takes {FRAME_BYTES}", 107)
        async with self._turns:
            self.check()
            call = self._calls[number] = _Call(text)
            if self.is_connected:
                self._send(text)
            try:
                await call.done.wait()
            finally:
                self._calls.pop(number, None)
        if call.error is not None:
            raise copy.copy(call.error)
        return call.reply

    def end(self, error: RelayError) -> None:
        """End everything that waits: there will be no further connection."""
        if self._over is not None:
            return
        self._over = error
        self.is_connected = False
        for call in self._calls.values():
            call.error = error
            call.done.set()
        self._settled.set()
        self._audience.over(error)

    # The connection, and the next one.

    async def run(self, patience: float) -> None:
        """Keep up a connection until none can be had.

        :param patience: seconds for which the first connection is tried.
        """
        deadline = anyio.current_time() + patience
        attempt = 0
        while True:
            began = anyio.current_time()
            why = await self._attempt()
            if self._refused is not None:
                self.end(self._refused)
                return
            now = anyio.current_time()
            if not self._settled.is_set() and now >= deadline:
                self.end(RelayUnreachable(f"the relay at {self._url} can't be reached: {why}"))
                return
            attempt = 0 if now - began > _STEADY else attempt
            wait = TO_RELAY.seconds(attempt)
            attempt += 1
            logger.warning("no connection to the relay (%s): next attempt in %.1f s", why, wait)
            await anyio.sleep(wait)

    async def _attempt(self) -> str:
        """One connection from beginning to end; returns why it ended, or could not be made."""
        try:
            token = await self._fresh_token()
        except Exception as error:  # whatever the user's function raises
            logger.warning("no token was given", exc_info=True)
            return f"could not get a token: {type(error).__name__}: {error}"
        try:
            socket = await connect(
                self._url, compression=None, ping_interval=None, max_size=None, open_timeout=_HANDSHAKE,
                proxy=None if is_loopback(urlsplit(self._url).hostname or "") else True, **self._tls,
            )  # fmt: skip
        except InvalidStatus as error:
            return self._turned_away(error)
        except ssl.SSLCertVerificationError as error:
            why = error.verify_message.removesuffix(".")
            return f"its certificate is not trusted ({why}); name a file of trusted authorities with {CA}"
        except InvalidMessage as error:
            # With TLS 1.3 a client that lacks a certificate learns of it by the end of its connection.
            wanted = f"; if it requires a client certificate, name one with {CERT}"
            return f"{error}{wanted if self._url.startswith('wss:') else ''}"
        except (OSError, InvalidHandshake, WebSocketException) as error:
            return str(error) or type(error).__name__
        try:
            return await self._converse(socket, token)
        finally:
            self._disconnected()
            # A closing handshake with a peer that is gone would take its time.
            with anyio.move_on_after(0.5, shield=True):
                await socket.close()
            socket.transport.abort()

    def _turned_away(self, error: InvalidStatus) -> str:
        status, body = error.response.status_code, detail_of(error.response.body or b"")
        why = f"HTTP {status}{f': {body[:300]}' if body else ''}"
        if 400 <= status < 500 and status not in _PASSING:
            self._refused = RelayRefused(f"the relay at {self._url} refused the connection: {why}", status)
        return why

    async def _converse(self, socket: ClientConnection, token: str | None) -> str:
        self._why, self._out, self._commands = "", [], {}
        self._heard, self._silence, self._lifetime = anyio.current_time(), _HANDSHAKE, 0
        hello = {"name": "python", **({"token": token} if token else {})}
        self._tell("connect", hello, self._welcomed, self._rebuffed)
        async with anyio.create_task_group() as group:
            group.start_soon(self._write, socket)
            group.start_soon(self._watch, socket)
            group.start_soon(self._renew)
            await self._read(socket)
            group.cancel_scope.cancel()
        return self._why

    async def _read(self, socket: ClientConnection) -> None:
        try:
            while not self._why:
                frame = await socket.recv(decode=False)
                self._heard = anyio.current_time()
                for message in parse(frame):
                    self._take(message)
        except ConnectionClosed as closed:
            code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")
            if is_terminal(code):
                self._refused = refusal(code, f"the relay closed the connection: {reason}")
            self._why = self._why or reason or f"closed with code {code}"
        except msgspec.MsgspecError as error:
            self._why = f"invalid message: {error}"  # to go on would be to miss what it said

    async def _write(self, socket: ClientConnection) -> None:
        try:
            while True:
                await self._stirred.wait()
                self._stirred = anyio.Event()
                lines, self._out = self._out, []
                for frame in _frames(lines):
                    await socket.send(frame, text=True)
        except ConnectionClosed:
            pass  # the reader hears why

    async def _watch(self, socket: ClientConnection) -> None:
        """End a connection on which nothing was heard for too long."""
        while True:
            left = self._heard + self._silence - anyio.current_time()
            if left <= 0:
                break
            await anyio.sleep(min(left, _LOOK))
        self._why = f"nothing received for {self._silence:g} s"
        socket.transport.abort()

    async def _renew(self) -> None:
        """Bring a new token before the last one ends; a token that was given as a text can't be renewed."""
        while callable(self._token):
            left = self._lifetime
            if not left:
                await anyio.sleep(1)  # not connected yet, or the token doesn't end
                continue
            await anyio.sleep(max(left - _RENEW, left / 2))
            try:
                token = await self._fresh_token()
            except Exception:  # whatever the user's function raises
                logger.warning("no new token was given", exc_info=True)
                return
            self._lifetime = 0
            self.tell("refresh", {"token": token}, self._renewed)

    async def _fresh_token(self) -> str | None:
        token = self._token() if callable(self._token) else self._token
        return await token if inspect.isawaitable(token) else token

    def _disconnected(self) -> None:
        self.is_connected = False
        self.lost_at = anyio.current_time()
        self._commands.clear()
        if self._over is None:
            self._audience.lost()

    # What comes in.

    def _take(self, message: ServerMessage | None) -> None:
        if message is None:
            if self._pong:
                self._send(EMPTY)
        elif message.push is not None:
            self._audience.pushed(message.push)
        elif (call := self._calls.get(message.id)) is not None:
            _answer(call, message)
        elif message.id in self._commands:
            done, failed = self._commands.pop(message.id)
            if message.error is None:
                if done is not None:
                    done(message)
            elif failed is not None:
                failed(message.error)

    def _welcomed(self, message: ServerMessage) -> None:
        server = message.connect or Connected()
        self._silence = server.ping + min(server.ping, _GRACE) if server.ping else float("inf")
        self._pong = server.pong
        self._lifetime = server.ttl if server.expires else 0
        self.is_connected = True
        if self._settled.is_set():
            logger.info("connected to the relay again")
        self._settled.set()
        for call in self._calls.values():
            self._send(call.text)
        self._audience.connected()

    def _renewed(self, message: ServerMessage) -> None:
        if message.refresh is not None and message.refresh.expires:
            self._lifetime = message.refresh.ttl

    def _rebuffed(self, error: CommandError) -> None:
        self._why = error.message or f"error {error.code}"
        if not error.temporary:
            self._refused = refusal(error.code, f"the relay at {self._url} refused the connection: {self._why}")

    # What goes out.

    def _tell(self, kind: str, body: Any, done: Done | None, failed: Failed | None) -> None:
        number = next(self._numbers)
        if done is not None or failed is not None:
            self._commands[number] = (done, failed)
        self._send(numbered(number, kind, body))

    def _send(self, line: bytes) -> None:
        self._out.append(line)
        self._stirred.set()


def _answer(call: _Call, message: ServerMessage) -> None:
    if message.error is not None:
        error = message.error
        call.error = refusal(error.code, error.message or f"error {error.code}", temporary=error.temporary)
    elif message.rpc is not None:
        call.reply = bytes(message.rpc.data)
    call.done.set()


def _frames(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines, as many in a frame as the relay takes."""
    frame: list[bytes] = []
    size = 0
    for line in lines:
        if frame and size + len(line) + 1 > FRAME_BYTES:
            yield b"\n".join(frame)
            frame, size = [], 0
        frame.append(line)
        size += len(line) + 1
    if frame:
        yield b"\n".join(frame)
