"""A stage for the page: it serves the page's files, and says over a real WebSocket exactly what a test wants said.

It is no relay: it keeps a list of events, answers with what is in it, and has the handles that a test of the page
needs and a relay must not have (say something twice in one frame, break off, forget). What page and relay do together
is tested with a real one, in test_with_relay.py.
"""

from __future__ import annotations

import json
import mimetypes
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from http import HTTPStatus
from threading import Lock, Thread
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import msgspec
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from tests.support.processes import ROOT
from watcher.core.event import Task, decode, fold
from watcher.core.filters import parse

Json: TypeAlias = dict[str, Any]

WEB = ROOT / "web"
#: Nothing but the page's own files, no inline script or style, and no markup made of text.
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

#: When the first event happens, in Unix seconds.
_START = 1_700_000_000.0


class Refusal(Exception):
    """What an rpc method of a test raises to be answered as an error."""

    def __init__(self, code: int, message: str, *, temporary: bool = False) -> None:
        super().__init__(message)
        self.error: Json = {"code": code, "message": message, **({"temporary": True} if temporary else {})}


class Silence(Exception):
    """What an rpc method of a test raises to leave the caller without an answer."""


class Stage:
    """What is played to the page; everything may be changed while it is connected."""

    def __init__(self) -> None:
        self.url = ""
        self.epoch = "e1"
        self.offset = 0
        self.ping = 25.0
        #: What it answers to requests for numbers, by path; nothing is known of others.
        self.answers: dict[str, Json] = {}
        #: What it says that the time is, in Unix seconds; None: nothing.
        self.clock: float | None = None
        #: Events up to this offset can't be had any more.
        self.trimmed = 0
        #: The token that it takes, the error for clients with another, and how many seconds that token lives.
        self.token = ""
        self.token_error = 101
        self.ttl = 0
        #: The globs of channels that a client is told it may watch; None: everything.
        self.watch: list[str] | None = None
        #: Tasks that the list leaves out.
        self.hidden: set[str] = set()
        #: Channels that nobody may subscribe to.
        self.forbidden: set[str] = set()
        self.registry: list[Json] = []
        self.methods: dict[str, Callable[[Json], Json]] = {"registry": lambda _: {"tasks": self.registry}}
        #: Pushed in the same frame as the next reply to a subscription, before and after it.
        self.ahead: list[Json] = []
        self.along: list[Json] = []
        #: Every command that came, and every path that was asked for, in order.
        self.commands: list[Json] = []
        self.paths: list[str] = []
        self.texts: list[str] = []
        self.clients: list[ServerConnection] = []
        self._events: list[tuple[int, Json]] = []
        self._tasks: dict[str, Task] = {}
        self._watching: dict[str, list[ServerConnection]] = defaultdict(list)
        self._lock = Lock()

    def emit(self, identity: str, state: str, **fields: Any) -> Json:
        """Let an event happen, and say so to those who watch it."""
        event = self.happen(identity, state, **fields)
        with self._lock:
            for channel in ("tasks", f"task:{identity}"):
                for client in self._watching[channel]:
                    send(client, self.publication(channel, event, self.offset))
        return event

    def happen(self, identity: str, state: str, **fields: Any) -> Json:
        """Let an event happen without a word: watchers have to ask for it."""
        event = {"id": identity, "state": state, "timestamp": _START + self.offset, "source": "signal", **fields}
        with self._lock:
            self.offset += 1
            self._events.append((self.offset, event))
            self._tasks[identity] = fold(self._tasks.get(identity), decode(json.dumps(event).encode()), self.offset)
        return event

    @staticmethod
    def publication(channel: str, event: Json, offset: int) -> Json:
        """A push of one event."""
        return {"push": {"channel": channel, "pub": {"data": event, "offset": offset}}}

    def push(self, *messages: Json) -> None:
        """Say something to everyone, in one frame."""
        for client in self.clients:
            send(client, *messages)

    def drop(self, code: int = 3001, reason: str = "shutdown") -> None:
        """Break off with everyone."""
        for client in list(self.clients):
            client.close(code, reason)

    def lose_journal(self, epoch: str) -> None:
        """Begin a new epoch, with nothing in it."""
        with self._lock:
            self.epoch, self.offset, self._events, self._tasks = epoch, 0, [], {}

    def sent(self, kind: str) -> list[Json]:
        """The bodies of all commands of one kind that came."""
        return [command[kind] for command in self.commands if kind in command]

    def respond(self, _: ServerConnection, request: Request) -> Response | None:
        """Answer an HTTP request; None lets it become a WebSocket."""
        address = urlsplit(request.path)
        if address.path == "/connection/websocket":
            return None
        self.paths.append(request.path)
        if address.path == "/api/tasks":
            return self._list_tasks(parse_qs(address.query).get("filter", [""])[0])
        if address.path in ("/api/counts", "/api/series", "/api/names"):
            return answer(json.dumps(self.answers.get(address.path)).encode(), "application/json")
        if address.path == "/blank":
            return answer(b"<!doctype html><link rel=icon href=icon.svg>", "text/html")
        file = WEB / (address.path.removeprefix("/") or "index.html")
        if not file.is_file():
            return answer(b"", "text/plain", HTTPStatus.NOT_FOUND)
        kind = "text/javascript" if file.suffix == ".js" else mimetypes.guess_type(file.name)[0]
        return answer(file.read_bytes(), kind or "application/octet-stream")

    def _list_tasks(self, text: str) -> Response:
        now = self.clock or time.time()
        wanted = parse(text)
        with self._lock:
            seen = [task for task in self._tasks.values() if task.id not in self.hidden and wanted.matches(task, now)]
            newest_first = sorted(seen, key=lambda task: -task.offset)[:1000]
            body = {"tasks": newest_first, "epoch": self.epoch, "offset": self.offset, "next": ""}
            return answer(msgspec.json.encode(body), "application/json", clock=self.clock)

    def converse(self, client: ServerConnection) -> None:
        """One client's conversation."""
        self.clients.append(client)
        try:
            for text in client:
                assert isinstance(text, str)
                self.texts.append(text)
                for line in text.split("\n"):
                    if line != "{}":
                        self._answer(client, json.loads(line))
        except ConnectionClosed:
            pass
        finally:
            with self._lock:
                self.clients.remove(client)
                for watchers in self._watching.values():
                    if client in watchers:
                        watchers.remove(client)

    def _answer(self, client: ServerConnection, command: Json) -> None:
        self.commands.append(command)
        try:
            if "subscribe" in command:
                self._subscribe(client, command["id"], command["subscribe"])
            else:
                send(client, {"id": command["id"], **self._reply(client, command)})
        except Refusal as refusal:
            send(client, {"id": command["id"], "error": refusal.error})
        except Silence:
            pass

    def _reply(self, client: ServerConnection, command: Json) -> Json:
        if "connect" in command:
            data: Json = {"namespace": "watcher", "epoch": self.epoch, "offset": self.offset}
            if self.watch is not None:
                data["watch"] = self.watch
            told = {"client": "c", "version": "0", "ping": self.ping, "pong": True, "data": data}
            return {"connect": {**told, **self._admit(command["connect"].get("token", ""))}}
        if "refresh" in command:
            return {"refresh": {"client": "c", "version": "0", **self._admit(command["refresh"]["token"])}}
        if "unsubscribe" in command:
            with self._lock:
                watchers = self._watching[command["unsubscribe"]["channel"]]
                if client in watchers:  # it may have been refused
                    watchers.remove(client)
            return {"unsubscribe": {}}
        call = command["rpc"]
        if call["method"] not in self.methods:
            raise Refusal(104, "method not found")
        return {"rpc": {"data": self.methods[call["method"]](call.get("data", {}))}}

    def _admit(self, token: str) -> Json:
        if token != self.token:
            raise Refusal(self.token_error, "unauthorized")
        return {"expires": True, "ttl": self.ttl} if self.ttl else {}

    def _subscribe(self, client: ServerConnection, identity: int, asked: Json) -> None:
        channel: str = asked["channel"]
        if channel in self.forbidden:
            raise Refusal(103, "permission denied")
        with self._lock:
            reply: Json = {"recoverable": True, "positioned": True, "epoch": self.epoch, "offset": self.offset}
            if channel.startswith("task:"):
                task = self._tasks.get(channel.removeprefix("task:"))
                reply["data"] = {"task": json.loads(msgspec.json.encode(task))}
            if asked.get("recover"):
                known = asked["epoch"] in ("", self.epoch)
                since = asked["offset"] if known else 0
                reply["was_recovering"] = True
                reply["recovered"] = known and since >= self.trimmed
                reply["publications"] = [
                    {"data": event, "offset": offset}
                    for offset, event in self._events
                    if offset > max(since, self.trimmed) and channel in ("tasks", f"task:{event['id']}")
                ]
            self._watching[channel].append(client)
            send(client, *self.ahead, {"id": identity, "subscribe": reply}, *self.along)
            self.ahead, self.along = [], []


def send(client: ServerConnection, *messages: Json) -> None:
    """Say something to one client, in one frame."""
    with suppress(ConnectionClosed):
        client.send("\n".join(json.dumps(message) for message in messages))


def answer(body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, clock: float | None = None) -> Response:
    """An HTTP response with the headers that a careful relay sends."""
    headers = Headers()
    headers["Content-Type"] = kind
    headers["Content-Length"] = str(len(body))
    headers["Content-Security-Policy"] = POLICY
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Connection"] = "close"
    if clock is not None:
        headers["Date"] = formatdate(clock, usegmt=True)
    return Response(status.value, status.phrase, headers, body)


@contextmanager
def stage() -> Iterator[Stage]:
    """A stage on a free port, for the time of a `with` block."""
    played = Stage()
    with serve(played.converse, "127.0.0.1", 0, process_request=played.respond, compression=None) as server:
        played.url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield played
        finally:
            played.drop()
            server.shutdown()
            thread.join()
