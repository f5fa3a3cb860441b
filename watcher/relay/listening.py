"""Listening on Redis pub/sub, and noticing when there is nobody at the other end any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from redis.asyncio.client import PubSub

__all__ = ["SILENCE", "confirmed", "listen"]

#: A server that doesn't answer for this long is taken for frozen, in seconds …
SILENCE: Final = 4.0
#: … and is asked this often.
_ASK: Final = 1.0


async def confirmed(pubsub: PubSub) -> None:
    """Wait until Redis has confirmed a subscription that was asked for.

    :raises TimeoutError: it doesn't answer.
    """
    while (message := await pubsub.get_message(timeout=SILENCE)) is None or not message["type"].endswith("subscribe"):
        if message is None:
            raise TimeoutError(f"no answer for {SILENCE:g} s")


async def listen(pubsub: PubSub, handle: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Hand each message to ``handle`` until something breaks; never returns.

    :param handle: awaited before the next message is read.
    :raises TimeoutError: the server is silent; a frozen one breaks no connection.
    :raises redis.RedisError: the connection broke.
    :raises ConnectionError: it was renewed unasked, so that messages may have been missed.
    """
    answered = anyio.current_time()

    async def ask() -> None:
        while True:
            await anyio.sleep(_ASK)
            if anyio.current_time() - answered > SILENCE:
                raise TimeoutError(f"no answer for {SILENCE:g} s")
            with anyio.fail_after(SILENCE):
                await pubsub.ping()

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        async for message in pubsub.listen():
            answered = anyio.current_time()
            if message["type"].endswith("subscribe"):
                raise ConnectionError("the subscription was renewed unasked")
            if message["type"].endswith("message"):
                await handle(message)
