"""Lines of standard input, without blocking the event loop, whatever standard input is."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from select import select
from typing import Final

import anyio

__all__ = ["lines"]

_CHUNK: Final = 65536


class _Reader:
    """Reads a chunk whenever it is asked to, in a thread, because files and terminals can't be waited for like sockets.

    The thread is a daemon that may stand in ``read`` as the program ends; so it uses no buffered file, whose lock the
    interpreter would want then.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._asked = threading.Semaphore(0)
        self._chunks: deque[bytes] = deque()
        self._came = anyio.Event()
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    async def chunk(self) -> bytes:
        """The next bytes; none at the end."""
        self._asked.release()
        await self._came.wait()
        self._came = anyio.Event()
        return self._chunks.popleft()

    def _read(self) -> None:
        chunk = b"-"
        while chunk and self._asked.acquire():
            chunk = self._chunk()
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._arrived, chunk)

    def _chunk(self) -> bytes:
        while True:
            try:
                return os.read(self._descriptor, _CHUNK)
            except BlockingIOError:  # the program that started this one made it so
                select([self._descriptor], [], [])
            except OSError:
                return b""

    def _arrived(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._came.set()


async def lines(descriptor: int = 0) -> AsyncIterator[bytes]:
    """The lines that a file descriptor gives, without their ends; read no further ahead than 64 KiB."""
    reader, rest = _Reader(descriptor), b""
    while chunk := await reader.chunk():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest
