"""Broker, journal or client go away in the middle of it."""

from __future__ import annotations

import json
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from celery import Celery

from tests.relay.support import JOURNAL, celery_app, client, gateway_to, journal, queued, request, timed
from tests.support.processes import free_port
from tests.support.valkey import Valkey, valkey_server
from watcher.core.errors import (
    Unavailable,
)
from watcher.core.permissions import OPEN
from watcher.core.settings import Settings
from watcher.relay.submit.gateway import Gateway, Submitted

pytestmark = pytest.mark.anyio


async def test_nobody_at_the_brokers_port(valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    app = celery_app(f"redis://127.0.0.1:{port}/15", valkey.url(14))
    data = request("tasks.add", 1, 2, options={"task_id": "late"})
    async with gateway_to(app, valkey.url()) as (gateway, _):
        elapsed, outcome = await timed(lambda: gateway.submit(data, OPEN, key="k"))
        assert isinstance(outcome, Unavailable)
        assert (outcome.submitted, outcome.temporary, outcome.code, outcome.status) == ("no", True, 100, 503)
        assert "refused" in str(outcome)
        assert elapsed < 3
        assert [(event.state, event.reason) for event in journal(valkey)] == [
            ("PENDING", None),
            ("REJECTED", "not_sent"),
        ]
        elapsed, outcome = await timed(lambda: gateway.revoke(b'{"id": "late"}', OPEN))
        assert isinstance(outcome, Unavailable)
        assert elapsed < 3
        # The broker comes back: the same request is taken.
        with valkey_server(port=port) as broker:
            assert (await gateway.submit(data, OPEN, key="k")).id == "late"
            with broker.client(15) as redis:
                assert redis.llen("celery") == 1


async def test_a_frozen_broker_is_answered_for_within_three_seconds(valkey: Valkey) -> None:
    with valkey_server() as broker:
        app = celery_app(broker.url(15))
        async with gateway_to(app, valkey.url()) as (gateway, _):
            await gateway.submit(request("tasks.add", 0, 0), OPEN)
            outcomes: list[tuple[float, Any]] = []

            async def submit(number: int) -> None:
                data = request("tasks.add", number, 1, options={"task_id": f"t{number}"})
                outcomes.append(await timed(lambda: gateway.submit(data, OPEN)))

            async def revoke() -> None:
                outcomes.append(await timed(lambda: gateway.revoke(b'{"id": "x"}', OPEN)))

            with broker.frozen():
                async with anyio.create_task_group() as group:
                    for number in range(300):
                        group.start_soon(submit, number)
                await revoke()
            assert max(elapsed for elapsed, _ in outcomes) < 3
            assert {type(outcome) for _, outcome in outcomes} == {Unavailable}
            told = [outcome.submitted for _, outcome in outcomes]
            assert set(told) == {"no", "unknown", None}
            # Those that were said not to be queued are not.
            sent = {json.loads(raw)["headers"]["id"] for raw in _all(broker)}
            rejected = {event.id for event in journal(valkey) if event.state == "REJECTED"}
            assert not sent & rejected
            # It works again.
            await gateway.submit(request("tasks.add", 5, 5, options={"task_id": "after"}), OPEN)
            assert "after" in {json.loads(raw)["headers"]["id"] for raw in _all(broker)}


def _all(broker: Valkey) -> list[bytes]:
    with broker.client(15) as redis:
        found: list[bytes] = redis.lrange("celery", 0, -1)
        return found


async def test_a_frozen_journal_is_answered_for_within_three_seconds(valkey: Valkey) -> None:
    with valkey_server() as other:
        app = celery_app(valkey.url(15))
        async with gateway_to(app, other.url()) as (gateway, _):
            await gateway.submit(request("tasks.add", 0, 0), OPEN)
            with other.frozen():
                elapsed, outcome = await timed(lambda: gateway.submit(request("tasks.add", 1, 1), OPEN))
            assert isinstance(outcome, Unavailable)
            assert (outcome.submitted, elapsed < 3) == ("no", True)
            assert len(queued(valkey)) == 1
            await gateway.submit(request("tasks.add", 2, 2), OPEN)
            other.kill()
            elapsed, outcome = await timed(lambda: gateway.submit(request("tasks.add", 1, 1), OPEN))
            assert isinstance(outcome, Unavailable)
            assert (outcome.submitted, elapsed < 3) == ("no", True)
    assert len(queued(valkey)) == 2


async def test_a_broker_that_is_full_says_no(valkey: Valkey) -> None:
    with valkey_server() as broker:
        app = celery_app(broker.url(15))
        async with gateway_to(app, valkey.url()) as (gateway, _):
            await gateway.submit(request("tasks.add", 0, 0), OPEN)
            with broker.client() as redis:
                redis.config_set("maxmemory", "1")
            _, outcome = await timed(lambda: gateway.submit(request("tasks.add", 1, 1), OPEN))
            assert isinstance(outcome, Unavailable)
            assert outcome.submitted == "no"
            assert "broker refuses" in str(outcome)
    assert journal(valkey)[-1].state == "REJECTED"


async def test_a_journal_that_is_full_is_not_said_to_be_silent(valkey: Valkey, app: Celery) -> None:
    async with gateway_to(app, valkey.url()) as (gateway, _):
        with valkey.client() as redis:
            redis.config_set("maxmemory", "1")
            try:
                with pytest.raises(Unavailable, match=r"Redis refuses it: .*memory") as refused:
                    await gateway.submit(request("tasks.add", 1, 2), OPEN)
            finally:
                redis.config_set("maxmemory", "0")
        assert refused.value.submitted == "no"


async def test_closing_waits_for_what_is_under_way_and_takes_no_more(app: Celery, valkey: Valkey) -> None:
    async with client(valkey.url()) as redis:
        gateway = Gateway(app, Settings(), JOURNAL, redis)
        await gateway.start()
        outcomes: list[Any] = []

        async def submit(number: int) -> None:
            outcomes.append((await timed(lambda: gateway.submit(request("tasks.add", number, 0), OPEN)))[1])

        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(submit, number)
            await anyio.lowlevel.checkpoint()
            await gateway.aclose()
            assert len(outcomes) == 50
        assert {type(outcome) for outcome in outcomes} == {Submitted}
        with pytest.raises(Unavailable, match="stopping"):
            await gateway.submit(request("tasks.add", 1, 2), OPEN)


async def test_a_client_that_goes_away_leaves_no_half_sent_task(gateway: Gateway, valkey: Valkey) -> None:
    await gateway.start()
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(gateway.submit, request("tasks.add", number, 0), OPEN)
        while not journal(valkey):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    announced = [event.id for event in journal(valkey) if event.state == "PENDING"]
    rejected = {event.id for event in journal(valkey) if event.state == "REJECTED"}
    assert {message["headers"]["id"] for message in queued(valkey)} == set(announced) - rejected
