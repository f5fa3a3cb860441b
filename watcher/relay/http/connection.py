"""One HTTP connection, with bounds on what a client may send, how fast, and in what time.

A small protocol on httptools' parser, for a connection that uvicorn's server has accepted: requests are read a bite at
a time (:mod:`watcher.relay.http.request_reader`), and answered one after the other
(:mod:`watcher.relay.http.exchange`). Nobody has a timer of their own while something is due: the relay's ticker looks
who is late (:class:`watcher.relay.limits.limits.Deadlines`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, Final, Protocol, cast

from watcher.core.errors import Refused, TooSlow
from watcher.core.settings import Settings
from watcher.relay.common.addresses import local_address, remote_address
from watcher.relay.common.stats import Stats
from watcher.relay.http._uvicorn import ServerState
from watcher.relay.http.exchange import Exchange, FlowControl, closing_answer
from watcher.relay.http.middleware import ALWAYS
from watcher.relay.http.problems import refused
from watcher.relay.http.request_reader import BITE, RequestHead, RequestReader
from watcher.relay.limits.direct_writer import half_close
from watcher.relay.limits.fair_queue import QueuePlace
from watcher.relay.limits.limits import ACCOUNT, REQUEST, AddressUsage, Limits
from watcher.relay.limits.socket_backlog import waiting
from watcher.relay.limits.throttled import await_turn
from watcher.relay.limits.timeouts import Timeouts

__all__ = ["TRANSPORT", "HttpConnection", "HttpServices"]

#: Under this name a request's state has the transport, which tells if a slow reader reads at all.
TRANSPORT: Final = "watcher.transport"


class HttpServices(Protocol):
    """What a connection needs of the relay."""

    settings: Settings
    counts: Stats
    limits: Limits
    timeouts: Timeouts


class HttpConnection(asyncio.Protocol):
    """A client's connection.

    What has come waits (``_held``) while its address has to wait for its turn, while two requests wait for their
    answers, and, where it is to become a WebSocket, until all that was asked before is answered. Of the requests the
    oldest one is being answered (``_running``), and the others wait in ``_pipeline``; ``_newest`` is the one that bytes
    belong to, and complete when all are.

    :param account: of the address that it comes from; it is left when the connection goes.
    :param refusal: why it isn't taken; None where it is.
    :param config: uvicorn's, and so are ``server_state`` and ``app_state``.
    """

    __slots__ = (
        "_account", "_config", "_desk", "_flow", "_held", "_idle", "_left", "_newest", "_pipeline", "_reader",
        "_refusal", "_refused", "_running", "_scope", "_server_state", "_state", "_turn", "_upgrade", "_upgrading",
        "transport",
    )  # fmt: skip

    transport: asyncio.Transport
    _flow: FlowControl

    def __init__(
        self,
        desk: HttpServices,
        account: AddressUsage | None,
        refusal: Refused | None = None,
        *,
        config: Any,
        server_state: ServerState,
        app_state: Any = None,
        **_: Any,
    ) -> None:
        self._desk = desk
        self._account = account
        self._config = config
        self._server_state = server_state
        self._state: dict[str, Any] = dict(app_state or {})
        self._scope: dict[str, Any] = {}  # what all its requests have alike
        self._refusal = refusal
        self._refused = False
        self._reader = RequestReader(self, desk.settings)
        self._running: Exchange | None = None  # is being answered, or was the last that was
        self._newest: Exchange | None = None
        self._pipeline: deque[Exchange] = deque()
        self._held: bytes | None = None
        self._turn: QueuePlace | None = None  # where it waits until then
        self._upgrade: RequestHead | None = None  # of the request that makes it a WebSocket …
        self._upgrading = False  # … which is complete, and waits
        self._idle: asyncio.TimerHandle | None = None  # ends it where no further request comes
        self._left = 0  # bytes that a client had yet to take when it was last looked at

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self.transport = cast(asyncio.Transport, transport)
        self._flow = FlowControl(self.transport)
        self._server_state.connections.add(self)
        if self._refusal is not None:
            self._refuse(self._refusal)
            return
        self._state |= {TRANSPORT: transport, ACCOUNT: self._account}
        self._scope = {
            "type": "http",
            "server": local_address(self.transport),
            "client": remote_address(self.transport),
            "scheme": "https" if transport.get_extra_info("sslcontext") else "http",
            "root_path": self._config.root_path,
        }
        self._desk.timeouts.headers.start(self, time.monotonic())

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self._server_state.connections.discard(self)
        self._desk.timeouts.drop(self)
        self._no_longer_idle()
        if self._turn is not None:
            self._turn.cancel()
        if self._account is not None:
            self._account.leave()
        for exchange in (self._running, *self._pipeline):
            if exchange is not None:
                exchange.disconnect()
        self._pipeline.clear()
        self._flow.resume_writing()
        self._reader.close()

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
        self._flow.pause_writing()
        self._left = 0
        self._desk.timeouts.readers.start(self, time.monotonic())

    def resume_writing(self) -> None:
        """It has taken enough to be sent more."""
        self._desk.timeouts.readers.stop(self)
        self._flow.resume_writing()

    # What the server calls.

    def shutdown(self) -> None:
        """The server stops: this ends with the answer that is under way."""
        if self._newest is None or self._newest.complete:
            self.transport.close()
        else:
            self._newest.keep_alive = False

    # Bytes in, a bite at a time.

    def _take(self, data: bytes) -> None:
        if self._upgrading:
            self._become_websocket(data)
            return
        first = True
        while data and not self._refused:
            wait = self._must_wait and not first  # whoever calls this has seen to it that it was its turn
            if wait or len(self._pipeline) > 1:
                self._hold(data, wait=wait)
                return
            first = False
            bite, data = data[:BITE], data[BITE:]
            if self._no_longer_idle():  # the next request has its time from here on
                self._reader.heading = 0
                self._desk.timeouts.headers.start(self, time.monotonic())
            try:
                following = self._reader.feed(bite)
            except Refused as error:
                self._refuse(error)
                return
            if following is not None:
                self._become_websocket(following + data)
                return

    def _become_websocket(self, following: bytes) -> None:
        """Hand the connection over, when all that was asked before is answered.

        :param following: what has come after the request.
        """
        self._upgrading = self._answering
        if self._upgrading or self._upgrade is None:
            self._wait_with(following)
            return
        self._no_longer_idle()
        self._desk.timeouts.drop(self)
        self._server_state.connections.discard(self)
        self._flow.held = False
        self._flow.resume_reading()
        self._account = None  # the socket's now, which is handed it with the state
        self._reader.close()
        websocket: Any = self._config.ws_protocol_class(
            config=self._config, server_state=self._server_state, app_state=self._state
        )
        websocket.connection_made(self.transport)
        websocket.data_received(_as_sent(self._upgrade))
        self.transport.set_protocol(websocket)
        if following:
            websocket.data_received(following)

    def _wait_with(self, data: bytes) -> None:
        self._held = data
        self._flow.pause_reading()
        self._flow.held = True

    def _hold(self, data: bytes, *, wait: bool) -> None:
        self._wait_with(data)
        if wait and self._account is not None:
            if self._account.ahead(time.monotonic()) > 0:
                self._desk.limits.reached("max_commands_per_address", self._account.address)
            self._turn = await_turn(self._account, self._go_on)

    def _go_on(self) -> bool:
        """Read on; whether that made it answer another request."""
        self._turn, before = None, self._newest
        if not self.transport.is_closing():
            data, self._held = self._held or b"", None
            self._flow.held = False
            self._take(data)
            if self._held is None:
                self._flow.resume_reading()
        return self._newest is not before

    # What the reader has read.

    def request_begins(self) -> None:
        """A request follows another at once."""
        self._desk.timeouts.headers.start(self, time.monotonic())

    def request_head(self, head: RequestHead) -> None:
        """All of its headers have come; the body may follow."""
        now = time.monotonic()
        self._desk.timeouts.headers.stop(self)
        self._desk.timeouts.bodies.start(self, now)
        if head.upgrade:
            self._upgrade = head
            return
        if self._account is not None:
            self._account.charge(REQUEST, now)
        waits = self._answering
        self._newest = Exchange(
            self._asgi_scope(head), self.transport, self._flow, self._server_state.default_headers,
            self._answered, keep_alive=head.keep_alive, expects_continue=head.expects_continue,
        )  # fmt: skip
        if waits:
            self._flow.pause_reading()
            self._pipeline.append(self._newest)
        else:
            self._answer(self._newest)

    def request_body(self, data: bytes) -> None:
        """A part of the body has come."""
        if self._newest is not None:
            self._newest.feed(data)

    def request_ends(self) -> None:
        """The request is complete."""
        self._desk.timeouts.bodies.stop(self)
        if self._newest is not None and self._upgrade is None:
            self._newest.feed_end()

    def limit_reached(self, limit: str) -> None:
        """What was sent is larger than this setting allows."""
        self._desk.limits.reached(limit, self._address)

    def _asgi_scope(self, head: RequestHead) -> dict[str, Any]:
        root: str = self._scope["root_path"]
        return {
            **self._scope,
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.http_version,
            "method": head.method,
            "path": root + head.path,
            "raw_path": root.encode("ascii") + head.raw_path,
            "query_string": head.query,
            "headers": head.headers,
            "state": self._state.copy(),
        }

    # Answers, one after the other.

    def _answer(self, exchange: Exchange) -> None:
        self._running = exchange
        # A stopping server waits for these tasks, and cancels what is left. They log their errors, and raise none.
        tasks = self._server_state.tasks
        task = asyncio.get_running_loop().create_task(exchange.run(self._config.loaded_app))
        task.add_done_callback(tasks.discard)
        tasks.add(task)

    def _answered(self) -> None:
        """An answer is complete; a request that the client has sent already has its turn among those of its address."""
        self._server_state.total_requests += 1
        if self._pipeline and self._account is not None and not self.transport.is_closing():
            await_turn(self._account, self._answer_next)
        else:
            self._answer_next()

    def _answer_next(self) -> bool:
        """Go on with what was sent meanwhile; whether there was a request."""
        if self.transport.is_closing():
            return False
        before = self._running
        self._flow.resume_reading()
        if self._pipeline:
            self._answer(self._pipeline.popleft())
        else:
            self._no_longer_idle()
            self._idle = asyncio.get_running_loop().call_later(self._config.timeout_keep_alive, self.transport.close)
        if self._held is not None and self._turn is None:
            self._go_on()
        return self._running is not before

    def _no_longer_idle(self) -> bool:
        """Whether it was idle until now."""
        if self._idle is None:
            return False
        self._idle.cancel()
        self._idle = None
        return True

    @property
    def _answering(self) -> bool:
        """Whether an answer is under way, or to be."""
        return self._newest is not None and not self._newest.complete

    # What is refused.

    @property
    def _must_wait(self) -> bool:
        """Whether its address has to wait for its turn."""
        account, now = self._account, time.monotonic()
        return account is not None and (account.is_heavy(now) or account.ahead(now) > 0)

    @property
    def _address(self) -> str:
        return self._account.address if self._account is not None else ""

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
            self.transport.write(_problem(error))
        if answered or len(self._desk.timeouts.lingering) >= self._desk.timeouts.most_lingering:
            self.transport.close()  # what it was waited for still ends it, where the client doesn't take the rest
            return
        self._desk.timeouts.headers.stop(self)
        self._desk.timeouts.bodies.stop(self)
        self._desk.timeouts.lingering.start(self, time.monotonic())
        half_close(self.transport)


def _problem(error: Refused) -> bytes:
    response = refused(error)
    always = [(name.encode(), value.encode()) for name, value in ALWAYS.items()]
    return closing_answer(error.status, [*response.raw_headers, *always], bytes(response.body))


def _as_sent(head: RequestHead) -> bytes:
    """A request without a body, as its client has sent it."""
    lines = [b"%s: %s\r\n" % header for header in head.headers]
    return b"".join([head.method.encode(), b" ", head.url, b" HTTP/1.1\r\n", *lines, b"\r\n"])
