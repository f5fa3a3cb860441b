"""One HTTP connection: uvicorn's, with bounds on what a client may send, how fast, and in what time.

uvicorn waits for ever for the rest of a request, and takes headers of any size. Here nobody has a timer of their own:
the relay's ticker looks who is due (:class:`watcher.relay.limits.limits.Deadlines`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from http import HTTPStatus
from typing import Any, Final, Protocol

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from watcher.core.errors import BadRequest, HeadersTooLarge, PathTooLong, Refused, TooSlow
from watcher.core.settings import Settings
from watcher.relay.common.stats import Stats
from watcher.relay.http.middleware import ALWAYS
from watcher.relay.http.problems import refused
from watcher.relay.limits.direct_writer import half_close
from watcher.relay.limits.fair_queue import QueuePlace
from watcher.relay.limits.limits import ACCOUNT, REQUEST, AddressUsage, Limits
from watcher.relay.limits.socket_backlog import waiting
from watcher.relay.limits.throttled import await_turn
from watcher.relay.limits.timeouts import Timeouts

__all__ = ["TRANSPORT", "HttpConnection"]

#: uvicorn's words about what a client sent: the metrics count it, and each line would be the client's to write.
_quiet = logging.getLogger(f"{__name__}.uvicorn")
_quiet.setLevel(logging.ERROR)

#: Under this name a request's state has the transport.
TRANSPORT: Final = "watcher.transport"
#: So much of what a client sent is looked at before others have their turn, in bytes.
_BITE: Final = 4 * 1024


class HttpServices(Protocol):
    """What a connection needs of the relay."""

    settings: Settings
    counts: Stats
    limits: Limits
    timeouts: Timeouts


class _Flow(FlowControl):
    """uvicorn's; what is held up for the client's pace is not read on because an answer is complete."""

    held = False

    def resume_reading(self) -> None:
        """Read on, unless it is held up, or there is nothing to read from any more."""
        if not self.held and not self._transport.is_closing():
            super().resume_reading()


class HttpConnection(HttpToolsProtocol):
    """uvicorn's; its requests know the transport, which tells if a slow reader reads at all.

    :param account: of the address that it comes from; it is left when the connection goes.
    :param refusal: why it isn't taken; None where it is.
    """

    # Beside uvicorn's: with all of them in one dictionary, instances would no longer share its keys (CPython: 30).
    __slots__ = (
        "_account",
        "_desk",
        "_heading",
        "_held",
        "_left",
        "_refusal",
        "_refused",
        "_running",
        "_turn",
        "_upgrading",
    )

    def __init__(
        self, desk: HttpServices, account: AddressUsage | None, refusal: Refused | None = None, **given: Any
    ) -> None:
        super().__init__(**given)
        self.logger = _quiet
        self._desk = desk
        self._account = account
        self._refusal = refusal  # why it, or what is being parsed, is not taken
        self._refused = False
        self.url = b""
        self._heading: int | None = 0  # bytes that have come of headers that are not complete; None: they are
        self._held: bytes | None = None  # what waits until the client may go on
        self._turn: QueuePlace | None = None  # where it waits until then
        self._running: RequestResponseCycle | None = None  # the request that is being answered: cycle is the newest one
        self._left = 0  # bytes that a client had yet to take when it was last looked at
        self._upgrading = False  # whether it is to be a WebSocket once all that was asked before is answered

    # What asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """The connection is open."""
        super().connection_made(transport)
        self.flow: _Flow = _Flow(transport)
        if self._refusal is not None:
            self._refuse(self._refusal)
            return
        self.app_state = {**self.app_state, TRANSPORT: transport, ACCOUNT: self._account}
        self._desk.timeouts.headers.start(self, self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self._desk.timeouts.drop(self)
        if self._turn is not None:
            self._turn.cancel()
        if self._account is not None:
            self._account.leave()
        running = self._running
        if running is not None and not running.response_complete:  # uvicorn tells only the newest one
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._refused:
            return
        if self._held is not None:
            self._held += data  # it was on its way already when reading was paused
        elif self._must_wait:
            self._hold(data, wait=True)
        else:
            self._take(data)

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        self._left = 0
        self._desk.timeouts.readers.start(self, self.loop.time())

    def resume_writing(self) -> None:
        """It has taken enough to be sent more."""
        self._desk.timeouts.readers.stop(self)
        super().resume_writing()

    # Bytes in, a bite at a time.

    def _take(self, data: bytes) -> None:
        if self._upgrading:
            self._upgrade(data)
            return
        first = True
        while data and not self._refused:
            wait = self._must_wait and not first  # whoever calls this has seen to it that it was its turn
            if wait or len(self.pipeline) > 1:
                self._hold(data, wait=wait)
                return
            first = False
            bite, data = data[:_BITE], data[_BITE:]
            if self.timeout_keep_alive_task is not None:  # it was idle: the next request has its time from here on
                self._heading = 0
                self._desk.timeouts.headers.start(self, self.loop.time())
            if self._heading is not None:
                self._heading += len(bite)
            following = self._parse(bite)
            if following is not None:
                self._upgrade(following + data)
                return
            self._check_heading()

    def _parse(self, data: bytes) -> bytes | None:
        """Have ``data`` parsed; what follows the request to become a WebSocket, where there is one.

        uvicorn drops it, and whoever knows that it will be let in may speak at once.
        """
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                return data[upgrade.args[0] :]
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        return None

    def _upgrade(self, following: bytes) -> None:
        """Become a WebSocket, when all that was asked before it is answered."""
        self._upgrading = self._answering or bool(self.pipeline)
        if self._upgrading:
            self._wait_with(following)
            return
        self._unset_keepalive_if_required()
        self._desk.timeouts.drop(self)
        self.flow.resume_reading()
        self.handle_websocket_upgrade()
        if following:
            successor: Any = self.transport.get_protocol()
            successor.data_received(following)

    def _check_heading(self) -> None:
        """The parser tells of a header when it is complete: one that never is has a bound too."""
        settings = self._desk.settings
        if self._refused or (self._heading or 0) <= settings.max_path + settings.max_header_bytes + 2 * _BITE:
            return
        long = len(self.url) > settings.max_path
        self._desk.limits.reached("max_path" if long else "max_header_bytes", self._address)
        self._refuse(
            PathTooLong(f"a path may have at most {settings.max_path} bytes") if long else _too_large(settings)
        )

    def _wait_with(self, data: bytes) -> None:
        self._held = data
        self.flow.pause_reading()
        self.flow.held = True

    def _hold(self, data: bytes, *, wait: bool) -> None:
        self._wait_with(data)
        if wait and self._account is not None:
            if self._account.ahead(time.monotonic()) > 0:
                self._desk.limits.reached("max_commands_per_address", self._account.address)
            self._turn = await_turn(self._account, self._go_on)

    def _go_on(self) -> bool:
        """Read on; whether that made it answer another request."""
        self._turn, before = None, self.cycle
        if not self.transport.is_closing():
            data, self._held = self._held or b"", None
            self.flow.held = False
            self._take(data)
            if self._held is None:
                self.flow.resume_reading()
        return self.cycle is not before

    def on_response_complete(self) -> None:
        """An answer is complete; a request that the client has sent already has its turn among those of its address."""
        if self.pipeline and self._account is not None and not self.transport.is_closing():
            await_turn(self._account, self._answer_next)
        else:
            self._answer_next()

    def _answer_next(self) -> bool:
        more = bool(self.pipeline)
        if more:
            self._running = self.pipeline[-1][0]
        super().on_response_complete()
        if self._held is not None and self._turn is None:
            more = self._go_on() or more
        return more

    # The parser's callbacks.

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self._heading is None:  # it follows another at once
            self._desk.timeouts.headers.start(self, self.loop.time())
        self._heading = _BITE  # which it is in

    def on_headers_complete(self) -> None:
        """All headers have come; the body may follow."""
        settings, timeouts = self._desk.settings, self._desk.timeouts
        timeouts.headers.stop(self)
        if len(self.url) > settings.max_path:
            self._give_up("max_path", PathTooLong(f"a path may have at most {settings.max_path} bytes"))
        if len(self.headers) > settings.max_headers:
            self._give_up("max_headers", HeadersTooLarge(f"a request may have at most {settings.max_headers} headers"))
        if (self._heading or 0) > settings.max_header_bytes and _size(self.headers) > settings.max_header_bytes:
            self._give_up("max_header_bytes", _too_large(settings))
        self._heading = None
        if not self.parser.should_upgrade():
            now = self.loop.time()
            timeouts.bodies.start(self, now)
            if self._account is not None:
                self._account.charge(REQUEST, now)
        super().on_headers_complete()
        if not self.pipeline:
            self._running = self.cycle

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._desk.timeouts.bodies.stop(self)
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """From here on it is a WebSocket's."""
        self._account = None  # the socket's now, which is handed it with the state
        super().handle_websocket_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """Offers of other protocols are passed over (RFC 9110, 7.8)."""

    # What is refused.

    @property
    def _must_wait(self) -> bool:
        """Whether its address has to wait for its turn."""
        account, now = self._account, time.monotonic()
        return account is not None and (account.is_heavy(now) or account.ahead(now) > 0)

    @property
    def _address(self) -> str:
        return self._account.address if self._account is not None else ""

    @property
    def _answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request, whatever uvicorn's types say
        return cycle is not None and not cycle.response_complete

    def _give_up(self, limit: str, error: Refused) -> None:
        self._desk.limits.reached(limit, self._address)
        self._refusal = error
        raise error  # the parser stops, and uvicorn answers as below

    def send_400_response(self, msg: str) -> None:
        """What can't be parsed, or is not taken, is refused."""
        self._refuse(self._refusal or BadRequest(msg))

    def too_slow(self, limit: str) -> None:
        """The request, or its body, has not come in time."""
        self._desk.limits.reached(limit, self._address)
        if limit == "header_timeout" and not self._answering:
            self._refuse(TooSlow("the headers of the request did not arrive in time"))
        else:
            self.transport.abort()

    def drop_if_stalled(self, now: float) -> None:
        """Cut the connection if the client has taken nothing since it was last looked at."""
        left = waiting(self.transport)
        if left == self._left:
            self.transport.abort()
        else:
            self._left = left
            self._desk.timeouts.readers.start(self, now)

    def _refuse(self, error: Refused) -> None:
        """Answer with a problem, and close once the client has had time to read it.

        Closed at once, with bytes from the client unread, TCP would take the answer away from it (RFC 9112, 9.6).
        """
        self._refused, self._held = True, None
        self._desk.counts.refused[error.kind] += 1
        self._desk.counts.responses[error.status] += 1
        answered = self._answering
        if not answered:  # else it would land in the midst of another answer
            self.transport.write(_answer(error))
        if answered or len(self._desk.timeouts.lingering) >= self._desk.timeouts.most_lingering:
            self.transport.close()
            return
        self._desk.timeouts.headers.stop(self)
        self._desk.timeouts.bodies.stop(self)
        self._desk.timeouts.lingering.start(self, self.loop.time())
        half_close(self.transport)


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def _too_large(settings: Settings) -> Refused:
    return HeadersTooLarge(f"the headers of a request may have at most {settings.max_header_bytes} bytes")


def _answer(error: Refused) -> bytes:
    response = refused(error)
    told = [*response.raw_headers, *((name.encode(), value.encode()) for name, value in ALWAYS.items())]
    lines = [b"HTTP/1.1 %d %s" % (error.status, HTTPStatus(error.status).phrase.encode())]
    lines += [b"%s: %s" % header for header in told]
    return b"\r\n".join([*lines, b"connection: close", b"", bytes(response.body)])
