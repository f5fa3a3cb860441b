"""What is published on the journal's channel is believed where a writer of the journal did it, and else looked up."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from tests.relay.feeding import Running, feeding
from tests.support.events import event, line
from tests.support.valkey import Valkey

pytestmark = pytest.mark.anyio


async def forged(running: Running, *told: str, **head: Any) -> None:
    """Publish on the journal's channel as somebody who has no right but that."""
    epoch, offset = await running.positions.newest()
    first = head.get("first", offset + 1)
    words = [head.get("epoch", epoch), str(first), *([head["code"]] if "code" in head else [])]
    publisher: Any
    await running.redis.acl_setuser(
        "publisher", enabled=True, nopass=True, reset_channels=True, channels=[running.journal.live],
        categories=["-@all"], commands=["+publish"], reset=True,
    )  # fmt: skip
    async with running.redis.client() as publisher:
        await publisher.execute_command("AUTH", "publisher", "any")
        with pytest.raises(NoPermissionError):
            await publisher.get(running.journal.live_secret)
        await publisher.publish(running.journal.live, "\n".join((" ".join(words), *told)))
        await publisher.execute_command("AUTH", "default", "any")


@pytest.mark.parametrize("code", [None, "f" * 40])
async def test_who_may_only_publish_adds_no_event_and_ends_no_epoch(valkey: Valkey, code: str | None) -> None:
    """Neither by an end that never was, nor by one that the next event contradicts, nor by another epoch."""
    end = line("a", "SUCCESS", 9.0).decode()
    head = {} if code is None else {"code": code}
    async with feeding(valkey) as running:
        await running.ready()
        await running.append(event("a"))
        await running.has(1)
        epoch, _ = await running.positions.newest()
        for told in ({}, {"first": 1}, {"first": 50}, {"epoch": str(int(epoch) + 1)}, {"epoch": "1"}):
            await forged(running, end, **told, **head)
        await running.append(event("b"))
        await running.has(2)
        await forged(running, end, **head)
        await running.append(event("c"))
        await running.has(3)
        assert running.sink.lines == [line("a"), line("b"), line("c")]
        assert sum(running.sink.handed) == 3, "nothing else was ever handed on"
        assert len(running.sink.snapshots) == 1, "nobody was told to start anew"
        assert await running.positions.newest() == (epoch, 3), "and the journal is the one that it was"


async def test_replayed_or_forged_publication_is_not_an_event(valkey: Valkey) -> None:
    """By somebody who hears the channel too, and so has messages with a code that is right."""
    async with feeding(valkey) as running:
        await running.ready()
        async with running.redis.pubsub() as hearing:
            await hearing.subscribe(running.journal.live)
            await running.append(event("a"))
            await running.has(1)
            heard = await anext(each["data"] async for each in hearing.listen() if each["type"] == "message")
        head, told = heard.split(b"\n", 1)
        epoch, _, code = head.split(b" ")
        forged = line("a", "SUCCESS", 9.0)
        for message in (
            heard,
            b"%b\n%b" % (head, forged),
            b"%b\n%b\n%b" % (head, told, forged),
            b"%b 2 %b\n%b" % (epoch, code, forged),
            b"%b  1 %b\n%b" % (epoch, code, forged),
        ):
            await running.redis.publish(running.journal.live, message)
        await running.append(event("b"))
        await running.has(2)
        assert (running.sink.lines, len(running.sink.snapshots)) == ([line("a"), line("b")], 1)


async def test_forged_publications_cost_few_reads_and_lose_no_events(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with feeding(valkey) as running:
        await running.ready()
        await running.append(event("a"))
        await running.has(1)
        before = (await running.redis.info("commandstats"))["cmdstat_xrange"]["calls"]
        for number in range(50):
            async with running.redis.pipeline(transaction=False) as pipeline:
                for _ in range(40):
                    _ = pipeline.publish(running.journal.live, "1 1\nx")
                await pipeline.execute()
            await running.append(event(f"t{number}"))
        await running.has(51)
        looks = (await running.redis.info("commandstats"))["cmdstat_xrange"]["calls"] - before
        assert looks <= 200, "2,000 messages"
    said = [each for each in caplog.messages if "without a valid code" in each]
    assert len(said) == 1, "one line in ten seconds"


async def test_events_that_follow_are_taken_from_what_is_published(valkey: Valkey) -> None:
    """Not one command more for a reader, whoever has read what from the stream at its start."""
    async with feeding(valkey) as running:
        await running.ready()
        await running.append(event("a"))
        await running.has(1)

        async def asked() -> dict[str, int]:
            stats = await running.redis.info("commandstats")
            return {name: stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("xrange", "evalsha", "get")}

        before = await asked()
        for number in range(200):
            await running.append(event(f"t{number}"))
        await running.has(201)
        after = await asked()
        assert after == before | {"evalsha": before["evalsha"] + 200}


async def test_a_journal_that_lost_its_secret_gets_another(valkey: Valkey) -> None:
    async with feeding(valkey) as running:
        await running.ready()
        await running.append(event("a"))
        await running.has(1)
        secret = await running.redis.get(running.journal.live_secret)
        for spoil in (
            running.redis.delete,
            lambda key: running.redis.lpush(key, "x"),
            lambda key: running.redis.set(key, "x"),
        ):
            await running.redis.delete(running.journal.live_secret)
            await spoil(running.journal.live_secret)
            await running.append(event(f"t{len(running.sink.lines)}"))
            await running.has(len(running.sink.lines) + 1)
            assert await running.redis.get(running.journal.live_secret) == secret
        assert len(running.sink.snapshots) == 1
