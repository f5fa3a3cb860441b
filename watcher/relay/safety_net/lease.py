"""A lease in Redis: of all relays one holds it, and does what only one should do."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from redis.asyncio import Redis

from watcher.core.backoff import Backoff
from watcher.journal.scripts import RELEASE, RENEW

__all__ = ["ASK", "Lease", "LeaseLost"]

#: A holder that died is followed after this long, in milliseconds.
_TTL: Final = 5000
#: It is renewed this often, in seconds …
_EVERY: Final = 1.5
#: … and asked for at least so often.
ASK: Final = Backoff(first=_EVERY, longest=_EVERY)


class LeaseLost(Exception):
    """Another process holds the lease now."""


class Lease:
    """A lease under one key.

    :param redis: a client that doesn't decode.
    """

    def __init__(self, redis: Redis, key: str) -> None:
        self._redis = redis
        self._key = key
        self._holder = secrets.token_hex(8)
        self._renew = redis.register_script(RENEW)
        self._release = redis.register_script(RELEASE)

    async def hold(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, then do ``work`` as long as it is held; it is given back at the end, however that comes.

        :raises LeaseLost: it was lost on the way, in a group of exceptions.
        :raises redis.RedisError: Redis is away, likewise.
        """
        while True:
            if await self._redis.set(self._key, self._holder, nx=True, px=_TTL) or await self._renewed():
                break  # it may be held still, from before Redis was away
            await anyio.sleep(ASK.seconds(0))
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._keep)
                await work()
                group.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(1, shield=True):
                await self._release(keys=[self._key], args=[self._holder])

    async def _keep(self) -> None:
        while True:
            await anyio.sleep(_EVERY)
            if not await self._renewed():
                raise LeaseLost(f"the lease {self._key} is another's")

    async def _renewed(self) -> bool:
        return bool(await self._renew(keys=[self._key], args=[self._holder, _TTL]))
