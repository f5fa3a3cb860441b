"""Floods, and somebody else who submits meanwhile: what each costs those who come from another address.

    python -m bench floods --rounds 3          all of them: half an hour
    python -m bench floods-list floods-revoke  some

Each flood comes from one, or from five, addresses of the loopback network, in a process of its own, as fast as the
relay takes it, with a token that grants next to nothing. The other one, a process too, submits five tasks a second, in
turn over HTTP and over the WebSocket; quiet seconds and flooded ones follow each other.

    python -m bench.floods good PORT TOKEN PID              reads seconds, a line each, and says how long answers took
    python -m bench.floods flood KIND PORT TOKEN ADDRESSES  until its input ends
"""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import socket
import sys
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import anyio
from anyio.to_thread import run_sync
from websockets.frames import Frame, Opcode

from bench.machine import cpu_seconds

#: Where the one who submits comes from, and the first of those who flood.
GOOD: Final = "127.0.0.9"
FLOOD: Final = "127.0.1.{}"
#: Submissions a second.
RATE: Final = 5
#: The task whose stored result is large, and the root that a task with very many events has.
LARGE: Final = "large"
DEEP: Final = "deep"

UPGRADE: Final = (
    b"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_numbers = itertools.count(2)


@dataclass(frozen=True)
class Kind:
    """One kind of flood.

    :param said: the next that is said: a command, or a request's path, or all of it, by the token.
    :param grants: what its token grants. ``token``: what it comes with instead.
    :param connections: of each address. ``together``: commands of a frame, or requests in a row.
    :param reopen: whether each request has a connection of its own, which ends once something has come.
    """

    said: Callable[[], Any]
    grants: dict[str, Any]
    connections: int = 4
    together: int = 1
    reopen: bool = False
    token: str | None = None


def rpc(method: str, **data: Any) -> dict[str, Any]:
    return {"rpc": {"method": method, "data": data}}


def chosen() -> dict[str, Any]:
    return rpc("submit", task="tasks.add", args=[1, 2], options={"task_id": str(uuid.uuid4())})


_ILL: Final = json.dumps({"task": "tasks.add", "args": list(range(120_000))}).encode()
_NOTHING: Final[dict[str, Any]] = {"watch": ["task:none"]}
_TASKS: Final[dict[str, Any]] = {"watch": ["tasks"]}

KINDS: Final[dict[str, Kind]] = {
    "look-ups": Kind(lambda: rpc("get", id=str(uuid.uuid4())), _NOTHING, together=500),
    "subscribe": Kind(
        lambda: {"subscribe": {"channel": f"task:{uuid.uuid4()}"}}, {"watch": ["task:*"]},
        connections=8, together=400, reopen=True,
    ),
    "submit": Kind(chosen, {"submit": ["tasks.add"]}, together=100),
    "revoke": Kind(lambda: rpc("revoke", id=str(uuid.uuid4())), {"revoke": True}, together=500),
    "registry": Kind(lambda: rpc("registry"), _NOTHING, together=500),
    "list": Kind(lambda: "/api/tasks?state=NOSUCH", _NOTHING, connections=8),
    "list-all": Kind(lambda: "/api/tasks?limit=1000", _TASKS, connections=8),
    "get": Kind(lambda: f"/api/tasks/{uuid.uuid4()}", _NOTHING, connections=8),
    "result": Kind(lambda: f"/api/tasks/{LARGE}/result", _TASKS, connections=8),
    "sse": Kind(lambda: "/api/events?channel=task:none", _NOTHING, connections=32, reopen=True),
    "history": Kind(lambda: {"history": {"channel": "tasks", "limit": -1}}, _TASKS, together=50),
    "recover": Kind(
        lambda: {"subscribe": {"channel": "tasks", "recover": True, "offset": 1, "epoch": ""}}, _TASKS,
        connections=32, reopen=True,
    ),
    "root": Kind(
        lambda: {"subscribe": {"channel": f"root:{DEEP}"}}, {"watch": ["root:*"]}, connections=32, reopen=True
    ),
    "metrics": Kind(lambda: "/metrics", _TASKS, connections=8),
    "openapi": Kind(lambda: "/api/openapi.json", _NOTHING, connections=8),
    "static": Kind(lambda: "/watcher.js", _NOTHING, connections=8),
    "token": Kind(lambda: "/api/registry", _NOTHING, connections=8, token="refused"),
    "body": Kind(lambda: _ILL, {"submit": ["tasks.add"]}, connections=8),
}  # fmt: skip


def framed(text: bytes) -> bytes:
    return Frame(Opcode.TEXT, text).serialize(mask=True)


class Flood:
    """All of its connections; ``served`` counts bytes that came back."""

    def __init__(self, kind: Kind, port: int, token: str) -> None:
        self._kind, self._port, self._token = kind, port, token
        self.heard = 0

    async def run(self, address: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with socket.socket() as raw, suppress(OSError):
                raw.setblocking(False)
                raw.bind((address, 0))
                await loop.sock_connect(raw, ("127.0.0.1", self._port))
                if isinstance(self._kind.said(), dict):
                    await self._greet(raw)
                if self._kind.reopen:
                    await loop.sock_sendall(raw, self._next())
                    self.heard += len(await loop.sock_recv(raw, 1 << 20))
                    continue
                async with anyio.create_task_group() as group:
                    group.start_soon(self._read, raw, group.cancel_scope)
                    with suppress(OSError):
                        while True:
                            await loop.sock_sendall(raw, self._next())
                    group.cancel_scope.cancel()
            await anyio.sleep(0.05)

    async def _greet(self, raw: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(raw, UPGRADE)
        await loop.sock_recv(raw, 4096)
        await loop.sock_sendall(raw, framed(json.dumps({"id": 1, "connect": {"token": self._token}}).encode()))
        await loop.sock_recv(raw, 4096)

    def _next(self) -> bytes:
        said = [self._kind.said() for _ in range(self._kind.together)]
        if isinstance(said[0], dict):
            return framed("\n".join(json.dumps({"id": next(_numbers), **each}) for each in said).encode())
        return b"".join(self._request(each) for each in said)

    def _request(self, said: str | bytes) -> bytes:
        line = b"POST /api/tasks" if isinstance(said, bytes) else f"GET {said}".encode()
        body = said if isinstance(said, bytes) else b""
        head = b"%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n" % (line, self._token.encode())
        if body:
            head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        return head + b"\r\n" + body

    async def _read(self, raw: socket.socket, scope: anyio.CancelScope) -> None:
        with suppress(OSError):
            while data := await asyncio.get_running_loop().sock_recv(raw, 1 << 20):
                self.heard += len(data)
        scope.cancel()


async def flood(name: str, port: int, token: str, addresses: int) -> None:
    """Flood until the input ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    kind = KINDS[name]
    running = Flood(kind, port, token)
    async with anyio.create_task_group() as group:
        for number in range(addresses):
            for _ in range(kind.connections):
                group.start_soon(running.run, FLOOD.format(number + 1))
        print("ready", flush=True)
        await run_sync(sys.stdin.read, abandon_on_cancel=True)
        group.cancel_scope.cancel()
    print(running.heard, flush=True)


class Good:
    """Somebody who submits, in turn by a request and by a command; the WebSocket stays open."""

    def __init__(self, port: int, token: str, pid: int) -> None:
        self._port, self._token, self._pid = port, token, pid
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self.took: list[float] = []
        self.worked: list[float] = []
        self.refused: list[str] = []

    async def run(self, seconds: float) -> None:
        """Submit for so long, each when it is due: one that is late makes none of the others late."""
        begun = anyio.current_time()
        self.took, self.worked, self.refused = [], [], []
        async with anyio.create_task_group() as group:
            for number in range(round(seconds * RATE)):
                await anyio.sleep_until(begun + number / RATE)
                group.start_soon(self._one, self._request if number % 2 else self._command)

    async def _one(self, submit: Callable[[], Coroutine[Any, Any, str]]) -> None:
        start, before = anyio.current_time(), cpu_seconds([self._pid])
        try:
            with anyio.fail_after(10):
                why = await submit()
        except (TimeoutError, OSError, EOFError) as error:
            why = f"{type(error).__name__} {error}"
        if why:
            self.refused.append(why)
        else:
            self.took.append(anyio.current_time() - start)
            self.worked.append(cpu_seconds([self._pid]) - before)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port, local_addr=(GOOD, 0))

    async def _request(self) -> str:
        """Why it is refused; empty where it isn't."""
        reader, writer = await self._connect()
        body = json.dumps({"task": "tasks.add", "args": [1, 2]}).encode()
        writer.write(
            b"POST /api/tasks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (self._token.encode(), len(body)) + body
        )
        answer = await reader.read()
        writer.close()
        return "" if answer.startswith(b"HTTP/1.1 202") else answer[-300:].decode()

    async def _command(self) -> str:
        if self._writer is None:
            raise RuntimeError("it listens first")
        number = next(_numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        said = {"id": number, **rpc("submit", task="tasks.add", args=[1, 2])}
        self._writer.write(framed(json.dumps(said).encode()))
        return await self._waiting[number]

    async def listen(self, ready: anyio.Event) -> None:
        """Connect a WebSocket, and take what comes until the relay ends it."""
        reader, self._writer = await self._connect()
        self._writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        self._waiting[1] = asyncio.get_running_loop().create_future()
        self._writer.write(framed(json.dumps({"id": 1, "connect": {"token": self._token}}).encode()))
        while True:
            size = (await reader.readexactly(2))[1]
            if size == 126:
                size = int.from_bytes(await reader.readexactly(2), "big")
            for text in (await reader.readexactly(size)).splitlines():
                reply = json.loads(text)
                if not reply:
                    self._writer.write(framed(b"{}"))
                elif "id" in reply and (asked := self._waiting.pop(reply["id"], None)) and not asked.done():
                    asked.set_result(reply["error"]["message"] if "error" in reply else "")
            ready.set()


async def good(port: int, token: str, pid: int) -> None:
    """Submit for as many seconds as each line of the input says, and say how long the answers took."""
    one, ready = Good(port, token, pid), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(one.listen, ready)
        await ready.wait()
        print("ready", flush=True)
        while line := await run_sync(sys.stdin.readline):
            await one.run(float(line))
            print(json.dumps({"took": one.took, "worked": one.worked, "refused": one.refused}), flush=True)
        group.cancel_scope.cancel()


def main() -> None:
    role, *given = sys.argv[1:]
    if role == "good":
        asyncio.run(good(int(given[0]), given[1], int(given[2])))
    else:
        asyncio.run(flood(given[0], int(given[1]), given[2], int(given[3])))


if __name__ == "__main__":
    main()
