"""Listening on Redis pub/sub over a connection that breaks."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import RedisError

from tests.faults.proxy import Proxy
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.core.errors import SettingError
from watcher.journal.connect_async import async_client
from watcher.journal.pubsub import confirmed, listen, tell

pytestmark = pytest.mark.anyio


async def test_listener_does_not_reconnect_when_cut_during_a_handler(valkey: Valkey) -> None:
    """Whoever asks whether Redis is there must not read from the connection that the listener reads from too."""
    async with Proxy(valkey.host, valkey.port).running() as proxy:
        redis = async_client(proxy.url())
        pubsub = redis.pubsub()
        try:
            await pubsub.subscribe("here")
            await confirmed(pubsub)

            async def handle(_message: dict[str, Any]) -> None:
                proxy.change("silent")  # so that a renewed connection is still being greeted when the handler is done
                proxy.cut()
                await eventually(lambda: proxy.served > 1, what="somebody to connect again")

            with valkey.client() as speaking:
                speaking.publish("here", "hello")
            with pytest.raises(ExceptionGroup) as raised:
                await listen(pubsub, handle)
            (error,) = raised.value.exceptions
            assert isinstance(error, ConnectionError | RedisError), error
            assert proxy.served == 1
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py's
            await redis.aclose()


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])  # as in a relay
async def test_a_connection_that_breaks_while_it_is_written_to_says_so(valkey: Valkey) -> None:
    async with async_client(valkey.url()) as redis:
        pubsub = redis.pubsub()
        await pubsub.subscribe("here")
        await confirmed(pubsub)
        assert pubsub.connection is not None
        writer = pubsub.connection._writer
        assert writer is not None
        writer.transport.abort()
        await eventually(lambda: "closed=True" in repr(writer.transport), what="the transport to be closed")
        with pytest.raises((RedisError, ConnectionError)):
            await tell(pubsub, "PING")
        await pubsub.aclose()


async def test_what_only_blocking_connections_can_do_is_said_in_one_line() -> None:
    with pytest.raises(SettingError, match=r"^Redis='rediss://h/0' is not accepted: redis-py has no ssl_validate_ocsp"):
        _ = async_client("rediss://h/0?ssl_validate_ocsp=1")
