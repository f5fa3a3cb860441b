"""A peer: the relay that people write by hand with Starlette (or FastAPI): a queue and a task for each connection.

starlette_relay.py PORT REDIS_URL
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import redis.asyncio as redis
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect


def application(url: str) -> Starlette:
    queues: dict[str, set[asyncio.Queue[str]]] = {}
    pubsub = redis.Redis.from_url(url, protocol=2).pubsub(ignore_subscribe_messages=True)

    async def read() -> None:
        await pubsub.subscribe("-")
        async for message in pubsub.listen():
            for queue in queues.get(message["channel"].decode(), ()):
                queue.put_nowait(message["data"].decode())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        reader = asyncio.create_task(read())
        yield
        reader.cancel()

    async def subscribe(socket: WebSocket) -> None:
        channel, queue = socket.path_params["channel"], asyncio.Queue[str]()
        await socket.accept()
        if channel not in queues:
            queues[channel] = set()
            await pubsub.subscribe(channel)
        queues[channel].add(queue)
        await socket.send_text("subscribed")
        sender = asyncio.create_task(send(socket, queue))
        with suppress(WebSocketDisconnect):
            while True:
                await socket.receive_text()
        sender.cancel()
        queues[channel].discard(queue)

    async def send(socket: WebSocket, queue: asyncio.Queue[str]) -> None:
        while True:
            await socket.send_text(await queue.get())

    return Starlette(routes=[WebSocketRoute("/sub/{channel}", subscribe)], lifespan=lifespan)


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="error",
        ws_per_message_deflate=False,
    )
