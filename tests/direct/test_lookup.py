"""Looking up what the journal knows, on servers where EVAL was taken away, and whose scripts were forgotten."""

from __future__ import annotations

import pytest

from tests.support.events import event, record
from tests.support.redises import VERSIONS, running
from watcher.direct.lookup import Lookup
from watcher.journal.connect_async import async_client
from watcher.journal.layout import Journal
from watcher.worker.publish.appender import Appender

pytestmark = pytest.mark.anyio

JOURNAL = Journal()


@pytest.mark.parametrize("version", VERSIONS)
async def test_no_right_to_eval_is_needed(version: str) -> None:
    with running(version, "--rename-command", "EVAL", "") as server:
        appender = Appender(server.url(), JOURNAL)
        appender.append(1, [record(event("a", "STARTED"))])
        appender.close()
        async with async_client(server.url()) as redis:
            lookup = Lookup(redis, "celery-task-meta-", redis, JOURNAL)
            for _ in range(2):
                (look,) = (await lookup.known_to_journal(["a"], ["a"])).values()
                assert (look.state, [offset for offset, _ in look.lines]) == ("STARTED", [1])
                await redis.script_flush()  # as a restart does
