"""Server-sent events over a real connection: from the journal to a reader, slow and lost readers, tokens, the end."""

from __future__ import annotations

import functools
import logging
import re
import socket
from contextlib import suppress
from typing import Any

import anyio
import httpx
import pytest
from celery import Celery
from starlette.applications import Starlette
from starlette.routing import Route

from tests.relay.serving import append, is_problem, known, listening, serving
from tests.relay.support import SECRET
from tests.support.events import event, life
from tests.support.sse import reading
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.core.permissions import issue
from watcher.core.settings import LEEWAY, Settings
from watcher.relay.http.sse import EventStreamRoute
from watcher.relay.node import Node

pytestmark = pytest.mark.anyio


async def test_events_come_as_they_happen(valkey: Valkey) -> None:
    async with listening(valkey.url()) as (client, relay):
        append(valkey, event("t", name="n", tags=("x",)))
        await known(relay, "t", "PENDING")
        epoch = relay.hub.history.epoch
        async with reading(client, "task:t", "name:n", "tag:x") as reader:
            assert reader.response.status_code == 200
            assert reader.response.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert reader.response.headers["cache-control"] == "no-store"
            (first,) = await reader.take(1)
            assert (first.kind, first.id, first.json["state"]) == ("message", f"{epoch}:1", "PENDING")
            assert 1 <= reader.parser.retry <= 3
            append(valkey, event("t", "STARTED", 2.0, name="n", tags=("x",)), event("u", name="n"), event("v"))
            append(valkey, event("t", "SUCCESS", 3.0, name="n", tags=("x",)))
            told = await reader.take(3)
        assert [(m.id, m.json["id"], m.json["state"]) for m in told] == [
            (f"{epoch}:2", "t", "STARTED"), (f"{epoch}:3", "u", "PENDING"), (f"{epoch}:5", "t", "SUCCESS"),
        ]  # fmt: skip
        await eventually(lambda: not relay.counts.streams, what="the relay to see the reader leave")
        assert not relay.hub.subscribers()


async def test_a_reader_comes_back_to_where_it_was(valkey: Valkey) -> None:
    async with listening(valkey.url()) as (client, relay):
        async with reading(client, "tasks") as reader:
            await reader.until_position(f"{relay.hub.history.epoch}:0")
            append(valkey, *life("a"))
            last = (await reader.take(2))[-1].id
        append(valkey, event("b"))
        # What a browser sends is newer than what the address says.
        async with reading(client, "tasks", since="x:1", headers={"Last-Event-ID": last}) as reader:
            assert [(m.json["id"], m.json["state"]) for m in await reader.take(3)] == [
                ("a", "STARTED"), ("a", "SUCCESS"), ("b", "PENDING"),
            ]  # fmt: skip
        async with reading(client, "task:b", since=f"{relay.hub.history.epoch}:0") as reader:
            assert [m.json["id"] for m in await reader.take(1)] == ["b"]
        async with reading(client, "tasks", since="another:3") as reader:
            (gap,) = await reader.take(1)
            assert (gap.kind, gap.json) == ("gap", {"epoch": relay.hub.history.epoch, "offset": 5})
            append(valkey, event("c"))
            assert [m.json["id"] for m in await reader.take(1)] == ["c"]


async def test_a_journal_that_begins_anew_is_a_gap(valkey: Valkey) -> None:
    async with listening(valkey.url()) as (client, relay):
        append(valkey, event("t"))
        await known(relay, "t", "PENDING")
        async with reading(client, "task:t") as reader:
            await reader.take(1)
            valkey.flush()
            append(valkey, event("t", "STARTED", 2.0))
            gap, newest = await reader.take(2)
            assert (gap.kind, gap.json["epoch"]) == ("gap", relay.hub.history.epoch)
            assert (newest.id, newest.json["state"]) == (f"{relay.hub.history.epoch}:1", "STARTED")


