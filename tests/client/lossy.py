"""A proxy that loses what the relay answers, and cuts connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio


class Lossy:
    """Forwards a port of its own to a relay; ``deaf`` swallows everything on the way back."""

    def __init__(self) -> None:
        self.url = ""
        self.deaf = False
        self.passed = 0
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """End all connections without a word."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other, onward = await asyncio.open_connection("127.0.0.1", port)
        self._writers |= {writer, onward}
        async with anyio.create_task_group() as group:
            group.start_soon(self._pass, reader, onward, False)
            group.start_soon(self._pass, other, writer, True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if back and self.deaf:
                    continue
                writer.write(data)
                self.passed += 0 if back else len(data)
        writer.transport.abort()
        self._writers.discard(writer)


@asynccontextmanager
async def lossy(url: str) -> AsyncIterator[Lossy]:
    """A proxy before the relay at ``url``."""
    proxy = Lossy()
    port = int(url.rpartition(":")[2])
    server = await asyncio.start_server(lambda r, w: proxy.serve(port, r, w), "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()
