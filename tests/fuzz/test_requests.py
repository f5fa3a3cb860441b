"""Requests that no HTTP library would send, to each route. What one sends is tried in tests/relay/http/test_openapi.py.

The stream of events, which has no end for schemathesis to wait for, is asked here too.
"""

from __future__ import annotations

import json
import random
from urllib.parse import quote_from_bytes

import pytest

from tests.fuzz import garbage
from tests.fuzz.budget import cases, seconds, told
from tests.fuzz.stage import Caller, Stage
from tests.fuzz.test_port import EXPECTED, check, handshake

_EVENTS = b"/api/events?channel=task:x&since=1:1"
_BODY = {"task": "tasks.add", "args": [1, 2], "kwargs": {}, "options": {"task_id": "x", "countdown": 1, "tags": ["a"]}}
_ROUTES: tuple[tuple[bytes, bytes], ...] = (
    (b"GET", _EVENTS),
    (b"GET", _EVENTS),
    (b"GET", b"/api/events?channel=tasks&channel=tag:x"),
    (b"POST", b"/api/tasks"),
    (b"POST", b"/api/tasks"),
    (b"GET", b"/api/tasks?state=SUCCESS&name=x&tag=y&root=r&group=g&limit=10&before=7"),
    (b"GET", b"/api/tasks?filter=state:failed%20-name:a*%20%22x%22&sort=sent&format=csv"),
    (b"GET", b"/api/counts?filter=queue:x&by=name,state"),
    (b"GET", b"/api/series?since=2h&until=1795408396&buckets=7"),
    (b"GET", b"/api/names?since=2026-11-30T03:10Z&filter=x"),
    (b"GET", b"/api/tasks/x?wait=0"),
    (b"GET", b"/api/tasks/x/result"),
    (b"POST", b"/api/tasks/nobody/revoke"),
    (b"GET", b"/api/registry"),
    (b"GET", b"/metrics"),
    (b"GET", b"/main.js"),
    (b"OPTIONS", b"/api/tasks"),
)
_HEADERS = [
    b"Host: localhost", b"Origin: http://localhost", b"Authorization: Bearer a.b.c", b"Prefer: wait=0",
    b"Idempotency-Key: k", b"Content-Type: application/json", b"Last-Event-ID: 1:1", b'If-None-Match: "x"',
    b"Accept-Encoding: gzip;q=1.0", b"Access-Control-Request-Method: POST",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(180 + seconds("requests"))
def test_mutated_requests(stage: Stage) -> None:
    for number, dice in cases("requests"):
        method, target = dice.choice(_ROUTES)
        data = request(dice, method, mutated(dice, target) if dice.random() < 0.7 else target)
        with told("mutated_requests", number, data):
            ask(stage, data)
            stage.breathe()
    stage.judge(*EXPECTED)


def ask(stage: Stage, data: bytes) -> None:
    """Send, hear the beginning of an answer, and leave: a stream of events goes on for ever."""
    with Caller(stage.address) as caller:
        caller.say(data)
        if caller.hear_until(b"\r\n\r\n") and b"text/event-stream" in caller.heard:
            assert caller.hear_until(b"retry: "), caller.heard
        head, _, rest = caller.hang_up().partition(b"\r\n\r\n")
        check(caller.heard)
        lowered = head.lower()
        if lowered[9:10] in (b"4", b"5") and b"application/json" in lowered:
            raise AssertionError(f"an error that is no problem: {caller.heard[:500]!r}")
        if b"application/problem+json" in lowered and not data.startswith(b"HEAD"):
            problem = json.loads(rest[: int(lowered.partition(b"content-length: ")[2].split(b"\r")[0])])
            assert problem["status"] == int(head[9:12]), problem
        told_to_browsers = b"content-security-policy" in lowered and b"nosniff" in lowered
        assert told_to_browsers or not head or b"Invalid HTTP request" in rest, caller.heard[:800]


def mutated(dice: random.Random, target: bytes) -> bytes:
    """An address with other parameters, or other characters."""
    path, _, query = target.partition(b"?")
    pairs = [pair.partition(b"=")[::2] for pair in query.split(b"&") if pair]
    for _ in range(dice.choice((0, 1, 1, 3))):
        upset = quote_from_bytes(garbage.text(dice).encode("utf-8", "surrogatepass")[:3000]).encode()
        if dice.random() < 0.2:
            upset = b"".join(b"%%%02x" % byte for byte in dice.randbytes(5))
        if pairs and dice.random() < 0.8:
            at = dice.randrange(len(pairs))
            pairs[at : at + 1] = dice.choice(([(pairs[at][0], upset)], [pairs[at]] * 2, [(upset, b"x")], []))
        elif pairs:
            pairs = (pairs * dice.choice((2, 150)))[:1000]
        else:
            path = path.replace(b"/x", b"/" + upset) if dice.random() < 0.5 else path + b"/" + upset
    made = path + (b"?" + b"&".join(b"=".join(pair) for pair in pairs) if pairs else b"")
    if dice.random() < 0.1:
        made = garbage.mangled(dice, made).translate(None, b"\r\n ")
    return made or b"/"


def request(dice: random.Random, method: bytes, target: bytes) -> bytes:
    """A request, its headers and its body mutated."""
    body = b""
    if method == b"POST":
        good = _BODY if target.startswith(b"/api/tasks?") or target == b"/api/tasks" else {"terminate": False}
        body = garbage.json_text(dice, good) if dice.random() < 0.9 else b"x" * dice.choice((2**20, 2**20 + 1))
    chosen = [_HEADERS[0], *dice.sample(_HEADERS[1:], dice.randrange(1, len(_HEADERS)))]
    lines = garbage.headers(dice, chosen) if dice.random() < 0.6 else chosen
    if body and dice.random() < 0.2:
        cut = dice.randrange(len(body) + 1)
        chunks = [piece for piece in (body[:cut], body[cut:]) if piece]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in chunks) + b"0\r\n\r\n"
        lines = [*lines, b"Transfer-Encoding: chunked"]
    elif body:
        lines = [*lines, b"Content-Length: %d" % (len(body) - (dice.random() < 0.1))]
    return handshake(lines, method=method, target=target) + body