async def test_a_task_that_only_the_backend_knows_is_told(valkey: Valkey, app: Celery) -> None:
    async with listening(valkey.url(), app) as (client, _):
        await anyio.to_thread.run_sync(app.backend.store_result, "old", 5, "SUCCESS")
        async with reading(client, "task:old", "task:nobody") as reader:
            (told,) = await reader.take(1)
        assert told.id == ""
        assert told.json.items() >= {"id": "old", "state": "SUCCESS", "source": "backend", "result": 5}.items()
        assert "offset" not in told.json


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("", "'channel': is required"),
        ("?channel=", "parameter 'channel': expected tasks, overview, task:ID"),
        ("?channel=nonsense:x", "'nonsense:x'"),
        ("?channel=task:", "'task:'"),
        ("?channel=tag:" + "x" * 300, "255 characters"),
        ("?" + "&".join(f"channel=task:{n}" for n in range(101)), "100 times at most"),
        ("?" + "&".join(["channel=tasks"] * 101), "100 times at most"),
        ("?channel=tasks&since=5", "parameter 'since': expected EPOCH:OFFSET, the id of an event, not '5'"),
        ("?channel=tasks&since=e:1&since=e:2", "parameter 'since': may be given once"),
        ("?channel=tasks&sinse=e:1", "parameter 'sinse': is unknown; accepted are channel, since, token"),
    ],
)
async def test_a_bad_parameter_is_named(valkey: Valkey, query: str, detail: str) -> None:
    async with serving(valkey.url()) as (client, _):
        is_problem(await client.get(f"/api/events{query}"), 400, detail)


async def test_a_bad_last_event_id_is_named(valkey: Valkey) -> None:
    async with serving(valkey.url()) as (client, _):
        response = await client.get("/api/events?channel=tasks", headers={"Last-Event-ID": "17"})
        is_problem(response, 400, "header 'Last-Event-ID': expected EPOCH:OFFSET")
        is_problem(await client.post("/api/events?channel=tasks"), 405, "POST")
        assert (await client.head("/api/events?channel=tasks")).headers["content-type"].startswith("text/event-stream")


