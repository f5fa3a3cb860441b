"""A peer: python-socketio on uvicorn, rooms, with its Redis manager.

socketio_server.py PORT REDIS_URL
"""

from __future__ import annotations

import sys

import socketio
import uvicorn

if __name__ == "__main__":
    server = socketio.AsyncServer(async_mode="asgi", client_manager=socketio.AsyncRedisManager(sys.argv[2]))

    @server.event  # type: ignore[untyped-decorator]
    async def subscribe(sid: str, channel: str) -> None:
        await server.enter_room(sid, channel)
        await server.emit("subscribed", channel, to=sid)

    uvicorn.run(
        socketio.ASGIApp(server), host="127.0.0.1", port=int(sys.argv[1]), log_level="error",
        ws_per_message_deflate=False,
    )  # fmt: skip
