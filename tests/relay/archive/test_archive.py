"""The archive of a running relay: it has what the journal had, says when it can't tell, and goes on where it was."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.relay.serving import append, serving
from tests.relay.support import JOURNAL
from tests.support.events import event, life
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.catalogue.catalogue import Listed
from watcher.core.errors import SettingError, Unavailable
from watcher.core.filters import parse
from watcher.core.permissions import OPEN, Grant
from watcher.core.settings import Settings
from watcher.relay.archive.archive import Archive
from watcher.relay.node import Node

pytestmark = pytest.mark.anyio


def kept(path: Path, **others: Any) -> Settings:
    return Settings(archive=f"sqlite:///{path}", **others)


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def modes(folder: Path) -> list[int]:
    """Of all files of databases."""
    return [stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*.db*")]


async def ids(archive: Archive, text: str = "", grant: Grant = OPEN) -> list[str]:
    page = await archive.list(Listed(parse(text)), grant)
    return [msgspec.json.decode(task)["id"] for task in page.tasks]


async def test_what_has_happened_is_there_at_once(valkey: Valkey) -> None:
    append(valkey, *life("old", name="mail.send"))
    async with serving(valkey.url()) as (_, relay):
        assert await ids(relay.archive) == ["old"]
        append(valkey, event("new", "PENDING", 9.0, name="mail.send", tags=("user:1",)))
        await eventually(lambda: relay.hub.history.last == 5, what="the relay to know")
        assert await ids(relay.archive) == ["new", "old"]
        assert await ids(relay.archive, "state:queued") == ["new"]
        assert await ids(relay.archive, grant=Grant(watch=("tag:user:1",))) == ["new"]

        counts = await relay.archive.counts(parse("name:mail.*"), OPEN, ("state",))
        assert [(each.state, each.count) for each in counts.counts] == [("PENDING", 1), ("SUCCESS", 1)]
        overview = await relay.archive.overview()
        assert (overview.total, overview.kinds["queued"], overview.archive) == (2, 1, None)
        assert relay.archive.trouble is None


async def test_a_file_keeps_what_the_journal_has_lost(valkey: Valkey, tmp_path: Path) -> None:
    settings = kept(tmp_path / "archive.db")
    append(valkey, *life("first"))
    async with serving(valkey.url(), settings=settings) as (_, relay):
        assert await ids(relay.archive) == ["first"]
    with valkey.client() as redis:
        redis.flushdb()  # the journal begins anew, with offsets from 1 on
    append(valkey, *life("second"))
    async with serving(valkey.url(), settings=settings) as (_, relay):
        assert await ids(relay.archive) == ["second", "first"]
        assert len(relay.archive.reach.gaps) == 1
        append(valkey, event("third", "PENDING", 9.0))
        await eventually(lambda: relay.hub.history.last == 5, what="the relay to know")
        assert await ids(relay.archive) == ["third", "second", "first"]


async def test_a_task_that_the_journal_has_lost_is_found_by_its_id(valkey: Valkey, tmp_path: Path) -> None:
    settings = kept(tmp_path / "archive.db")
    append(valkey, *life("old", name="mail.send", tags=("user:42",)))
    async with serving(valkey.url(), settings=settings) as (_, relay):
        assert await ids(relay.archive) == ["old"]
    with valkey.client() as redis:
        redis.flushdb()
    append(valkey, *life("new"))
    async with serving(valkey.url(), settings=settings) as (http, relay):
        assert set(await ids(relay.archive)) == {"old", "new"}
        found = (await http.get("/api/tasks/old")).json()
        assert (found["state"], found["name"], found["offset"]) == ("SUCCESS", "mail.send", 0)
        for watch, seen in ((("tag:user:42",), True), (("tag:user:7", "task:new"), False), ((), False)):
            task = await relay.lookup("old", Grant(watch=watch))
            assert (task is not None) == seen
        assert await relay.lookup("nothing") is None


async def test_events_that_left_the_journal_unread_are_a_gap(valkey: Valkey, tmp_path: Path) -> None:
    settings = kept(tmp_path / "archive.db")
    append(valkey, *life("seen"), event("open", "STARTED", 5.0))
    async with serving(valkey.url(), settings=settings) as (_, relay):
        assert await ids(relay.archive) == ["open", "seen"]
    append(valkey, *life("unseen"))
    append(valkey, event("last", "PENDING", 50.0))
    with valkey.client() as redis:
        redis.xtrim(JOURNAL.stream, maxlen=1, approximate=False)
    async with serving(valkey.url(), settings=settings) as (_, relay):
        assert await ids(relay.archive) == ["last", "open", "seen"]
        (gap,) = relay.archive.reach.gaps
        assert (gap.since, gap.until, gap.events) == (5.0, 50.0, 4)


async def test_what_a_journal_had_that_is_gone_is_a_gap_of_so_many_events(valkey: Valkey, tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    async with serving(valkey.url(), settings=kept(path)) as (_, relay):
        append(valkey, event("seen", "PENDING", 5.0))
        await eventually(lambda: relay.hub.history.last == 1, what="the relay to know")
        assert await ids(relay.archive) == ["seen"]
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        append(valkey, *life("unseen"))
        await eventually(lambda: relay.archive.trouble is not None, what="the archive to be behind")
        epoch = relay.hub.history.epoch
        with valkey.client() as redis:
            redis.flushdb()
        append(valkey, event("next", "PENDING", 9.0))
        await eventually(lambda: relay.hub.history.epoch != epoch, what="the relay to read the next journal")
        other.close()
        await eventually(lambda: relay.archive.trouble is None, what="the archive to go on")
        assert await ids(relay.archive) == ["next", "seen"]
        (gap,) = relay.archive.reach.gaps
        assert (gap.since, gap.events) == (5.0, 4)


async def test_a_database_that_is_busy_holds_up_only_its_own_answers(valkey: Valkey, tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    async with serving(valkey.url(), settings=kept(path)) as (_, relay):
        assert await ids(relay.archive) == []
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        append(valkey, *life("meanwhile"))
        await eventually(lambda: relay.archive.trouble is not None, what="the archive to say that it can't write")
        task = await relay.lookup("meanwhile")
        assert task is not None
        assert task.state == "SUCCESS"
        with pytest.raises(Unavailable, match="the archive can't tell: its database doesn't answer"):
            await ids(relay.archive)
        assert relay.archive.figures.errors

        other.execute("ROLLBACK")
        other.close()
        await eventually(lambda: relay.archive.trouble is None, what="the archive to catch up")
        assert await ids(relay.archive) == ["meanwhile"]


async def test_writing_that_keeps_failing_is_told_once_and_tried_ever_more_seldom(
    valkey: Valkey, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "archive.db"
    caplog.set_level("INFO", "watcher.relay.archive")
    async with serving(valkey.url(), settings=kept(path)) as (http, relay):
        assert await ids(relay.archive) == []
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute(
                "CREATE TRIGGER full BEFORE UPDATE ON watcher_catalogue BEGIN SELECT RAISE(ABORT, 'is full'); END"
            )
        append(valkey, *life("meanwhile"))
        await eventually(lambda: relay.archive.trouble is not None, what="the archive to say that it can't write")
        told: list[bool] = []

        def is_tried_again() -> bool:
            told.append(relay.archive.trouble is not None)
            return relay.archive._attempt > 2

        await eventually(is_tried_again, what="the archive to try again and again")
        assert all(told)
        assert (await http.get("/readyz")).json()["status"] == "degraded"
        assert [record.levelname for record in caplog.records] == ["WARNING"]

        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("DROP TRIGGER full")
        await eventually(lambda: relay.archive.trouble is None, what="the archive to catch up")
        assert await ids(relay.archive) == ["meanwhile"]
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        assert relay.archive._attempt == 0


@pytest.mark.parametrize("lasting", [True, False])
async def test_a_file_that_is_removed_is_noticed_and_built_again(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lasting: bool
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    append(valkey, *life("old"))
    caplog.set_level("INFO", "watcher.relay.archive")
    async with serving(valkey.url(), settings=kept(tmp_path / "archive.db") if lasting else None) as (http, relay):
        assert await ids(relay.archive) == ["old"]
        if lasting:
            (tmp_path / "archive.db").unlink()
        else:
            shutil.rmtree(tmp_path / entries(tmp_path)[0])
        await eventually(lambda: relay.archive.trouble is not None, what="the archive to notice")
        assert "its file was removed, or replaced" in (await http.get("/readyz")).text
        with pytest.raises(Unavailable):  # and makes no file
            await relay.archive._ask(lambda catalogue: catalogue.position())

        await eventually(lambda: relay.archive.trouble is None, what="the archive to be built again")
        assert await ids(relay.archive) == ["old"]
        append(valkey, event("new", "PENDING", 9.0))
        await eventually(lambda: relay.hub.history.last == 5, what="the relay to know")
        assert await ids(relay.archive) == ["new", "old"]
        assert modes(tmp_path) == [0o600] * (4 if lasting else 3)  # with the log, its index, and the lock
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    if lasting:
        with contextlib.closing(sqlite3.connect(tmp_path / "archive.db")) as file:
            assert file.execute("SELECT count(*) FROM watcher_tasks").fetchone() == (2,)


async def test_a_second_relay_does_not_write_the_same_file(valkey: Valkey, tmp_path: Path) -> None:
    settings = kept(tmp_path / "archive.db")
    async with serving(valkey.url(), settings=settings) as (_, relay):
        assert await ids(relay.archive) == []
        second = Archive(settings, relay.archive._journals)
        with pytest.raises(SettingError, match="another relay keeps its catalogue there"):
            await second.open()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite:///:memory:", "accepted is sqlite:// and the path of a file"),
        ("sqlite:////no/such/directory/archive.db", "a file in a directory that exists"),
        ("postgresql://user:hidden@host", "the name of the database is missing"),
        ("mysql://host/db", "accepted are sqlite"),
    ],
)
async def test_a_place_that_is_none_is_refused(valkey: Valkey, url: str, problem: str) -> None:
    async with serving(valkey.url()) as (_, relay):
        with pytest.raises(SettingError, match=problem) as error:
            await Archive(Settings(archive=url), relay.archive._journals).open()
        assert "hidden" not in str(error.value)


async def test_a_temporary_archive_leaves_nothing_behind(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    abandoned = tmp_path / "celery-watcher-killed"
    abandoned.mkdir()
    (abandoned / "lock").touch()
    (abandoned / "catalogue.db").touch()
    async with serving(valkey.url()) as (_, relay):
        assert await ids(relay.archive) == []
        mine = entries(tmp_path)
        assert len(mine) == 1
        assert mine != ["celery-watcher-killed"]
        async with serving(valkey.url()):
            pass
        assert entries(tmp_path) == mine
    assert not entries(tmp_path)


async def test_an_unfinished_task_of_a_gap_is_filled_in_from_the_result_backend(valkey: Valkey, tmp_path: Path) -> None:
    settings = kept(tmp_path / "archive.db")
    append(valkey, event("lost", "STARTED", 5.0), event("kept", "STARTED", 6.0))
    async with serving(valkey.url(), settings=settings) as (_, relay):
        assert await ids(relay.archive, "state:running") == ["kept", "lost"]
    with valkey.client() as redis:
        redis.flushdb()

    async with serving(valkey.url(), settings=settings) as (_, relay):
        stand_in(relay, event("lost", "SUCCESS", 7.0, runtime=2.0))
        assert set(await ids(relay.archive)) == {"kept", "lost"}
        append(valkey, *life("next"))

        async def is_filled() -> bool:
            return await ids(relay.archive, "state:succeeded id:lost") == ["lost"]

        for _ in range(100):
            if await is_filled():
                break
        assert await is_filled()


def stand_in(relay: Node, *told: Any) -> None:
    """Have the result backend of a relay without an app know the ends of some tasks."""
    known = {each.id: each for each in told}

    async def stored(identity: str) -> Any:
        return known.get(identity)

    relay.archive._journals = relay.archive._journals._replace(stored=stored)
