"""A plain client of the relay's WebSocket: it says what it is told to say, and keeps what it hears."""

from __future__ import annotations

import itertools
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

Json = dict[str, Any]

#: Where the kernel tells of it: struct tcp_info, tcpi_data_segs_in (linux/tcp.h).
_SEGMENTS = slice(152, 156)


class Client:
    """One connection; replies are awaited by their number, and pushes are kept in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._replies: dict[int, Json] = {}
        self.pushes: list[Json] = []
        self.pings = 0
        self.frames = 0
        self.closed: tuple[int, str] | None = None
        self._heard = anyio.Event()

    async def listen(self) -> None:
        """Read until the connection ends."""
        with suppress(ConnectionClosedError):
            async for frame in self._socket:
                self.frames += 1
                for text in str(frame).split("\n"):
                    await self._take(json.loads(text))
                self._wake()
        self.closed = (self._socket.close_code or 0, self._socket.close_reason or "")
        self._wake()

    async def _take(self, message: Json) -> None:
        if not message:
            self.pings += 1
            await self._socket.send("{}")
        elif "push" in message:
            self.pushes.append(message["push"])
        else:
            self._replies[message["id"]] = message

    def segments(self) -> int:
        """How many TCP segments with data have come: one for each write that is no longer than a segment (Linux)."""
        raw: socket.socket = self._socket.transport.get_extra_info("socket")
        info = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SEGMENTS.stop)
        return int.from_bytes(info[_SEGMENTS], sys.byteorder)

    def vanish(self) -> None:
        """Drop the connection without a word."""
        self._socket.transport.abort()

    def _wake(self) -> None:
        self._heard.set()
        self._heard = anyio.Event()

    async def until(self, ready: Callable[[], Any], what: str, timeout: float = 20) -> Any:
        """Wait until `ready()` is true, looking again whenever something was heard."""
        try:
            with anyio.fail_after(timeout):
                while not (value := ready()):
                    await self._heard.wait()
                return value
        except TimeoutError:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}; closed: {self.closed}") from None

    async def send(self, **command: Any) -> int:
        """Say something, and return its number."""
        number = next(self._numbers)
        await self._socket.send(json.dumps({"id": number, **command}))
        return number

    async def send_text(self, text: str) -> None:
        """Send a frame as it is."""
        await self._socket.send(text)

    async def answer(self, number: int, timeout: float = 20) -> Json:
        """The reply to what was said under this number."""
        await self.until(lambda: number in self._replies, f"the reply to command {number}", timeout)
        return self._replies.pop(number)

    async def ask(self, timeout: float = 20, **command: Any) -> Json:
        """Say something, and wait for the reply."""
        return await self.answer(await self.send(**command), timeout)

    async def subscribe(self, channel: str = "tasks", **request: Any) -> Json:
        """Subscribe, and return the result."""
        reply = await self.ask(subscribe={"channel": channel, **request})
        assert "subscribe" in reply, reply
        return dict(reply["subscribe"])

    async def rpc(self, method: str, **data: Any) -> Json:
        """Call a method, and return its data."""
        reply = await self.ask(rpc={"method": method, "data": data})
        assert "rpc" in reply, reply
        return dict(reply["rpc"]["data"])

    def publications(self, channel: str = "tasks") -> list[tuple[int, Json]]:
        """What has been pushed on a channel, as (offset, event)."""
        return [(p["pub"]["offset"], p["pub"]["data"]) for p in self.pushes if p["channel"] == channel and "pub" in p]

    def states(self, identity: str, channel: str = "tasks") -> list[str]:
        """The states that a task has been pushed in."""
        return [event["state"] for _, event in self.publications(channel) if event["id"] == identity]

    async def until_final(self, identity: str, channel: str = "tasks", timeout: float = 30) -> Json:
        """Wait for the event that ends a task."""
        final = {"SUCCESS", "FAILURE", "REVOKED", "REJECTED", "IGNORED"}

        def ended() -> Json | None:
            told = (e for _, e in self.publications(channel) if e["id"] == identity and e["state"] in final)
            return next(told, None)

        return dict(
            await self.until(ended, f"the end of task {identity}, seen so far: {self.states(identity)}", timeout)
        )


@asynccontextmanager
async def client(url: str, *, token: str = "", say_connect: bool = True, **options: Any) -> AsyncIterator[Client]:
    """A connected client, listening, for the time of an `async with` block."""
    async with connect(url, max_size=None, ping_interval=None, compression=None, **options) as socket:
        speaking = Client(socket)
        async with anyio.create_task_group() as group:
            group.start_soon(speaking.listen)
            if say_connect:
                reply = await speaking.ask(connect={"token": token} if token else {})
                assert "connect" in reply, reply
            yield speaking
            group.cancel_scope.cancel()
