"""The queues that a submission may name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kombu import Queue

from tests.relay.support import celery_app, gateway_to, journal, queued, request
from tests.support.processes import worker
from tests.support.valkey import Valkey
from watcher.core.errors import BadArguments, NotPermitted, Refused
from watcher.core.permissions import OPEN
from watcher.core.settings import Settings
from watcher.relay.submit.gateway import Gateway
from watcher.relay.submit.queues import routed

pytestmark = pytest.mark.anyio

ANY = replace(OPEN, queues=("*",))


def to(queue: str) -> bytes:
    return request("tasks.add", 1, 2, options={"queue": queue})


async def refusal(gateway: Gateway, queue: str) -> str:
    """What is said where nothing is sent."""
    with pytest.raises(Refused) as refused:
        await gateway.submit(to(queue), ANY)
    assert isinstance(refused.value, BadArguments)
    assert (refused.value.status, refused.value.argument) == (422, "queue")
    return str(refused.value)


async def test_names_that_are_kept_are_refused_whoever_asks(valkey: Valkey) -> None:
    app = celery_app(
        valkey.url(15), event_queue_prefix="happenings", task_queues=[Queue("celery"), Queue("celeryev.mine")],
        broker_transport_options={"unacked_key": "pending", "unacked_mutex_key": "pending.lock"},
        result_backend_transport_options={"global_keyprefix": "shop_"},
    )  # fmt: skip
    kept = [
        "celeryev", "celeryev.5f", "box.celery.pidbox", "x.reply.celery.pidbox", "other.pidbox", "amq.gen-1",
        "_kombu.binding.celery", "unacked", "unacked_index", "unacked_mutex", "celery-task-meta-1", "chord-unlock-1",
        "celery-taskset-meta-1.j", "celery_delayed_27", "celery_delayed_delivery", "{watcher}:journal",
        "happenings.1", "pending", "pending.lock", "shop_celery-task-meta-1", "shop__celery-taskset-meta-1",
    ]  # fmt: skip
    async with gateway_to(app, valkey.url(), Settings(submit_queues=("*", "?*"))) as (gateway, redis):
        for name in kept:
            said = await refusal(gateway, name)
            assert repr(name) in said
            assert "reserved by" in said
        for name in ("q" * 256, "ä" * 128):
            assert "255 bytes" in await refusal(gateway, name)
        for name in ("", "a\nb", "a\x06\x163"):
            assert "must be the name of a queue" in await refusal(gateway, name)
        assert await redis.dbsize() == 0
        await gateway.submit(to("ä" * 127), ANY)
    with valkey.client(15) as redis:
        assert redis.llen("ä" * 127) == 1


async def test_submit_accepts_only_known_queues_or_granted_ones(valkey: Valkey) -> None:
    app = celery_app(
        valkey.url(15), task_queues=[Queue("configured")], task_default_queue="default",
        task_routes=([("tasks.sleep", {"queue": "routed"})], {"tasks.text": "also", "x.*": {"queue": Queue("third")}}),
    )  # fmt: skip
    vars(app.tasks["tasks.expiring"])["queue"] = "own"
    known = ["configured", "default", "routed", "also", "third", "own"]
    assert routed(app.conf.task_routes) == {"routed", "also", "third"}
    async with gateway_to(app, valkey.url()) as (gateway, _):
        for name in known:
            await gateway.submit(to(name), OPEN)
        before = [*app.amqp.queues]
        with pytest.raises(BadArguments, match="option 'queue': unknown queue 'nowhere'") as refused:
            await gateway.submit(to("nowhere"), OPEN)
        assert "WATCHER_SUBMIT_QUEUES" in str(refused.value)
        assert [*app.amqp.queues] == before
        await gateway.submit(to("nowhere"), replace(OPEN, queues=("no*",)))
    assert [event.queue for event in journal(valkey)] == [*known, "nowhere"]
    async with gateway_to(celery_app(valkey.url(15)), valkey.url(), Settings(submit_queues=("user.*",))) as (
        gateway,
        _,
    ):
        await gateway.submit(to("user.7"), OPEN)
        with pytest.raises(NotPermitted, match="option 'queue'"):
            await gateway.submit(to("celery"), ANY)


async def test_a_queue_that_a_worker_serves_now_may_be_named(valkey: Valkey, tasks_env: dict[str, str]) -> None:
    app = celery_app(tasks_env["CELERY_BROKER_URL"])
    with worker("tasks", "-Q", "reports,celery", pool="solo", env=tasks_env):
        async with gateway_to(app, valkey.url()) as (gateway, _):
            await gateway.submit(to("reports"), OPEN)
            with pytest.raises(BadArguments, match="no worker consumes it"):
                await gateway.submit(to("report"), OPEN)
    assert [event.queue for event in journal(valkey) if event.state == "PENDING"] == ["reports"]


async def test_a_queue_that_the_broker_refuses_is_named(valkey: Valkey) -> None:
    """On a Redis that is a key of somebody else's."""
    with valkey.client(15) as redis:
        redis.set("taken", "1")
    async with gateway_to(celery_app(valkey.url(15)), valkey.url()) as (gateway, _):
        assert "'taken' can't be sent to, the broker refuses: " in await refusal(gateway, "taken")
    assert [(event.state, event.reason) for event in journal(valkey)] == [("PENDING", None), ("REJECTED", "not_sent")]
    assert queued(valkey) == []
