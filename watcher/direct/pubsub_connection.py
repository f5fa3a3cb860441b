"""The one connection that listens: it comes back by itself, and asks for what is wanted in few commands."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final, Protocol

import anyio
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from watcher.core.backoff import TO_REDIS
from watcher.direct.subscriptions import Interest
from watcher.journal.subscriber import Message, Subscription, subscribed

__all__ = ["REFUSALS", "PubSubConnection", "PubSubHandler"]

logger = logging.getLogger("watcher.direct")

#: What Redis answers when asking again makes no difference.
REFUSALS: Final = (ResponseError, AuthenticationError)
#: So many names go into one command.
_AT_ONCE: Final = 500


class PubSubHandler(Protocol):
    """Takes what a connection hears. Nothing here may block."""

    def opened(self) -> None:
        """The connection is open, for the first time or again: messages in between were missed."""

    def ready(self, name: str) -> None:
        """The subscription to ``name`` is active."""

    def rung(self, name: str) -> None:
        """Something was published about ``name``."""

    def on_batch(self, data: bytes) -> None:
        """A message came on the home channel."""

    def refused(self, error: Exception) -> None:
        """Redis refused the subscription."""


class PubSubConnection:
    """One subscriber connection, kept for as long as :meth:`run` runs.

    :param redis: a client that neither decodes nor retries.
    :param home: a channel that it is always subscribed to.
    :param prefix: of the channels of all other names.
    :param interest: which these are; after a change to it :meth:`stir` is to be called.
    """

    def __init__(self, redis: Redis, home: str, prefix: str, interest: Interest[Any], handler: PubSubHandler) -> None:
        self._redis = redis
        self._home = home.encode()
        self._prefix = prefix
        self._interest = interest
        self._handler = handler
        self._stirred = anyio.Event()
        #: Whether it listens just now.
        self.open = False

    def stir(self) -> None:
        """What is wanted has changed."""
        self._stirred.set()

    async def run(self) -> None:
        """Listen; returns never, ends by cancellation."""
        attempt = 0
        while True:
            try:
                async with subscribed(self._redis, self._home.decode()) as subscription:
                    self._begin()
                    attempt = 0
                    await self._work(subscription)
            except* REFUSALS as errors:
                error = _first(errors)
                logger.warning("Redis refused the subscription: %s", error)
                self._handler.refused(error)
            except* (RedisError, OSError, TimeoutError) as errors:
                log = logger.warning if self.open else logger.debug
                log("the connection to Redis broke (%s); retrying", _text(_first(errors)))
            finally:
                self.open = False
            await anyio.sleep(TO_REDIS.seconds(attempt))
            attempt += 1

    def _begin(self) -> None:
        self._interest.renew()
        self.open = True
        self._handler.opened()

    async def _work(self, subscription: Subscription) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._ask, subscription)
            await subscription.listen(self._hear, confirm=self._confirm)

    async def _ask(self, subscription: Subscription) -> None:
        """Tell Redis what is wanted, whenever that changes: much at once while there is much."""
        while True:
            subscribe, unsubscribe = self._interest.change(_AT_ONCE)
            if unsubscribe:
                await subscription.tell("UNSUBSCRIBE", *map(self._channel, unsubscribe))
            if subscribe:
                await subscription.tell("SUBSCRIBE", *map(self._channel, subscribe))
            if not (subscribe or unsubscribe):
                await self._stirred.wait()
                self._stirred = anyio.Event()

    def _channel(self, name: str) -> bytes:
        return f"{self._prefix}{name}".encode()

    def _name(self, channel: bytes) -> str:
        return channel.decode(errors="replace").removeprefix(self._prefix)

    def _confirm(self, channel: bytes) -> None:
        if channel == self._home:
            raise ConnectionError("the connection was replaced")
        name = self._name(channel)
        if self._interest.confirm(name):
            self._handler.ready(name)

    def _hear(self, messages: Sequence[Message]) -> int:
        for channel, data in messages:
            if channel == self._home:
                self._handler.on_batch(data)
            else:
                self._handler.rung(self._name(channel))
        return len(messages)


def _first(errors: BaseExceptionGroup[Any]) -> Exception:
    error: Any = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error  # type: ignore[no-any-return]  # a group holds exceptions


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
