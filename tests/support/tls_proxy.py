"""TLS in front of a server that has none: what terminates it is a real end of a real handshake."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from anyio.from_thread import start_blocking_portal

from tests.support.certificates import Authority


@contextmanager
def tls_in_front_of(port: int, authority: Authority) -> Iterator[int]:
    """A port where clients with a certificate of ``authority``'s are led to ``port``, and no others.

    :param port: of a server on 127.0.0.1.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.cert, authority.key)
    context.load_verify_locations(authority.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(_leading(port, context)) as own:
        yield own


@asynccontextmanager
async def _leading(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way[writer] = asyncio.Event()
        far, out = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_copy(reader, out), _copy(far, writer))
        under_way.pop(writer).set()

    under_way: dict[asyncio.StreamWriter, asyncio.Event] = {}
    server = await asyncio.start_server(lead, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer, ended in list(under_way.items()):
            writer.transport.abort()
            await asyncio.wait_for(ended.wait(), 5)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
