"""An answer as it leaves: how its end is marked, and what becomes of an application that goes wrong."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watcher.relay.http.exchange import Exchange, FlowControl

pytestmark = pytest.mark.anyio

START: Message = {"type": "http.response.start", "status": 200, "headers": []}


class Wire(asyncio.Transport):
    """It takes everything."""

    def __init__(self) -> None:
        self.taken = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.taken += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def sending(*messages: Message, error: Exception | None = None) -> ASGIApp:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        if error is not None:
            raise error

    return application


def exchange(wire: Wire, method: str = "GET", **options: Any) -> tuple[Exchange, list[bool]]:
    done: list[bool] = []
    given = {"keep_alive": True, "expects_continue": False, **options}
    made = Exchange(
        {"method": method}, wire, FlowControl(wire), [(b"date", b"today")], lambda: done.append(True), **given
    )
    return made, done


def body(data: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> Message:
    return {**START, "status": status, "headers": headers}


@pytest.mark.parametrize(
    ("method", "messages", "expected"),
    [
        ("GET", [start(200, (b"Content-Length", b"2")), body(b"o", more=True), body(b"k")],
         b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 2\r\n\r\nok"),
        ("GET", [start(), body(b"o", more=True), body(more=True), body(b"kkk")],
         b"HTTP/1.1 200 OK\r\ndate: today\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n3\r\nkkk\r\n0\r\n\r\n"),
        ("HEAD", [start(200, (b"content-length", b"2")), body(b"ok")],
         b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 2\r\n\r\n"),
        ("GET", [start(304), body()], b"HTTP/1.1 304 Not Modified\r\ndate: today\r\n\r\n"),
        ("GET", [start(299, (b"content-length", b"0")), body()],
         b"HTTP/1.1 299 \r\ndate: today\r\ncontent-length: 0\r\n\r\n"),
    ],
    ids=["length", "chunks", "head", "bodiless", "odd status"],
)  # fmt: skip
async def test_an_answer_says_where_it_ends(method: str, messages: list[Message], expected: bytes) -> None:
    wire = Wire()
    made, done = exchange(wire, method)
    await made.run(sending(*messages))
    assert wire.taken == expected
    assert (made.complete, done, wire.closed) == (True, [True], False)


@pytest.mark.parametrize("headers", [(), ((b"Connection", b"keep-alive, Close"),)])
async def test_a_connection_that_is_not_kept_says_so_once(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    wire = Wire()
    made, done = exchange(wire, keep_alive=bool(headers))
    await made.run(sending(start(204, *headers), body()))
    assert wire.taken.lower().count(b"close") == 1
    assert (wire.closed, done) == (True, [True])


@pytest.mark.parametrize(
    ("application", "says"),
    [
        (sending(error=ValueError("it broke")), "500"),
        (sending(), "500"),
        (sending(body(b"first")), "500"),
        (sending(start()), "200"),
        (sending(start(), error=ValueError("it broke")), "200"),
        (sending(start(200, (b"x", b"1\r\ny: 2"))), ""),
        (sending(start(200, (b"x y", b"1"))), ""),
        (sending(start(200, (b"content-length", b"1")), body(b"too long")), "200"),
        (sending(start(200, (b"content-length", b"9")), body(b"short")), "200"),
    ],
)
async def test_an_application_that_goes_wrong_ends_its_connection_only(
    application: ASGIApp, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    wire = Wire()
    made, _ = exchange(wire)
    with caplog.at_level(logging.ERROR):
        await made.run(application)
    assert wire.closed
    assert wire.taken.partition(b"\r\n")[0].decode() == (f"HTTP/1.1 {says} {REASONS[says]}" if says else "")
    assert b"it broke" not in wire.taken
    assert len(caplog.records) == 1


REASONS = {"200": "OK", "500": "Internal Server Error"}


async def test_a_client_that_asks_for_leave_gets_it_once_the_body_is_wanted() -> None:
    wire = Wire()
    made, _ = exchange(wire, expects_continue=True)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        assert wire.taken == b""
        made.feed(b"hello")
        made.feed_end()
        assert await receive() == {"type": "http.request", "body": b"hello", "more_body": False}
        assert wire.taken == b"HTTP/1.1 100 Continue\r\n\r\n"
        await send(start(204))
        await send(body())

    await made.run(application)
    assert made.complete


async def test_whoever_waits_for_a_client_that_goes_is_told() -> None:
    wire = Wire()
    made, done = exchange(wire)
    heard: list[Message] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append(await receive())
        await send(start())

    async with anyio.create_task_group() as group:
        group.start_soon(made.run, application)
        await anyio.lowlevel.checkpoint()
        made.disconnect()
    assert heard == [{"type": "http.disconnect"}]
    assert (wire.taken, done) == (b"", [])
