"""What is read of strangers, each as a function that takes any bytes and raises only where something is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Final

from celery import Celery

from tests.relay.conversation import Client, relay
from tests.relay.support import SECRET
from tests.support.tokens import lasting
from watcher.centrifuge import messages
from watcher.core.errors import BadRequest, Refused, Unauthorized
from watcher.core.event import InvalidEvent, decode, encode, fold
from watcher.core.keyring import Keyring
from watcher.core.order import standing
from watcher.core.permissions import grant
from watcher.core.settings import Settings
from watcher.journal.layout import entry, is_authentic, open_line, parse_live
from watcher.relay.api.parameters import called, read
from watcher.relay.api.queries import CountsQuery, ListQuery, NamesQuery, SeriesQuery
from watcher.relay.api.schemas import COUNTS, LIST, NAMES, SERIES
from watcher.relay.http.event_stream import StreamCursor
from watcher.relay.http.request_parts import preferred_wait
from watcher.relay.http.request_reader import RequestHead, RequestReader
from watcher.relay.security.origins import host_refusal, origin_refusal
from watcher.rendering.policy import Policy
from watcher.rendering.result_backend import event_of, result_of
from watcher.rendering.values import Rendering

_LINE: Final = (
    b'{"id":"t","state":"SUCCESS","timestamp":1.5,"source":"signal","name":"tasks.add","retries":1,"root_id":"r",'
    b'"tags":["a"],"args":[1],"kwargs":{},"result":{"x":[1]},"exception":{"type":"E","message":"m"},"late":true}'
)
_KEYS: Final = Keyring.of(Settings(secret=SECRET))


def event(data: bytes) -> None:
    """An event of the journal: what is taken for one can be folded, ranked and told."""
    with suppress(InvalidEvent):
        told = decode(data)
        again = decode(encode(told))
        assert standing(again) == standing(told)
        task = fold(fold(None, told, 1), again, 2)
        json.loads(messages.encode(task))
        json.loads(b"".join(messages.publications("tasks", [(1, data)])))


def journal(data: bytes) -> None:
    """What is published, what is stored, and what is kept of unfinished tasks."""
    stored = entry((b"1-7", {b"e": data, b"n": data[:3]}))
    assert (stored.last, stored.first > 0, bool(stored.lines)) == (7, True, True)
    with suppress(ValueError):
        batch = parse_live(data)
        assert batch.last >= 0
        assert not is_authentic(data, batch, b"5" * 32)
    with suppress(ValueError):
        assert open_line(data)[0] > 0


def command(data: bytes) -> None:
    """A frame of a client that is connected: replies that are JSON, or an end with a code."""
    outcome = Client(relay(_LINE)).connected().session.receive(data)
    for reply in outcome.replies:
        json.loads(reply)
    assert outcome.disconnect is None or 3000 <= outcome.disconnect.code < 4000


def token(data: bytes) -> None:
    """A token: nothing but what was signed here grants anything."""
    with suppress(Unauthorized):
        assert grant(_text(data), _KEYS).may_watch("task:t")


def channel(data: bytes) -> None:
    """A channel's name."""
    name = _text(data)
    error = messages.channel_error(name)
    assert error is None or error.code in (102, 107)
    assert error is not None or name == "tasks" or ":" in name


class _Owner:
    """Who is told what a reader of requests has read: each request's beginning, head, body and end in their order."""

    def __init__(self) -> None:
        self.heads, self.ends = 0, 0

    def request_begins(self) -> None: ...

    def request_head(self, head: RequestHead) -> None:
        self.heads += 1
        assert self.heads == self.ends + 1
        assert all(name == name.lower() for name, _ in head.headers)

    def request_body(self, data: bytes) -> None:
        assert data
        assert self.heads == self.ends + 1

    def request_ends(self) -> None:
        self.ends += 1
        assert self.heads == self.ends

    def limit_reached(self, limit: str) -> None:
        assert limit.startswith("max_")


def requests(data: bytes) -> None:
    """Requests of one connection, in two pieces: read, or refused."""
    reader = RequestReader(_Owner(), Settings())
    half = len(data) // 2
    with suppress(Refused):
        for piece in (data[:half], data[half:]):
            if reader.feed(piece) is not None:
                break
    reader.close()


