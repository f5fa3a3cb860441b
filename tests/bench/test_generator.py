"""The load generator counts what is there: each message once, however it is cut, and what is missing."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from bench.events import FIRST, SIZE, message
from bench.generator import Generator, Subscription
from watcher.centrifuge.frames import frame, frames
from watcher.core.event import decode
from watcher.core.order import rank
from watcher.journal.layout import BATCH_EVENTS

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")

SUBSCRIPTION = Subscription("/at/{n}", (("subscribe {n}", "subscribed"),), ping="{}", pong="{}")


@contextmanager
def generator(handler: Callable[[ServerConnection], None], clients: int = 1) -> Iterator[Generator]:
    """Clients of a server whose connections are handled by ``handler`` once they are subscribed."""

    def whole(connection: ServerConnection) -> None:
        number = connection.request.path.rpartition("/")[2] if connection.request else ""
        assert connection.recv() == f"subscribe {number}"
        connection.send("subscribed")
        handler(connection)
        connection.recv()  # until the generator leaves

    with serve(whole, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with Generator(server.socket.getsockname()[1], clients, SUBSCRIPTION) as load:
                yield load
        finally:
            server.shutdown()
            thread.join()


def told(numbers: Sequence[int], age: float = 0.0) -> list[bytes]:
    then = time.time_ns() - int(age * 1e9)
    return [b'{"push":{"data":{"meta":{"n":%d,"t":%d,"text":"%s"}}}}' % (FIRST + n, then, b"x" * n) for n in numbers]


def counted(pieces: Sequence[bytes], messages: int) -> dict[str, Any]:
    """What the generator counts of bytes that are sent piece by piece."""

    def send(connection: ServerConnection) -> None:
        for piece in pieces:
            connection.socket.sendall(piece)

    with generator(send) as load:
        assert load.wait_for(messages, quiet=1)
        return load.mark()


@pytest.mark.parametrize("seed", range(5))
def test_each_message_counts_once_however_it_is_cut(seed: int) -> None:
    chance = random.Random(seed)
    texts, data, made = told(range(600)), b"", 0
    while texts:
        together = chance.choice((1, 1, 3, 40, 250))
        data += frame(b"\n".join(texts[:together]))
        texts, made = texts[together:], made + 1
    pieces = []
    while data:
        size = chance.choice((1, 2, 5, 100, 5000, 50_000))
        pieces.append(data[:size])
        data = data[size:]
    said = counted(pieces, 600)
    assert (said["messages"], said["holes"], said["duplicates"]) == (600, 0, 0)
    assert said["frames"] in (made, made + 1), "with or without the reply, which may have come before"


def test_what_is_missing_and_what_comes_twice_is_seen() -> None:
    said = counted([frames(told([0, 1, 2, 5, 6, 6, 7]))], 7)
    assert (said["messages"], said["holes"], said["duplicates"]) == (7, 2, 1)


def test_latency_is_from_the_time_in_the_message() -> None:
    said = counted([frames(told(range(90), age=20) + told(range(90, 100), age=100))], 100)
    # In milliseconds, and right within 1.6 %; a busy machine adds to it.
    assert 19_600 <= said["p50"] < 22_000
    assert 98_000 <= said["p99"] < 106_000


def test_a_ping_is_answered() -> None:
    answers: list[object] = []

    def ping(connection: ServerConnection) -> None:
        connection.send("{}")
        answers.append(connection.recv())
        connection.socket.sendall(frames(told([0])))

    with generator(ping) as load:
        assert load.wait_for(1)
    assert answers == ["{}"]


def test_a_connection_that_the_server_ends_is_told_of() -> None:
    def leave(connection: ServerConnection) -> None:
        connection.socket.sendall(frames(told([0])))
        if connection.request and connection.request.path.endswith("/1"):
            connection.close()

    with generator(leave, clients=3) as load:
        load.wait_for(3)
        closed = 0
        while not closed:
            closed = load.mark()["closed"]
        assert closed == 1


def test_what_is_published_are_events() -> None:
    for unicast in (True, False):
        for count in range(BATCH_EVENTS):
            made = message(count, 100, unicast=unicast)
            event = decode(made.line)
            assert len(made.line) == SIZE
            assert (made.id, made.standing[6:7], made.standing[25:]) == (event.id, str(rank(event.state)), event.state)
