"""The file that says what people may do: read at the start, followed, and what its changes do to those who are here."""

from __future__ import annotations

import logging
import re
import time
from ipaddress import ip_network
from pathlib import Path

import anyio
import httpx
import pytest

from tests.relay.serving import listening
from tests.support.client import client as websocket
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.core.errors import SettingError
from watcher.core.settings import Settings
from watcher.relay.security.claims_file import LIFETIME, ClaimsFile
from watcher.relay.security.identity import Person

pytestmark = pytest.mark.anyio

ALICE = {"X-User": "alice"}


def replace(path: Path, text: str) -> None:
    """As whoever writes a file in one go does."""
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    fresh.replace(path)


def remove(path: Path) -> None:
    path.unlink()


def watching(*globs: str) -> str:
    return f"[users.alice]\nwatch = {list(globs)!r}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "claims.toml"
    path.write_text(watching("*"))
    return path


@pytest.fixture
def settings(file: Path) -> Settings:
    return Settings(auth_header="X-User", trusted_proxies=(ip_network("127.0.0.1"),), claims=str(file))


def test_a_file_that_is_wrong_or_away_is_told(tmp_path: Path, settings: Settings) -> None:
    file = tmp_path / "claims.json"
    for content, told in (
        (None, "the file can't be read: No such file or directory"),
        (b"\xff", "the file is not UTF-8 text"),
        (b'{"users": {"alice": {"watch": 1}}}', "users.'alice'.watch must be a list"),
        (b"[users.alice]", "Expecting value"),  # by its name it is JSON
    ):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(SettingError, match=told) as error:
            ClaimsFile(str(file))
        assert str(error.value).startswith(f"WATCHER_CLAIMS={str(file)!r} is not accepted: ")
        assert "\n" not in str(error.value)
    with pytest.raises(SettingError, match="can't be read"):
        ClaimsFile(str(tmp_path))


def test_a_right_lasts_for_an_hour_at_most(file: Path) -> None:
    roster = ClaimsFile(str(file))
    ends = [(roster.grant(Person("alice")).expires or 0) - time.time() for _ in range(50)]
    assert 3000 - 1 <= min(ends) < max(ends) <= LIFETIME == 3600
    assert max(ends) - min(ends) > 60  # they don't all come back at once


async def test_a_changed_file_is_read_and_a_wrong_one_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    roster, changes = ClaimsFile(str(file), look=0.1), list[int]()

    async def changed() -> None:
        changes.append(1)

    def may() -> tuple[str, ...]:
        return roster.people.grant(Person("alice")).watch

    with caplog.at_level(logging.INFO, "watcher.relay.security.claims_file"):
        async with anyio.create_task_group() as group:
            group.start_soon(roster.run, changed)
            replace(file, watching("task:a"))
            await eventually(lambda: may() == ("task:a",), what="the new file to hold")
            replace(file, "[users.alice]\nwatch = 1")
            await eventually(lambda: "must be a list of globs" in caplog.text, what="the wrong file to be told")
            assert may() == ("task:a",)
            remove(file)
            await eventually(lambda: "can't be read" in caplog.text, what="the missing file to be told")
            assert may() == ("task:a",)
            replace(file, watching("task:b"))
            await eventually(lambda: may() == ("task:b",), what="the next right file to hold")
            group.cancel_scope.cancel()
    assert len(changes) == 2
    assert caplog.text.count("WATCHER_CLAIMS remains in use") == 2  # once each


async def test_a_file_that_is_being_written_is_left_alone(file: Path) -> None:
    """Half a table may be a table that is whole, and takes rights away."""
    roster, seen = ClaimsFile(str(file)), list[tuple[str, ...]]()

    async def changed() -> None:
        seen.append(roster.people.grant(Person("bob")).watch)

    async with anyio.create_task_group() as group:
        group.start_soon(roster.run, changed)
        with file.open("w") as writing:
            for number in range(25):  # longer than two looks
                writing.write(f"[users.u{number}]\n")
                writing.flush()
                await anyio.sleep(0.1)  # what is tried is that time passes
            writing.write('[users.bob]\nwatch = ["tasks"]\n')
        await eventually(lambda: seen, what="the file to be read")
        group.cancel_scope.cancel()
    assert seen == [("tasks",)]


async def test_what_is_taken_away_is_taken_from_those_who_are_here(
    valkey: Valkey, file: Path, settings: Settings
) -> None:
    async with listening(valkey.url(), settings=settings) as (http, relay):
        address = str(http.base_url).replace("http", "ws", 1) + "/connection/websocket"
        async with websocket(address, additional_headers=ALICE) as socket, anyio.create_task_group() as group:
            for channel in ("task:a", "tasks"):
                assert "subscribe" in await socket.ask(subscribe={"channel": channel})
            ended = anyio.Event()

            async def read() -> None:
                async with http.stream("GET", "/api/events?channel=tasks", headers=ALICE) as response:
                    assert response.status_code == 200
                    async for _ in response.aiter_bytes():
                        pass
                ended.set()

            group.start_soon(read)
            await eventually(lambda: relay.counts.streams, what="the stream to be open")
            replace(file, watching("task:a"))
            await socket.until(lambda: socket.pushes, "the end of a subscription")
            assert [(push["channel"], push["unsubscribe"]["code"]) for push in socket.pushes] == [("tasks", 2501)]
            assert (await socket.ask(subscribe={"channel": "tasks"}))["error"]["code"] == 103
            assert "history" in await socket.ask(history={"channel": "task:a"})
            with anyio.fail_after(20):
                await ended.wait()
            response = await http.get("/api/events?channel=tasks", headers=ALICE)
            assert response.status_code == 403
            assert await stale(http) == "403"
            replace(file, watching("*"))
            await eventually(lambda: relay.edition == 2, what="the file to be read")
            assert "subscribe" in await socket.ask(subscribe={"channel": "tasks"})
            assert await stale(http) == "0.0"
            replace(file, "[users.alice")
            await eventually(lambda: relay.followed[0].stale, what="the wrong file to be seen")
            assert await stale(http) == "1.0"


async def stale(http: httpx.AsyncClient) -> str:
    """What the metrics say of the file, or why they don't."""
    response = await http.get("/metrics", headers=ALICE)
    found = re.search(r'^watcher_file_stale\{setting="claims"\} (.*)$', response.text, re.MULTILINE)
    return found[1] if found else str(response.status_code)
