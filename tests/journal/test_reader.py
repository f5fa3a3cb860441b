"""The entries of the journal's stream, as they are read."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from tests.support.events import event, line, record
from tests.support.valkey import Valkey
from watcher.journal.layout import Batch, Journal, entry
from watcher.journal.reader import entries
from watcher.journal.scripts import APPEND


def test_an_entry_with_another_count_than_it_says_is_no_events() -> None:
    assert entry((b"1-7", {b"e": b"a\nb", b"n": b"2"})) == Batch("1", 6, [b"a", b"b"])
    assert entry((b"1-7", {b"e": b"a\nb", b"n": b"3"})) == Batch("1", 5, [b"", b"", b""])
    assert entry((b"1-7", {b"e": b"a", b"n": b"9"})) == Batch("1", 7, [b"a"]), "there are no eight before it"
    assert entry((b"1-7", {b"n": b"x"})) == Batch("1", 7, [b""])


@pytest.mark.anyio
async def test_each_entry_comes_once_from_either_end(valkey: Valkey) -> None:
    journal = Journal()
    batches = [[event(f"t{number}-{index}") for index in range(1 + number % 5)] for number in range(250)]
    async with Redis.from_url(valkey.url()) as redis:
        script = redis.register_script(APPEND)
        for number, batch in enumerate(batches, start=1):
            await script(*journal.append("w", number, list(map(record, batch))))
        forwards = [batch async for batch in entries(redis, journal.stream, "-")]
        backwards = [batch async for batch in entries(redis, journal.stream, "+", backwards=True)]
    assert forwards == backwards[::-1]
    assert [each for batch in forwards for each in batch.lines] == [
        line(told.id) for batch in batches for told in batch
    ]
