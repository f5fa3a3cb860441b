"""What is asked about many tasks over HTTP: from the archive at once, and what is said where that is away."""

from __future__ import annotations

import csv
import io
import json
import socket
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync
from msgspec import Raw
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.relay.raw import UPGRADE, text
from tests.relay.serving import append, is_problem, listening, serving
from tests.support.client import client
from tests.support.events import event, life
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.core.errors import Refused, Unavailable
from watcher.core.permissions import OPEN, Grant
from watcher.core.settings import LEEWAY, Settings
from watcher.relay.api.parameters import read
from watcher.relay.api.queries import ListQuery
from watcher.relay.api.schemas import LIST
from watcher.relay.http.export import Export, Pages
from watcher.relay.node import Node
from watcher.relay.websocket.handshake import PATH

pytestmark = pytest.mark.anyio


async def shop(valkey: Valkey, relay: Any, count: int = 5) -> None:
    """Mails that have ended, an order that failed, and one that waits."""
    for number in range(count):
        append(valkey, *life(f"mail-{number}", name="mail.send", queue="mail", sent=float(number + 1)))
    failed = event("order-1", "FAILURE", 8.0, name="shop.order", queue="orders", tags=("user:42",), runtime=2.5)
    append(valkey, failed, event("order-2", "PENDING", 9.0, name="shop.order", queue="orders", tags=("user:7",)))
    await eventually(lambda: relay.hub.history.last >= 4 * count + 2, what="the relay to know")


async def test_questions_are_answered_over_http_and_by_calls_alike(valkey: Valkey) -> None:
    async with (
        listening(valkey.url()) as (http, relay),
        client(str(http.base_url).replace("http", "ws", 1) + PATH) as ws,
    ):
        await shop(valkey, relay)
        asked: list[tuple[str, str, dict[str, Any]]] = [
            ("tasks", "list", {"filter": "queue:orders", "limit": 1}),
            ("tasks", "list", {"state": "SUCCESS", "sort": "sent", "limit": 2}),
            ("counts", "counts", {"by": "state,name"}),
            ("counts", "counts", {"by": "kind", "filter": "-queue:mail"}),
            ("series", "series", {"since": "1970-01-01", "until": "1970-01-02", "buckets": 1}),
            ("names", "names", {"since": "1970-01-01T00:00:05Z"}),
        ]
        for path, method, given in asked:
            response = await http.get(f"/api/{path}", params=given)
            assert response.status_code == 200, response.text
            assert response.json() == await ws.rpc(method, **given), (path, given)
        counts = (await http.get("/api/counts", params=[("by", "name"), ("by", "state")])).json()
        assert counts["counts"] == [
            {"count": 5, "state": "SUCCESS", "name": "mail.send"},
            {"count": 1, "state": "FAILURE", "name": "shop.order"},
            {"count": 1, "state": "PENDING", "name": "shop.order"},
        ]
        assert await ws.rpc("counts", by=["name", "state"]) == counts
        pages: list[list[str]] = []
        before: dict[str, Any] = {}
        while len(pages) < 4:
            page = await ws.rpc("list", sort="sent", limit=2, filter="queue:mail", **before)
            pages.append([task["id"] for task in page["tasks"]])
            before = {"before": page["next"]}
            if page["next"] is None:
                break
        assert pages == [["mail-4", "mail-3"], ["mail-2", "mail-1"], ["mail-0"]]
        assert [task["id"] for task in (await ws.rpc("list", state=["FAILURE", "PENDING"]))["tasks"]] == [
            "order-2",
            "order-1",
        ]


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("tasks?filter=stat:failed", "parameter 'filter': 'stat:failed': there is no key stat"),
        ("tasks?filter=stat:failed", "did you mean state:failed?"),
        ("tasks?sort=name", "parameter 'sort': must be one of when, sent, runtime, waited, not 'name'"),
        ("tasks?sort=sent&before=7", "parameter 'before': belongs to a list that is not sorted by sent"),
        ("tasks?before=1.5~7", "parameter 'before': belongs to a list that is not sorted by when"),
        ("tasks?before=x", "parameter 'before': must be `next` of the previous page, not 'x'"),
        ("tasks?format=xml", "parameter 'format': must be one of json, csv, ndjson, not 'xml'"),
        ("tasks?filter=" + "x" * 4097, "parameter 'filter': may have 4096 characters at most"),
        ("counts?by=state,queue,name", "parameter 'by': must be one or two of state, kind, name, queue, worker, error"),
        ("counts?by=state,queue&by=name", "parameter 'by': two at most are accepted, not 3"),
        ("counts?by=state,state", "parameter 'by': each may be given once, not 'state,state'"),
        ("tasks?sort=runtime&before=1~9999999999999999999", "parameter 'before'"),
        ("counts?by=", "parameter 'by': must be one or two"),
        ("counts?limit=1", "parameter 'limit': is unknown; accepted are filter, by"),
        ("series?since=yesterday", "parameter 'since:yesterday': yesterday is no moment"),
        ("series?since=1h&until=2h", "parameter 'since': must be before 'until'"),
        ("series?buckets=501", "parameter 'buckets': must be a whole number from 1 to 500, not '501'"),
        ("names?since=", "parameter 'since': must not be empty"),
    ],
)  # fmt: skip
async def test_what_is_wrong_in_a_question_is_named(valkey: Valkey, path: str, detail: str) -> None:
    async with serving(valkey.url()) as (http, _):
        is_problem(await http.get(f"/api/{path}"), 400, detail)


