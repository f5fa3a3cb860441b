"""Channels of Redis, heard where they arrive: in order, whatever is done with what is heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from socket import socketpair

import anyio
import pytest
from anyio.lowlevel import checkpoint
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.journal import subscriber as subscriber_module
from watcher.journal.connect_async import async_client
from watcher.journal.subscriber import Message, Subscriber, subscribed

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Redis]:
    async with async_client(valkey.url()) as client:
        yield client


class Ear:
    """Takes no more than so many messages of one read; the next one is taken slowly."""

    def __init__(self, most: int = 1_000_000) -> None:
        self.heard: list[bytes] = []
        self.reads: list[int] = []
        self.slowly: list[bytes] = []
        self._most = most

    def take(self, messages: Sequence[Message]) -> int:
        self.reads.append(len(messages))
        taken = [message.data for message in messages[: self._most]]
        self.heard += taken
        return len(taken)

    async def take_slowly(self, message: Message) -> None:
        await checkpoint()
        self.slowly.append(message.data)
        self.heard.append(message.data)


async def publish(redis: Redis, first: int, last: int) -> None:
    async with redis.pipeline(transaction=False) as pipeline:
        for number in range(first, last):
            await pipeline.publish("here", str(number))
        await pipeline.execute()


def numbers(count: int) -> list[bytes]:
    return [str(number).encode() for number in range(count)]


async def test_what_comes_before_anybody_listens_waits(redis: Redis) -> None:
    ear = Ear()
    async with subscribed(redis, "here") as subscriber:
        await publish(redis, 0, 10_000)
        async with anyio.create_task_group() as group:
            group.start_soon(subscriber.listen, ear.take, ear.take_slowly)
            await eventually(lambda: len(ear.heard) == 10_000, what="what was published before")
            await publish(redis, 10_000, 20_000)
            await eventually(lambda: len(ear.heard) == 20_000, what="what was published since")
            group.cancel_scope.cancel()
    assert ear.heard == numbers(20_000)
    assert not ear.slowly
    assert len(ear.reads) < 2000, "what one read brought is handed on together"


class Wire(asyncio.Transport):
    """The transport of a connection that nobody reads from."""

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def test_what_comes_with_the_confirmation_waits_too() -> None:
    ear, subscriber = Ear(), Subscriber(Wire())
    confirmation = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nhere\r\n:1\r\n"
    messages = b"".join(b"*3\r\n$7\r\nmessage\r\n$4\r\nhere\r\n$1\r\n%d\r\n" % number for number in range(5))
    async with anyio.create_task_group() as group:
        group.start_soon(subscriber.subscribe, "here")
        await checkpoint()
        subscriber.data_received(confirmation + messages[:-20])
        subscriber.data_received(messages[-20:])
    async with anyio.create_task_group() as group:
        group.start_soon(subscriber.listen, ear.take, ear.take_slowly)
        await eventually(lambda: ear.heard == numbers(5), what="what came with the confirmation")
        group.cancel_scope.cancel()
    assert not ear.slowly


async def test_what_is_no_answer_of_redis_ends_the_connection() -> None:
    subscriber = Subscriber(Wire())
    subscriber.data_received(b"HTTP/1.1 400 Bad Request\r\n")
    with pytest.raises(RedisConnectionError, match="invalid data from Redis"):
        await subscriber.subscribe("here")


async def test_a_server_that_loads_its_data_refuses_nobody() -> None:
    subscriber = Subscriber(Wire())
    subscriber.data_received(b"-LOADING Redis is loading the dataset in memory\r\n")
    with pytest.raises(RedisConnectionError, match="LOADING"):
        await subscriber.subscribe("here")


async def test_what_is_not_taken_at_once_is_taken_slowly_and_in_order(redis: Redis) -> None:
    ear = Ear(most=3)
    async with subscribed(redis, "here") as subscriber, anyio.create_task_group() as group:
        group.start_soon(subscriber.listen, ear.take, ear.take_slowly)
        for first in range(0, 1000, 100):
            await publish(redis, first, first + 100)
        await eventually(lambda: len(ear.heard) == 1000, what="all that was published")
        group.cancel_scope.cancel()
    assert ear.heard == numbers(1000)
    assert len(ear.slowly) > 10


async def test_a_connection_that_breaks_is_told_of(redis: Redis) -> None:
    async def broken() -> None:
        ear = Ear()
        async with subscribed(redis, "here") as subscriber, anyio.create_task_group() as group:
            group.start_soon(subscriber.listen, ear.take, ear.take_slowly)
            await redis.client_kill_filter(_type="pubsub")

    with pytest.raises(ExceptionGroup) as raised:
        await broken()
    assert raised.group_contains(RedisConnectionError, match="the connection broke")


async def test_who_may_not_listen_is_told_so(valkey: Valkey, redis: Redis) -> None:
    await redis.acl_setuser("deaf", enabled=True, nopass=True, keys=["*"], categories=["+@all"], reset_channels=True)
    try:
        async with async_client(valkey.url(), username="deaf", password="any") as deaf:
            with pytest.raises(ResponseError, match="NOPERM"):
                async with subscribed(deaf, "here"):
                    raise AssertionError("it is subscribed")
    finally:
        await redis.acl_deluser("deaf")


async def test_an_error_of_who_hears_ends_the_listening(redis: Redis) -> None:
    def fail(messages: Sequence[Message]) -> int:
        raise ZeroDivisionError

    async def failing() -> None:
        async with subscribed(redis, "here") as subscriber, anyio.create_task_group() as group:
            group.start_soon(subscriber.listen, fail, Ear().take_slowly)
            await publish(redis, 0, 1)

    with pytest.raises(ExceptionGroup) as raised:
        await failing()
    assert raised.group_contains(ZeroDivisionError)


class Fed(Wire):
    """One with a socket in which something may wait to be read."""

    def __init__(self) -> None:
        super().__init__()
        self.other, self.socket = socketpair()

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.socket if name == "socket" else default


def message(size: int) -> bytes:
    return b"*3\r\n$7\r\nmessage\r\n$4\r\nhere\r\n$%d\r\n%s\r\n" % (size, b"x" * size)


async def test_while_there_is_more_than_a_read_brings_it_is_gathered() -> None:
    wire, ear = Fed(), Ear()
    with wire.socket, wire.other:
        subscriber = Subscriber(wire)
        async with anyio.create_task_group() as group:
            group.start_soon(subscriber.listen, ear.take, ear.take_slowly)
            await eventually(lambda: subscriber._take, what="somebody to listen")
            wire.other.send(b"more")
            subscriber.data_received(message(300_000))
            assert not ear.reads, "the next read brings more"
            subscriber.data_received(message(100))
            assert ear.reads == [2], "a read that brought little brought all that there was"
            for _ in range(5):
                subscriber.data_received(message(300_000))
            assert ear.reads == [2, 4], "not without end"
            wire.socket.recv(100)
            subscriber.data_received(message(300_000))
            assert ear.reads == [2, 4, 2], "there is no more"
            group.cancel_scope.cancel()


class Closed(Wire):
    """One that is closed, as uvloop's are: it bears nothing any more."""

    def is_closing(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        raise RuntimeError("the handler is closed")

    def pause_reading(self) -> None:
        raise RuntimeError("the handler is closed")

    def resume_reading(self) -> None:
        raise RuntimeError("the handler is closed")


async def test_closed_transport_raises_only_a_connection_error() -> None:
    subscriber = Subscriber(Closed())
    subscriber.data_received(b"*3\r\n$9\r\nsubscribe\r\n$4\r\nhere\r\n:1\r\n")
    await subscriber._ask()
    subscriber.connection_lost(None)
    with pytest.raises(ExceptionGroup) as raised:
        await subscriber.listen(Ear().take, Ear().take_slowly)
    assert raised.group_contains(RedisConnectionError, match="the connection broke")


async def test_messages_are_handed_on_before_the_subscription_that_is_confirmed_after_them() -> None:
    subscriber, order = Subscriber(Wire()), list[bytes]()

    def take(messages: Sequence[Message]) -> int:
        order.extend(message.data for message in messages)
        return len(messages)

    async with anyio.create_task_group() as group:
        group.start_soon(subscriber.listen, take, None, order.append)
        await eventually(lambda: subscriber._take, what="somebody to listen")
        confirmed = b"*3\r\n$9\r\nsubscribe\r\n$5\r\nthere\r\n:2\r\n"
        subscriber.data_received(message(1) + message(2) + confirmed + message(3))
        group.cancel_scope.cancel()
    assert order == [b"x", b"xx", b"there", b"xxx"]


async def test_who_tells_waits_while_the_server_takes_no_more() -> None:
    subscriber, told = Subscriber(Wire()), list[str]()

    async def tell(name: str) -> None:
        await subscriber.tell("SUBSCRIBE", name)
        told.append(name)

    subscriber.pause_writing()
    async with anyio.create_task_group() as group:
        group.start_soon(tell, "first")
        for _ in range(3):
            await checkpoint()
        assert not told
        subscriber.resume_writing()
    assert told == ["first"]
    subscriber.pause_writing()

    async def broken() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(tell, "second")
            await checkpoint()
            subscriber.connection_lost(None)

    with pytest.raises(ExceptionGroup) as raised:
        await broken()
    assert raised.group_contains(RedisConnectionError, match="the connection broke")
    assert told == ["first"]


class Reticent:
    """One of redis-py's connections, as a version of it may have them that keeps its stream to itself."""

    def __init__(self, connection: object) -> None:
        self.__dict__["_connection"] = connection

    def __getattr__(self, name: str) -> object:
        if name == "_writer":
            raise AttributeError(name)
        return getattr(self._connection, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._connection, name, value)


async def test_subscriber_falls_back_if_redis_py_hides_its_stream(
    redis: Redis, valkey: Valkey, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It says so once in a process, which both loops share here.
    monkeypatch.setattr(subscriber_module, "_warned", False)
    make: Callable[[], object] = redis.connection_pool.make_connection
    monkeypatch.setattr(redis.connection_pool, "make_connection", lambda: Reticent(make()))
    async with async_client(valkey.url()) as other:
        await hear_a_thousand(redis, other, Ear())
        slow = Ear(0)
        await hear_a_thousand(redis, other, slow)
    assert len(slow.slowly) == 1000
    assert len([text for text in caplog.messages if "events are read more slowly" in text]) == 1


@pytest.mark.parametrize("way", ["fast", "redis-py's"])
async def test_patterns_and_later_subscriptions_either_way(
    redis: Redis, valkey: Valkey, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way != "fast":
        make: Callable[[], object] = redis.connection_pool.make_connection
        monkeypatch.setattr(redis.connection_pool, "make_connection", lambda: Reticent(make()))
    heard, confirmed = list[Message](), list[bytes]()

    def take(messages: Sequence[Message]) -> int:
        heard.extend(messages)
        return len(messages)

    async with (
        async_client(valkey.url()) as other,
        subscribed(redis, "task-*", pattern=True) as subscription,
        anyio.create_task_group() as group,
    ):
        group.start_soon(subscription.listen, take, None, confirmed.append)
        await other.publish("task-a", "1")
        await other.publish("else", "2")
        await eventually(lambda: len(heard) == 1, what="the message on a channel of the pattern")
        await subscription.tell("SUBSCRIBE", b"else", "more")
        await eventually(lambda: confirmed == [b"else", b"more"], what="both to be confirmed")
        await other.publish("else", "3")
        await eventually(lambda: len(heard) == 2, what="the message on the other channel")
        await subscription.tell("UNSUBSCRIBE", "else")
        await eventually(lambda: subscribers(valkey, "else") == 0, what="nobody to listen there")
        group.cancel_scope.cancel()
    assert heard == [(b"task-a", b"1"), (b"else", b"3")]


def subscribers(valkey: Valkey, channel: str) -> int:
    with valkey.client() as client:
        return int(dict(client.pubsub_numsub(channel))[channel.encode()])


async def hear_a_thousand(redis: Redis, other: Redis, ear: Ear) -> None:
    async with subscribed(redis, "here") as subscriber:
        await publish(other, 0, 500)
        async with anyio.create_task_group() as group:
            group.start_soon(subscriber.listen, ear.take, ear.take_slowly)
            await eventually(lambda: len(ear.heard) == 500, what="the messages from before")
            await publish(other, 500, 1000)
            await eventually(lambda: len(ear.heard) == 1000, what="all messages")
            group.cancel_scope.cancel()
    assert ear.heard == [str(number).encode() for number in range(1000)]
