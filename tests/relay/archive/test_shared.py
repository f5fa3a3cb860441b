"""Several relays with one archive in PostgreSQL: one of them writes, all tell the same, and another one goes on."""

from __future__ import annotations

import anyio
import pytest
from anyio.abc import TaskStatus

from tests.relay.archive.test_archive import ids
from tests.relay.serving import append, serving
from tests.support.events import event, life
from tests.support.postgres import database
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.core.settings import Settings
from watcher.relay.node import Node

pytestmark = pytest.mark.anyio


async def test_one_writes_all_tell_the_same_and_another_one_goes_on(valkey: Valkey, postgres: str) -> None:
    settings = Settings(archive=database(postgres, "shared"))
    append(valkey, *life("first"))
    ended = anyio.Event()

    async def serve(*, task_status: TaskStatus[Node]) -> None:
        async with serving(valkey.url(), settings=settings) as (_, relay):
            task_status.started(relay)
            await ended.wait()

    async with anyio.create_task_group() as group:
        one = await group.start(serve)
        assert await ids(one.archive) == ["first"]
        async with serving(valkey.url(), settings=settings) as (_, other):
            append(valkey, event("second", "PENDING", 9.0))
            await eventually(lambda: other.hub.history.last == 5, what="the relay to know")
            assert await ids(other.archive) == ["second", "first"]
            assert await ids(one.archive) == ["second", "first"]
            assert (one.archive.figures.writes, other.archive.figures.writes) == (True, False)

            ended.set()
            await eventually(lambda: other.archive.figures.writes, what="the other relay to write")
            append(valkey, event("second", "SUCCESS", 10.0))
            await eventually(lambda: other.hub.history.last == 6, what="the relay to know")
            assert await ids(other.archive, "state:succeeded") == ["second", "first"]
