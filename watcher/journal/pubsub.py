"""Listening on Redis pub/sub, and noticing when the server is gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from redis.asyncio.client import PubSub

from watcher.journal._redis import tell

__all__ = ["SILENCE", "confirmed", "keep_asking", "listen", "tell"]

logger = logging.getLogger(__name__)

#: A server that doesn't answer for this long is taken for frozen, in seconds …
SILENCE: Final = 4.0
#: … and is asked this often.
_ASK: Final = 1.0
#: anyio's clock looks for the running event loop first, which up to Python 3.11 asks the kernel for the process's id.
_now: Final = time.monotonic


async def confirmed(pubsub: PubSub) -> None:
    """Wait until Redis has confirmed a subscription that was asked for.

    :raises TimeoutError: it doesn't answer.
    """
    while (message := await pubsub.get_message(timeout=SILENCE)) is None or not message["type"].endswith("subscribe"):
        if message is None:
            raise TimeoutError(f"no answer for {SILENCE:g} s")


async def keep_asking(answered: Callable[[], float], ping: Callable[[], Awaitable[None]]) -> None:
    """Check now and then whether the server is there; never returns.

    :param answered: tells when it was last heard of, in seconds of :func:`time.monotonic`.
    :param ping: asks it to answer.
    :raises TimeoutError: it is silent.
    """
    while True:
        before = _now()
        await anyio.sleep(_ASK)
        now = _now()
        # An event loop that was held up has not read yet what the server said meanwhile.
        if now - answered() > SILENCE and now - before < SILENCE / 2:
            raise TimeoutError(f"no answer for {SILENCE:g} s")
        with anyio.fail_after(SILENCE):
            await ping()


async def listen(
    pubsub: PubSub,
    handle: Callable[[dict[str, Any]], Awaitable[None]],
    confirm: Callable[[bytes], None] | None = None,
) -> None:
    """Hand each message to ``handle`` until something breaks; never returns.

    :param handle: awaited before the next message is read.
    :param confirm: given each channel whose subscription Redis confirms; it raises ConnectionError where nobody asked.
        None where nothing more is going to be subscribed to.
    :raises TimeoutError: the server is silent; a frozen one breaks no connection.
    :raises redis.RedisError: the connection broke.
    :raises ConnectionError: it was renewed unasked, so that messages may have been missed.
    """
    answered = _now()

    async with anyio.create_task_group() as group:
        group.start_soon(keep_asking, lambda: answered, lambda: tell(pubsub, "PING"))
        async for message in pubsub.listen():
            answered = _now()
            kind = message["type"]
            if kind.endswith("subscribe"):
                if confirm is None:
                    raise ConnectionError("the connection was replaced")
                if kind == "subscribe":
                    confirm(message["channel"])
            elif kind.endswith("message"):
                await handle(message)