def cursor(data: bytes) -> None:
    """A place to go on from, and the query of a list."""
    with suppress(BadRequest):
        assert StreamCursor.read(_text(data), "since").offset >= 0
    for name in ("before", "filter", "sort"):
        with suppress(BadRequest):
            ListQuery.read(read([(name, _text(data))], LIST))
    wait = preferred_wait(_text(data))
    assert wait is None or wait >= 0


def questions(data: bytes) -> None:
    """What a call asks about many tasks: understood, or refused with a reason."""
    with suppress(BadRequest):
        ListQuery.read(called(data, LIST))
    with suppress(BadRequest):
        CountsQuery.read(called(data, COUNTS))
    with suppress(BadRequest):
        asked = SeriesQuery.read(called(data, SERIES), 1e9)
        assert asked.since < asked.until
    with suppress(BadRequest):
        NamesQuery.read(called(data, NAMES), 1e9)


def origin(data: bytes) -> None:
    """``Host`` and ``Origin``: what is let in is a name of this machine."""
    name = _text(data)
    for refusal in (host_refusal(Settings(), name), origin_refusal(Settings(), host="localhost", origin=name)):
        assert refusal is not None or any(own in name.lower() for own in ("localhost", "127.", "::", "[0")), name


def stored(data: bytes) -> None:
    """What the result backend has: an event that can be told, or none."""
    told = event_of("t", data, _policy(), 1.0)
    if told is not None:
        decode(encode(told))
        standing(told)
    result = result_of(data, _policy().of(None))
    if result is not None:
        json.loads(result)


def masking(data: bytes) -> None:
    """What a task was given, returned or raised: masked, it stays what it is, a text or JSON, and never fails."""
    text, redactor = _text(data), _policy().of(None).redactor
    assert len(redactor.text(text, cut=True, beheaded=True)) <= 2 * len(text) + 3
    json.loads(redactor.json(json.dumps({text: [text, {"name": text, "value": text}]}).encode()))
    _ = redactor.json(data)


@cache
def _policy() -> Policy:
    return Policy(Celery("fuzzed", set_as_current=False), Rendering.of(Settings()), None)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


#: Each with examples of what is right, which others are made of.
TARGETS: Final[dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]]] = {
    "event": (event, (_LINE,)),
    "journal": (journal, (b"1795408395638612 7\n" + _LINE, b"7 " + _LINE)),
    "command": (
        command,
        (
            b'{"id":2,"subscribe":{"channel":"task:t","recover":true,"epoch":"e","offset":1}}\n{}',
            b'{"id":2,"history":{"channel":"tasks","limit":-1,"reverse":true,"since":{"epoch":"e","offset":3}}}',
            b'{"id":2,"rpc":{"method":"submit","data":{"task":"tasks.add"}}}\n{"id":3,"ping":{}}',
        ),
    ),
    "token": (token, (lasting(SECRET, watch=["task:*"]).encode(), b"e30.e30.", b"a.b.c")),
    "channel": (channel, (b"task:t", b"tasks", b"tag:user:42")),
    "cursor": (cursor, (b"1795408395638612:7", b":0", b"wait=10, respond-async", b"state:failed", b"1.5~7")),
    "questions": (
        questions,
        (
            b'{"filter":"state:failed -name:a* \\"x\\"","limit":7,"before":"1.5~7","sort":"sent","state":["A","B"]}',
            b'{"by":["name","state"],"filter":"runtime:>5s"}',
            b'{"since":"2h","until":1795408396,"buckets":7}',
        ),
    ),
    "requests": (
        requests,
        (
            b"GET /api/tasks?limit=1 HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.0\r\n\r\n",
            b"POST /api/tasks HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"GET /connection/websocket HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nx",
        ),
    ),
    "origin": (origin, (b"localhost:5556", b"http://127.0.0.1:80", b"[::1]:1", b"https://[::ffff:127.0.0.1]")),
    "masking": (
        masking,
        (
            b"Command '['a', '--password', 'b']' returned 1",
            b"{'name': 'API_KEY', 'value': 'a'}",
            b"[('token', b'a')]",
            b"https://a@b:c/d@e:1/?sig=f",
            b"password: Optional[str] = 'a'",
            b"bearer aaaaaaaa eyJaaaaa.aaaaa.a...', ...)",
        ),
    ),
    "stored": (
        stored,
        (
            b'{"status":"SUCCESS","result":{"__type__":"uuid","__value__":"x"},"date_done":"2026-01-01","retries":1}',
            b'{"status":"FAILURE","result":{"exc_type":"E","exc_message":["m"],"exc_module":"m"},"traceback":"t"}',
        ),
    ),
}
