"""A peer: websockets with its own ``broadcast()``, fed by redis.asyncio. One task reads Redis for all.

broadcast.py PORT REDIS_URL
"""

from __future__ import annotations

import asyncio
import sys
from http import HTTPStatus

import redis.asyncio as redis
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.http11 import Request, Response


async def main(port: int, url: str) -> None:
    subscribers: dict[str, set[ServerConnection]] = {}
    pubsub = redis.Redis.from_url(url, protocol=2).pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe("-")

    def not_a_page(connection: ServerConnection, request: Request) -> Response | None:
        return None if request.path.startswith("/sub/") else connection.respond(HTTPStatus.NOT_FOUND, "")

    async def handler(connection: ServerConnection) -> None:
        channel = connection.request.path.removeprefix("/sub/") if connection.request else ""
        if channel not in subscribers:
            subscribers[channel] = set()
            await pubsub.subscribe(channel)
        subscribers[channel].add(connection)
        await connection.send("subscribed")
        try:
            await connection.wait_closed()
        finally:
            subscribers[channel].discard(connection)

    async with serve(handler, "127.0.0.1", port, compression=None, process_request=not_a_page):
        async for message in pubsub.listen():
            broadcast(subscribers.get(message["channel"].decode(), ()), message["data"].decode())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
