"""A client that sends what it likes, byte by byte, to a relay with short times."""

from __future__ import annotations

import json
import re
import select
import socket
import struct
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from tests.support.processes import Relay

#: What the relay here allows.
HEADER = BODY = IDLE = CONNECT = 1
COMMANDS = 5000
SETTINGS = {
    "WATCHER_HEADER_TIMEOUT": str(HEADER),
    "WATCHER_BODY_TIMEOUT": str(BODY),
    "WATCHER_IDLE_TIMEOUT": str(IDLE),
    "WATCHER_CONNECT_TIMEOUT": str(CONNECT),
    "WATCHER_MAX_COMMANDS": str(COMMANDS),
}
UPGRADE = (
    "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
GET = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = "POST /api/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Raw:
    """A TCP connection."""

    def __init__(self, to: Relay) -> None:
        self.socket = socket.create_connection(("127.0.0.1", int(to.url.rpartition(":")[2])), timeout=15)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: str | bytes) -> None:
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def trickle(self, data: str, pause: float = 0.1) -> float:
        """Send a byte now and then until the relay has answered or hung up; returns after how many seconds it did."""
        start = time.monotonic()
        for byte in data.encode():
            with suppress(ConnectionError):
                self.socket.send(bytes((byte,)))
            if select.select([self.socket], [], [], pause)[0]:
                break
        return time.monotonic() - start

    def answer(self) -> bytes:
        """All that comes until the relay ends the connection."""
        got = b""
        try:
            while data := self.socket.recv(65536):
                got += data
        except ConnectionError:
            pass
        return got

    def upgraded(self) -> Raw:
        """Say hello as a WebSocket does, and read the answer."""
        self.send(UPGRADE + "\r\n")
        got = b""
        while not got.endswith(b"\r\n\r\n"):
            got += self.socket.recv(1)
        assert got.startswith(b"HTTP/1.1 101 ")
        return self

    def code(self) -> int:
        """What the relay ends a WebSocket with."""
        answer = self.answer()
        (code,) = struct.unpack("!H", re.findall(rb"\x88.(..)[ -~]*$", answer, re.DOTALL)[-1])
        return int(code)


def status(answer: bytes) -> tuple[int, str]:
    """Status and kind of a problem; of several answers the last one's."""
    head, _, body = answer[answer.rindex(b"HTTP/1.1") :].partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, answer
    assert b"nosniff" in head
    problem = json.loads(body)
    assert problem["status"] == int(head.split()[1])
    return problem["status"], problem["type"].rpartition(":")[2]


def text(data: bytes, *, fin: bool = True, opcode: Opcode = Opcode.TEXT) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=True)


def counted(serving: Relay, limit: str) -> float:
    with urllib.request.urlopen(f"{serving.url}/metrics", timeout=10) as response:
        (found,) = re.findall(rf'watcher_limits_reached_total{{limit="{limit}"}} (\S+)', response.read().decode())
        return float(found)


@contextmanager
def talking(serving: Relay) -> Iterator[ClientConnection]:
    """A client that has connected."""
    with connect(serving.ws_url, compression=None) as one:
        one.send('{"id":1,"connect":{}}')
        assert '"id":1,"connect"' in str(one.recv(timeout=10))
        yield one
