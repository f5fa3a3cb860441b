"""A TCP proxy that does to a connection what networks do: cut it, keep it open and silent, delay it, crumble it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

Manner = Literal["pass", "silent", "slow", "crumbs"]
_Queue = asyncio.Queue[tuple[float, bytes]]

_DELAY = 0.2
_READ = 64 * 1024
_WAITING = 64


class _Ended(Exception):
    """One side has ended the connection."""


class Proxy:
    """Forwards connections on a port of its own to ``target``, in a manner that can be changed at any time."""

    def __init__(self, host: str, port: int) -> None:
        #: Where new connections are led to.
        self.target = (host, port)
        self._manner: Manner = "pass"
        self._changed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.served = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        """Serve for the time of an `async with` block."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.change("pass")
            self.cut()

    def url(self, database: int = 0) -> str:
        """The redis:// URL of a database behind it."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def change(self, manner: Manner) -> None:
        """From now on forward in this manner: at once, not at all, 200 ms later, or byte by byte."""
        self._manner = manner
        self._changed.set()
        self._changed = asyncio.Event()

    def cut(self) -> None:
        """End all connections without a word."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served += 1
        try:
            upstream, downstream = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, downstream}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as group:
                for source, drain in ((reader, downstream), (upstream, writer)):
                    queue = _Queue(_WAITING)
                    group.create_task(self._read(source, queue))
                    group.create_task(self._write(queue, drain))
        except* (_Ended, OSError):
            pass
        finally:
            self._writers -= pair
            for each in pair:
                each.transport.abort()

    async def _read(self, reader: asyncio.StreamReader, queue: _Queue) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(_READ):
            await queue.put((loop.time() + (_DELAY if self._manner == "slow" else 0), data))
        raise _Ended

    async def _write(self, queue: _Queue, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await queue.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            await self._forward(data, writer)

    async def _forward(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        for index in range(len(data)):
            while self._manner == "silent":
                await self._changed.wait()
            if self._manner != "crumbs":
                writer.write(data[index:])
                break
            writer.write(data[index : index + 1])
            await asyncio.sleep(0)
        await writer.drain()
