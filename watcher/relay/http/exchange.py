"""One request and its answer, as ASGI has them (HTTP, spec version 2.3), over a transport.

What goes wrong in the application ends here: the client is told, where it was told nothing yet, and the log.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final

from starlette.types import ASGIApp, Message, Scope

__all__ = ["Exchange", "FlowControl", "closing_answer"]

logger = logging.getLogger(__name__)

#: A body waits here up to this size, in bytes; then no more is read until the application has taken it.
_HIGH_WATER: Final = 64 * 1024
#: RFC 9110: a name is a token (5.6.2), and a value has no control characters but the tab (5.5).
_NAME: Final = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_NO_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
#: An answer with one of these has no body, and so none in chunks.
_BODILESS: Final = (204, 304)
_FAILED: Final = b"Internal Server Error"
_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}


class FlowControl:
    """Whether a connection is read from, and whether its client takes what it is sent.

    ``held``: its client may not go on yet, so it is not read on because an answer is complete.
    """

    __slots__ = ("_paused", "_transport", "_writable", "held")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._paused = False
        self._writable = asyncio.Event()
        self._writable.set()
        self.held = False

    def pause_reading(self) -> None:
        """Read no more for now."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless it is held up, or there is nothing to read from any more."""
        if self._paused and not self.held and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has taken enough to be sent more, or is gone."""
        self._writable.set()

    async def drain(self) -> None:
        """Wait until it takes more; safe to cancel."""
        await self._writable.wait()


class Exchange:
    """A request that is answered, or waits for that.

    ``keep_alive``: whether the connection may have another request after it. ``complete``: whether all of the answer
    was handed to the transport.

    :param headers: of every answer, such as the date.
    :param expects_continue: whether the client waits for leave to send the body.
    :param done: called once, when the answer is complete.
    """

    __slots__ = (
        "_body", "_chunked", "_disconnected", "_done", "_expects_continue", "_flow", "_headers", "_left", "_more",
        "_news", "_scope", "_started", "_transport", "complete", "keep_alive",
    )  # fmt: skip

    def __init__(
        self,
        scope: Scope,
        transport: asyncio.Transport,
        flow: FlowControl,
        headers: Sequence[tuple[bytes, bytes]],
        done: Callable[[], None],
        *,
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self._scope = scope
        self._transport = transport
        self._flow = flow
        self._headers = headers
        self._done: Callable[[], None] | None = done
        self.keep_alive = keep_alive
        self._expects_continue = expects_continue
        self._disconnected = False
        self._news = asyncio.Event()  # set by whatever receive() may wait for
        self._body = bytearray()
        self._more = True  # whether more of the body is to come
        self._started = False
        self.complete = False
        self._chunked: bool | None = None  # None until the headers say it
        self._left = 0  # bytes of the announced length that were not sent yet

    # What the connection has to say.

    def feed(self, data: bytes) -> None:
        """A part of the request's body has come."""
        if not self.complete:
            self._body += data
            if len(self._body) > _HIGH_WATER:
                self._flow.pause_reading()
            self._news.set()

    def feed_end(self) -> None:
        """The request is complete."""
        if not self.complete:
            self._more = False
            self._news.set()

    def disconnect(self) -> None:
        """The client is gone."""
        self._disconnected = not self.complete
        self._done = None
        self._news.set()

    # The application.

    async def run(self, app: ASGIApp) -> None:
        """Have the application answer."""
        try:
            await app(self._scope, self._receive, self._send)
            if not self.complete and not self._disconnected:
                logger.error("a request was not answered wholly")
                await self._fail()
        except asyncio.CancelledError:  # the server gives up on it
            await self._fail()
            raise
        except Exception:  # whatever the application raises is this request's alone
            logger.exception("a request could not be answered")
            await self._fail()
        finally:
            self._done = None  # whoever keeps this doesn't keep the connection

    async def _fail(self) -> None:
        """Tell the client, or end an answer that is under way where it is."""
        if self._started:
            self._transport.close()
            return
        plain, length = b"text/plain; charset=utf-8", str(len(_FAILED)).encode()
        headers = [(b"content-type", plain), (b"content-length", length), (b"connection", b"close")]
        await self._send({"type": "http.response.start", "status": 500, "headers": headers})
        await self._send({"type": "http.response.body", "body": _FAILED})

    async def _receive(self) -> Message:
        if self._expects_continue and not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._expects_continue = False
        if not self._disconnected and not self.complete:
            self._flow.resume_reading()
            await self._news.wait()
            self._news.clear()
        if self._disconnected or self.complete:
            return {"type": "http.disconnect"}
        body, self._body = bytes(self._body), bytearray()
        return {"type": "http.request", "body": body, "more_body": self._more}

    async def _send(self, message: Message) -> None:
        if not self._disconnected:
            await self._flow.drain()
        if self._disconnected:
            return
        expected = "http.response.body" if self._started else "http.response.start"
        if self.complete or message["type"] != expected:
            raise RuntimeError(f"{message['type']} is no part of an answer here")
        if self._started:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
        else:
            self._send_head(message["status"], [*self._headers, *message.get("headers", ())])

    def _send_head(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self._started, self._expects_continue = True, False
        lines = [_status_line(status)]
        closes = False
        for header, value in headers:
            name = header.lower()
            if not _NAME.fullmatch(name) or _NO_VALUE.search(value):
                raise RuntimeError(f"{header!r} is no header of an answer")
            if name == b"content-length" and self._chunked is None:
                self._left, self._chunked = int(value), False
            elif name == b"transfer-encoding" and value.lower() == b"chunked":
                self._left, self._chunked = 0, True
            elif name == b"connection" and b"close" in [token.strip() for token in value.lower().split(b",")]:
                self.keep_alive, closes = False, True
            lines.append(b"%s: %s\r\n" % (name, value))
        if not self.keep_alive and not closes:
            lines.append(b"connection: close\r\n")
        if self._chunked is None and self._scope["method"] != "HEAD" and status not in _BODILESS:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        self._transport.write(b"".join([*lines, b"\r\n"]))

    def _send_body(self, body: bytes, *, more: bool) -> None:
        if self._scope["method"] == "HEAD":
            self._left = 0
        elif self._chunked:
            chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
            self._transport.write(chunk if more else chunk + b"0\r\n\r\n")
        else:
            if len(body) > self._left:
                raise RuntimeError("the answer is longer than its Content-Length says")
            self._left -= len(body)
            self._transport.write(body)
        if not more:
            self._end()

    def _end(self) -> None:
        if self._left:
            raise RuntimeError("the answer is shorter than its Content-Length says")
        self.complete = True
        self._news.set()
        if not self.keep_alive:
            self._transport.close()
        if self._done is not None:
            self._done()


def _status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def closing_answer(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bytes:
    """An answer in one piece, after which the connection ends."""
    lines = [b"%s: %s\r\n" % header for header in headers]
    return b"".join([_status_line(status), *lines, b"connection: close\r\n\r\n", body])