async def test_a_task_is_in_the_list_and_in_the_numbers_as_soon_as_the_relay_knows_it(valkey: Valkey) -> None:
    async with serving(valkey.url()) as (http, relay):
        for number in range(1, 6):
            append(valkey, event(f"t{number}", timestamp=float(number)))

            def is_known(number: int = number) -> bool:
                return relay.hub.history.last == number

            await eventually(is_known, what="the relay to know it")
            assert (await http.get("/api/tasks?limit=1")).json()["tasks"][0]["id"] == f"t{number}"
            assert (await http.get("/api/counts")).json()["total"] == number


async def test_without_the_archive_lists_come_from_the_journal_and_say_so(valkey: Valkey, tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    async with serving(valkey.url(), settings=Settings(archive=f"sqlite:///{path}")) as (http, relay):
        assert (await http.get("/api/tasks")).json()["archive"] is None
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await shop(valkey, relay)
        await eventually(lambda: relay.archive.trouble is not None, what="the archive to be away")
        told = (await http.get("/api/tasks", params={"filter": "state:failed name:shop.*"})).json()
        assert [task["id"] for task in told["tasks"]] == ["order-1"]
        assert told["archive"] == "the archive can't tell: its database doesn't answer, or takes nothing more"
        assert (told["since"], told["gaps"], told["next"]) == (None, [], None)
        is_problem(await http.get("/api/tasks?sort=runtime"), 503, "tasks can't be sorted by runtime now: the archive")
        for question in ("tasks?format=csv", "counts", "series", "names"):
            is_problem(await http.get(f"/api/{question}"), 503, "the archive can't tell: its database")
        numbers = await relay.answers.overview()
        assert numbers.archive is not None
        other.execute("ROLLBACK")
        other.close()
        await eventually(lambda: relay.archive.trouble is None, what="the archive to be back")
        assert (await http.get("/api/counts")).json()["total"] == 7
        assert (await relay.answers.overview()).archive is None


async def test_a_file_has_all_tasks_however_they_change_meanwhile(valkey: Valkey) -> None:
    async with serving(valkey.url()) as (http, relay):
        await shop(valkey, relay, 250)
        async with http.stream("GET", "/api/tasks?filter=queue:mail&format=csv") as response:
            assert response.headers["content-type"] == "text/csv; charset=utf-8"
            assert response.headers["content-disposition"] == 'attachment; filename="tasks.csv"'
            assert response.headers["cache-control"] == "no-store"
            rows = list(csv.DictReader(io.StringIO((await response.aread()).decode())))
        assert [row["id"] for row in rows] == [f"mail-{number}" for number in reversed(range(250))]
        lines = (await http.get("/api/tasks?limit=105", headers={"Accept": "application/x-ndjson"})).text.splitlines()
        assert len({json.loads(line)["id"] for line in lines}) == len(lines) == 105
        assert (await http.head("/api/tasks?format=csv")).status_code == 200
        assert (await http.get("/api/tasks?format=ndjson&filter=name:nothing")).text == ""


LINE = Raw(b'{"id":"%s"}' % (b"x" * 2000))


class Endless:
    """A list without an end, and how many pages were taken of it; ``error`` is what the next one fails with."""

    def __init__(self) -> None:
        self.pages = 0
        self.error: Refused | None = None

    async def page(self, asked: ListQuery) -> tuple[list[Raw], int]:
        if self.error is not None:
            raise self.error
        self.pages += 1
        return [LINE] * asked.limit, 7

    def app(self, relay: Node, grant: Grant) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            pages = Pages(self.page, ListQuery.read(read([], LIST)), None)
            await Export(relay, grant, "ndjson", await pages.take(), pages, by_token=True)(scope, receive, send)

        return answer


@asynccontextmanager
async def exporting(valkey: Valkey, grant: Grant = OPEN) -> AsyncIterator[tuple[Endless, Node, socket.socket]]:
    """A file that never ends, on its way to a reader that has little room and takes nothing by itself."""
    endless = Endless()
    async with listening(valkey.url(), routes=lambda relay: endless.app(relay, grant)) as (http, relay):
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect((http.base_url.host, http.base_url.port))
            reader.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            yield endless, relay, reader


def rest(reader: socket.socket) -> bytes:
    """All that comes until the connection ends, in whatever way."""
    reader.settimeout(20)
    taken = bytearray()
    with suppress(ConnectionResetError):
        while piece := reader.recv(65536):
            taken += piece
    return bytes(taken)


async def test_a_slow_reader_makes_the_next_page_wait_and_learns_that_the_relay_stops(valkey: Valkey) -> None:
    async with exporting(valkey) as (endless, relay, reader):
        await eventually(lambda: endless.pages > 1, what="it to begin")
        before = -1
        while endless.pages > before:  # until the buffers are full
            before = endless.pages
            with anyio.move_on_after(0.3):
                await eventually(lambda: endless.pages > before, what="more")  # noqa: B023
        assert endless.pages < 50, "10 MB are more than any buffer"
        relay.draining = True
        taken = await run_sync(rest, reader)
        assert taken.startswith(b"HTTP/1.1 200 OK\r\n")
        assert not taken.endswith(b"0\r\n\r\n"), "that would say that it is whole"


async def test_a_file_ends_with_the_token_that_opened_it(valkey: Valkey) -> None:
    async with exporting(valkey, Grant(watch=("*",), expires=time.time() - LEEWAY + 1)) as (endless, _, reader):
        assert not (await run_sync(rest, reader)).endswith(b"0\r\n\r\n")
        assert endless.pages > 1


async def test_a_file_is_cut_off_where_the_archive_fails(valkey: Valkey) -> None:
    async with exporting(valkey) as (endless, _, reader):
        await eventually(lambda: endless.pages > 1, what="it to begin")
        endless.error = Unavailable("the archive is away")
        assert not (await run_sync(rest, reader)).endswith(b"0\r\n\r\n")


async def test_answers_to_calls_are_made_as_fast_as_they_are_taken(valkey: Valkey) -> None:
    """A page has about 256 KiB of tasks, and whoever reads none of them has a few waiting, not all of them."""
    async with listening(valkey.url()) as (http, relay):
        for number in range(70):
            append(valkey, event(f"large-{number}", argsrepr="x" * 1000, kwargsrepr="y" * 1000, tags=("z" * 2000,)))
        await eventually(lambda: relay.hub.history.last >= 70, what="the relay to know")
        answered, answer = 0, relay.answers.list

        async def counted(*given: Any) -> Any:
            nonlocal answered
            answered += 1
            return await answer(*given)

        relay.answers.list = counted  # type: ignore[assignment,method-assign]
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
            reader.connect((http.base_url.host, http.base_url.port))
            command = b'{"id":%d,"rpc":{"method":"list","data":{"limit":1000}}}'
            asked = [text(command % number) for number in range(2, 102)]
            reader.sendall(b"".join([f"{UPGRADE}\r\n".encode(), text(b'{"id":1,"connect":{}}'), *asked]))
            await eventually(lambda: answered > 0, what="the first")
            before = -1
            while answered > before:
                before = answered
                with anyio.move_on_after(0.3):
                    await eventually(lambda: answered > before, what="more")  # noqa: B023
            assert answered < 50, "of 100: what the buffers hold, and a few"
            taken = b""
            while b'"archive":null' not in taken:
                taken += await run_sync(reader.recv, 1 << 16)
        assert 40 < taken.count(b'{"id":"large-') < 70, "a page, not all of them"