async def test_a_token_opens_what_it_grants_and_ends_with_its_time(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    mine = issue(SECRET, watch=["task:mine", "tag:user:42"])
    async with listening(valkey.url(), settings=Settings(secret=SECRET)) as (client, relay):
        append(valkey, event("mine"), event("theirs"), event("other", tags=("user:42",)))
        await known(relay, "other", "PENDING")
        is_problem(await client.get("/api/events?channel=task:mine"), 401, "a token is required")
        is_problem(await client.get("/api/events?channel=task:mine&token=x"), 401, "not valid")
        for channel in ("tasks", "task:theirs", "task:nobody", "name:n"):
            response = await client.get(f"/api/events?channel=task:mine&channel={channel}&token={mine}")
            is_problem(response, 403, f"does not allow watching '{channel}'")
        async with reading(client, "task:mine", token=mine) as reader:
            assert [m.json["id"] for m in await reader.take(1)] == ["mine"]
        async with reading(client, "tag:user:42", since=":0", headers={"Authorization": f"Bearer {mine}"}) as reader:
            assert [m.json["id"] for m in await reader.take(1)] == ["other"]
        short = issue(SECRET, watch=["tasks"], ttl=1.5 - LEEWAY)  # it ended, and is still taken for a moment
        async with reading(client, "tasks", token=short) as reader:
            await reader.end(5)
        assert not relay.counts.streams
        for token in (mine, short):
            ours = [record for record in caplog.records if not record.name.startswith("http")]  # its client tells all
            assert ours
            assert not any(token in record.getMessage() for record in ours)


async def test_shutdown_ends_event_streams_so_that_readers_reconnect(valkey: Valkey) -> None:
    async with listening(valkey.url()) as (client, relay), reading(client, "tasks") as reader:
        await reader.until_position(f"{relay.hub.history.epoch}:0")
        append(valkey, event("t"))
        assert [m.json["id"] for m in await reader.take(1)] == ["t"]
        async with anyio.create_task_group() as group:
            group.start_soon(relay.drain)
            assert await reader.end() == []  # complete, not cut off
        async with reading(client, "tasks") as late:
            assert late.response.status_code == 200  # anything else, and a browser would not come back
            assert await late.end() == []
            assert late.parser.retry <= 3


def routes(relay: Node, **options: float) -> Starlette:
    return Starlette(routes=[Route("/api/events", EventStreamRoute(relay, **options).get, methods=["GET"])])


async def test_numbers_come_as_events_of_their_own_and_again_when_they_change(valkey: Valkey) -> None:
    append(valkey, event("a"))
    async with listening(valkey.url()) as (client, relay), reading(client, "overview", "task:b") as reader:
        (first,) = await reader.take(1)
        assert (first.kind, first.id) == ("overview", ""), "it has no place in the journal"
        assert (first.json["states"], first.json["archive"]) == ({"PENDING": 1}, None)
        append(valkey, event("b", "SUCCESS"))
        kinds = {message.kind: message for message in await reader.take(2)}
        assert kinds["message"].json["id"] == "b"
        assert kinds["overview"].json["states"] == {"PENDING": 1, "SUCCESS": 1}
        assert reader.parser.last == f"{relay.hub.history.epoch}:2"


async def test_a_quiet_stream_is_kept_open(valkey: Valkey) -> None:
    often = functools.partial(routes, quiet=0.05)
    async with listening(valkey.url(), routes=often) as (client, relay), reading(client, "task:quiet") as reader:
        await reader.until_position(f"{relay.hub.history.epoch}:0")
        append(valkey, event("another"))
        await reader.until_position(f"{relay.hub.history.epoch}:1")
        assert reader.parser.comments >= 1


def connected(client: httpx.AsyncClient, path: str, buffer: int) -> socket.socket:
    """A connection that has asked; so many bytes of the answer fit into its buffer."""
    url = client.base_url
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    raw.connect((url.host, url.port))
    raw.sendall(f"GET {path} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n\r\n".encode())
    return raw


def big(identity: str, at: float) -> Any:
    return event(identity, "SUCCESS", at, argsrepr="x" * 1000)


async def fill(valkey: Valkey, relay: Node, count: int) -> None:
    start = relay.hub.history.last
    for base in range(start, start + count, 500):
        append(valkey, *[big(f"t{base + number}", float(base + number)) for number in range(500)])
    await eventually(lambda: relay.hub.history.last == start + count, what="the relay to have all")


async def test_a_slow_reader_costs_a_piece_and_gets_everything(valkey: Valkey) -> None:
    async with listening(valkey.url()) as (client, relay):
        with connected(client, "/api/events?channel=tasks", 1 << 16) as raw:
            await eventually(lambda: relay.counts.streams == 1, what="the stream")
            await fill(valkey, relay, 10_000)
            await eventually(lambda: relay.counts.streams_behind == 1, what="the reader to be behind")
            assert relay.counts.streamed < 9_000  # the rest waits in the history, where it is anyway
            raw.setblocking(False)
            text = bytearray()
            with anyio.fail_after(20):
                while b"id: %b:10000\n" % relay.hub.history.epoch.encode() not in text[-100_000:]:
                    await anyio.wait_readable(raw)
                    text += raw.recv(1 << 16)
        offsets = [int(offset) for offset in re.findall(rb"id: \w+:(\d+)\ndata: ", re.sub(rb"\r\n\w+\r\n", b"", text))]
        assert offsets == list(range(1, 10_001))
        assert relay.counts.streams_behind == 0


async def test_stalled_sse_reader_is_dropped_but_a_slow_one_is_kept(valkey: Valkey) -> None:
    async with listening(valkey.url(), routes=functools.partial(routes, stalled=3)) as (client, relay):
        with (
            connected(client, "/api/events?channel=tasks", 4096) as mute,
            connected(client, "/api/events?channel=tasks", 4096) as slow,
        ):
            await eventually(lambda: relay.counts.streams == 2, what="the streams")
            await fill(valkey, relay, 10_000)
            await eventually(lambda: relay.counts.streams_behind == 2, what="both to be behind")
            slow.setblocking(False)
            with anyio.fail_after(15):
                while relay.counts.streams == 2:
                    await anyio.wait_readable(slow)
                    assert slow.recv(2048)
                    await anyio.sleep(0.05)
            assert relay.counts.streams_behind == 1
            assert not whole(mute)
            assert slow.recv(1), "who still reads is never dropped"


def whole(raw: socket.socket) -> bool:
    """Whether the answer on a connection that has been closed came to its end."""
    raw.settimeout(5)
    text = b""
    with suppress(ConnectionResetError):
        while data := raw.recv(1 << 20):
            text = text[-10:] + data
    return text.endswith(b"\r\n0\r\n\r\n")


async def test_a_reader_that_takes_nothing_does_not_hold_up_the_end(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    with anyio.fail_after(15):
        async with listening(valkey.url()) as (client, relay):
            mute = connected(client, "/api/events?channel=tasks", 4096)
            await eventually(lambda: relay.counts.streams == 1, what="the stream")
            await fill(valkey, relay, 10_000)
            await eventually(lambda: relay.counts.streams_behind == 1, what="the reader to be behind")
            start = anyio.current_time()
        assert anyio.current_time() - start < 3
    assert not whole(mute)
    mute.close()
    assert not relay.counts.streams
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
