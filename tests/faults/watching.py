"""A watcher: a client of the protocol that comes back by itself, and keeps account of all that it was told."""

from __future__ import annotations

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import anyio
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

_RANKS = {"PENDING": 0, "RECEIVED": 1, "STARTED": 2, "RETRY": 4, "SUCCESS": 6}
_RANKS |= dict.fromkeys(("FAILURE", "REVOKED", "REJECTED", "IGNORED"), 5)
_PROGRESS, _FINAL = 3, 5
#: Close codes up to this one mean: come back (https://github.com/centrifugal/centrifuge, disconnect.go).
_LAST_TEMPORARY = 3499
_OPEN_SECONDS = 5


class Told(msgspec.Struct):
    """An event."""

    id: str
    state: str
    timestamp: float
    source: str
    retries: int = 0
    reason: str | None = None
    late: bool = False
    result: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def standing(self) -> tuple[int, int, float]:
        return (self.retries, _RANKS.get(self.state, _PROGRESS), self.timestamp)

    @property
    def final(self) -> bool:
        return _RANKS.get(self.state, _PROGRESS) >= _FINAL


class Publication(msgspec.Struct):
    data: Told
    offset: int


class Unsubscribed(msgspec.Struct):
    code: int = 0


class Push(msgspec.Struct):
    pub: Publication | None = None
    unsubscribe: Unsubscribed | None = None


class Subscribed(msgspec.Struct):
    epoch: str
    offset: int = 0
    recovered: bool = False
    publications: list[Publication] = []


class Message(msgspec.Struct):
    id: int = 0
    push: Push | None = None
    subscribe: Subscribed | None = None
    error: dict[str, Any] | None = None


class Watcher:
    """Watches `tasks` from its beginning, on whichever relay is there.

    :param urls: of the relays' WebSockets; each connection takes one by chance.
    """

    _decoder = msgspec.json.Decoder(Message)

    def __init__(self, urls: Sequence[str], chance: random.Random) -> None:
        self._urls = urls
        self._chance = chance
        self.epoch, self.offset = "", 0
        self.epochs: list[str] = []
        #: What must never be: an offset that doesn't follow, an error, a code that ends it for good.
        self.faults: list[str] = []
        #: The events that ended a task, by epoch and task.
        self.ends: defaultdict[tuple[str, str], list[Told]] = defaultdict(list)
        self.states: Counter[str] = Counter()
        #: Task → the event that stands highest.
        self.tasks: dict[str, Told] = {}
        #: Seconds from each event to its arrival here.
        self.delays: list[float] = []
        self.closings: Counter[int] = Counter()
        self.connections = self.unsubscribed = self.unrecovered = self.refused = 0
        self.connected = False

    async def run(self) -> None:
        """Watch until cancelled."""
        waits = 0
        while True:
            try:
                url = self._chance.choice(self._urls)
                async with connect(
                    url, max_size=None, ping_interval=None, compression=None, open_timeout=_OPEN_SECONDS
                ) as socket:
                    waits = 0
                    await self._watch(socket)
            except ConnectionClosed as closed:
                self._closed(closed.rcvd.code if closed.rcvd else 1006)
            except (OSError, TimeoutError, InvalidHandshake, InvalidMessage):
                self.refused += 1
            self.connected = False
            waits = min(waits + 1, 5)
            await anyio.sleep(self._chance.uniform(0.02, 0.05 * 2**waits))

    def _closed(self, code: int) -> None:
        self.closings[code] += 1
        if code > _LAST_TEMPORARY:
            self.faults.append(f"closed for good, with code {code}")

    async def _watch(self, socket: ClientConnection) -> None:
        await socket.send('{"id":1,"connect":{}}')
        await self._subscribe(socket)
        while True:
            frame = await socket.recv(decode=False)
            for message in map(self._decoder.decode, frame.split(b"\n")):
                if message.push is not None and message.push.pub is not None:
                    self._take(message.push.pub)
                else:
                    await self._other(socket, message)

    async def _subscribe(self, socket: ClientConnection) -> None:
        request = {"channel": "tasks", "recover": True, "epoch": self.epoch, "offset": self.offset}
        await socket.send(json.dumps({"id": 2, "subscribe": request}))

    async def _other(self, socket: ClientConnection, message: Message) -> None:
        if message.error is not None:
            self.faults.append(f"error {message.error}")
        elif message.subscribe is not None:
            self._subscribed(message.subscribe)
        elif message.push is not None and message.push.unsubscribe is not None:
            self.unsubscribed += 1
            if message.push.unsubscribe.code < 2500:
                self.faults.append(f"unsubscribed for good, with code {message.push.unsubscribe.code}")
            await self._subscribe(socket)
        elif not message.id:
            await socket.send("{}")

    def _subscribed(self, answer: Subscribed) -> None:
        found = answer.publications
        if not answer.recovered:
            self.unrecovered += 1
            self.offset = found[0].offset - 1 if found else answer.offset
        elif self.epoch and answer.epoch != self.epoch:
            self.faults.append(f"recovered from epoch {self.epoch} to {answer.epoch}")
        if answer.epoch != self.epoch:
            self.epochs.append(answer.epoch)
            self.epoch = answer.epoch
        for publication in found:
            self._take(publication)
        if answer.offset != self.offset:
            self.faults.append(f"the reply says {answer.offset}, its events end at {self.offset}")
        self.connections += 1
        self.connected = True

    def _take(self, publication: Publication) -> None:
        if publication.offset != self.offset + 1:
            self.faults.append(f"offset {publication.offset} after {self.offset} in epoch {self.epoch}")
        self.offset = publication.offset
        event = publication.data
        self.delays.append(time.time() - event.timestamp)
        self.states[event.state] += 1
        if event.final and not event.late:
            self.ends[self.epoch, event.id].append(event)
        self._know(event)

    def _know(self, event: Told) -> None:
        if event.id not in self.tasks or event.standing >= self.tasks[event.id].standing:
            self.tasks[event.id] = event

    def has_ended(self, identity: str) -> bool:
        """Whether it was told how the task ended."""
        return identity in self.tasks and self.tasks[identity].final

    async def ask(self, identities: Sequence[str]) -> None:
        """Ask a relay for tasks: what a client does that was told that it may have missed something.

        It asks on a connection of its own, so what it watches may have told of an end that an answer lacks yet.
        """
        async with connect(self._urls[0], max_size=None, ping_interval=None, compression=None) as socket:
            await socket.send('{"id":1,"connect":{}}')
            await socket.recv()
            for number, identity in enumerate(identities, start=2):
                await socket.send(json.dumps({"id": number, "rpc": {"method": "get", "data": {"id": identity}}}))
            answers: list[dict[str, Any]] = []
            while len(answers) < len(identities):
                heard = map(json.loads, str(await socket.recv(decode=True)).split("\n"))
                answers += [message for message in heard if message]  # and no ping
        for answer in answers:
            task = answer["rpc"]["data"]["task"]
            if task is not None:
                self._know(msgspec.json.decode(json.dumps(task), type=Told))
