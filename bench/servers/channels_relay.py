"""A peer: a Django Channels consumer on uvicorn, groups, with the Redis channel layer.

channels_relay.py PORT REDIS_URL
"""

from __future__ import annotations

import sys
from typing import Any

import django
import uvicorn
from django.conf import settings

if __name__ == "__main__":
    # The layer drops what goes beyond its capacity or waits too long: here nothing is to be lost.
    layer = {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [sys.argv[2]], "capacity": 1_000_000, "expiry": 3600},
    }
    settings.configure(CHANNEL_LAYERS={"default": layer}, ALLOWED_HOSTS=["*"], INSTALLED_APPS=["channels"])
    django.setup()

    from channels.generic.websocket import AsyncWebsocketConsumer

    class Consumer(AsyncWebsocketConsumer):  # type: ignore[misc]
        """A client that is in one group."""

        async def connect(self) -> None:
            await self.channel_layer.group_add(self.scope["path"].removeprefix("/sub/"), self.channel_name)
            await self.accept()
            await self.send(text_data="subscribed")

        async def bench_event(self, event: dict[str, Any]) -> None:
            await self.send(text_data=event["text"])

    consumer = Consumer.as_asgi()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404})
            await send({"type": "http.response.body"})
        elif scope["type"] == "websocket":
            await consumer(scope, receive, send)

    uvicorn.run(
        application, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", lifespan="off",
        ws_per_message_deflate=False,
    )  # fmt: skip
