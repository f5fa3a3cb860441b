"""Many tasks asked for at once: lists over any number of pages, numbers, and what is said of a wrong filter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import watcher
from tests.support.processes import Relay
from watcher.client import Counts, RelayRefused

pytestmark = pytest.mark.anyio

COUNT = 120


async def test_a_list_is_all_of_it_and_numbers_are_of_the_same(running: Relay) -> None:
    async with watcher.connect(running.url) as relay:
        asked = "tag:list-of-many"
        tagged = relay.options(tags=["list-of-many"])
        assert len([result async for result in tagged.map("tasks.test", range(COUNT))]) == COUNT
        with pytest.raises(watcher.TaskFailed):
            await (await tagged.submit("tasks.fail", "x"))
        listed = [task.id async for task in relay.list(asked)]
        assert len(set(listed)) == len(listed) == COUNT + 1
        some = [task async for task in relay.list(f"{asked} state:succeeded", sort="sent", limit=COUNT - 15)]
        assert len({task.id for task in some}) == COUNT - 15
        assert [task.data["sent"] for task in some] == sorted((task.data["sent"] for task in some), reverse=True)
        assert all(task.final and task.result is not None for task in some)
        assert [task async for task in relay.list("id:nothing")] == []

        assert await relay.count(asked) == COUNT + 1
        states: Counts[str | None] = await relay.count(asked, by="state")
        assert states == {"SUCCESS": COUNT, "FAILURE": 1}
        assert (states.total, states.more) == (COUNT + 1, False)
        assert await relay.count(asked, by=("error", "name")) == {
            (None, "tasks.test"): COUNT, ("RuntimeError", "tasks.fail"): 1,
        }  # fmt: skip
        now = datetime.now(UTC)
        hour = await relay.series(asked, since=timedelta(hours=1), until=now + timedelta(minutes=1), buckets=1)
        assert sum(bucket.succeeded for bucket in hour.buckets) == COUNT
        names = {each.name: each for each in await relay.names(asked, since=now - timedelta(hours=1))}
        assert (names["tasks.test"].count, names["tasks.fail"].failed) == (COUNT, 1)
        assert names["tasks.test"].runtime is not None


async def test_a_wrong_question_is_refused_with_what_was_meant(running: Relay) -> None:
    async with watcher.connect(running.url) as relay:
        with pytest.raises(RelayRefused, match=r"did you mean state:failed\?"):
            await relay.count("stat:failed")
        with pytest.raises(RelayRefused, match="yesterday is no moment"):
            await relay.series(since="yesterday")
        assert [task async for task in relay.list(limit=0)] == []
        with pytest.raises(ValueError, match="'overview' has no events"):
            relay.watch("overview")


def test_the_blocking_twins_say_the_same(running: Relay) -> None:
    with watcher.connect_sync(running.url) as relay:
        tagged = relay.options(tags=["twins"])
        assert sorted(tagged.map("tasks.test", range(3))) == [1, 2, 3]
        with relay.list("tag:twins", limit=2) as tasks:
            assert [task.state for task in tasks] == ["SUCCESS", "SUCCESS"]
        assert relay.count("tag:twins") == 3
        assert relay.count("tag:twins", by="queue") == {"celery": 3}
        assert relay.count("tag:twins", by=("queue", "state")) == {("celery", "SUCCESS"): 3}
        assert [(each.name, each.count) for each in relay.names("tag:twins")] == [("tasks.test", 3)]
        assert sum(bucket.sent for bucket in relay.series("tag:twins").buckets) == 3
