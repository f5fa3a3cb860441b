"""A reader of server-sent events: the format of the HTML standard, 9.2, and coming back as EventSource does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anyio
import httpx

#: A stream that is silent for so long is taken for dead, in seconds.
_SILENCE = 30


@dataclass(frozen=True)
class Message:
    """One event that would be dispatched."""

    kind: str
    data: str
    id: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Parser:
    """From lines to messages; ``last`` is what a browser would come back with, ``retry`` after how many seconds."""

    def __init__(self) -> None:
        self.last = self._whole = ""
        self.retry = 3.0
        self.comments = 0
        self._reset()

    def cut(self) -> None:
        """The connection is gone: what was not complete is nobody's, and its id isn't either."""
        self._reset()
        self.last = self._whole

    def _reset(self) -> None:
        self._kind, self._data = "message", list[str]()

    def line(self, line: str) -> Message | None:
        """Take a line, without its end; returns the message that it completes."""
        if not line:
            data, kind = "\n".join(self._data), self._kind
            self._reset()
            self._whole = self.last
            return Message(kind, data, self.last) if data else None
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not field:
            self.comments += 1
        elif field == "event":
            self._kind = value
        elif field == "data":
            self._data.append(value)
        elif field == "id":
            self.last = value
        elif field == "retry" and value.isdigit():
            self.retry = int(value) / 1000
        return None

    def all(self, text: str) -> Iterator[Message]:
        """The messages of a whole text."""
        for line in text.split("\n"):
            if (message := self.line(line)) is not None:
                yield message


class Reader:
    """One response, read as it comes."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.parser = Parser()
        self._lines = response.aiter_lines()

    async def __aiter__(self) -> AsyncIterator[Message]:
        async for line in self._lines:
            if (message := self.parser.line(line)) is not None:
                yield message

    async def take(self, count: int, timeout: float = 10) -> list[Message]:
        """The next so many messages."""
        found: list[Message] = []
        with anyio.fail_after(timeout):
            while len(found) < count:
                message = self.parser.line(await anext(self._lines))
                if message is not None:
                    found.append(message)
        return found

    async def until_position(self, position: str, timeout: float = 10) -> None:
        """Read on until a browser would come back with this id."""
        with anyio.fail_after(timeout):
            while self.parser.last != position:
                self.parser.line(await anext(self._lines))

    async def end(self, timeout: float = 10) -> list[Message]:
        """What still comes until the response is complete."""
        with anyio.fail_after(timeout):
            return [message async for message in self]


@asynccontextmanager
async def reading(client: httpx.AsyncClient, *channels: str, **options: Any) -> AsyncIterator[Reader]:
    """A response to ``GET /api/events``, for the time of an `async with` block.

    :param options: ``since``, ``token``, ``headers``.
    """
    parameters: list[tuple[str, Any]] = [("channel", channel) for channel in channels]
    parameters += [(name, options[name]) for name in ("since", "token") if name in options]
    headers = options.get("headers", {})
    async with client.stream("GET", "/api/events", params=parameters, headers=headers, timeout=30) as response:
        if response.status_code != 200:
            await response.aread()
        yield Reader(response)


class EventSource:
    """A stream that comes back by itself, as a browser's does: after ``retry``, with the id that it has come to.

    :param client: one for all streams.
    :param url: of the stream, its parameters included.
    """

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url
        self._parser = Parser()
        #: How often it has been connected.
        self.connections = 0

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            headers = {"Last-Event-ID": self._parser.last} if self._parser.last else {}
            with suppress(httpx.TransportError):
                async with self._client.stream("GET", self._url, headers=headers, timeout=_SILENCE) as response:
                    assert response.status_code == 200, "a browser would not come back"
                    self.connections += 1
                    async for line in response.aiter_lines():
                        if (message := self._parser.line(line)) is not None:
                            yield message
            self._parser.cut()
            await anyio.sleep(self._parser.retry)
