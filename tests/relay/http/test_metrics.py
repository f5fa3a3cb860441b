"""What Prometheus is told, and to whom."""

from __future__ import annotations

import re

import anyio
import httpx
import pytest
import yaml
from celery import Celery
from prometheus_client.parser import text_string_to_metric_families

from tests.relay.serving import append, is_problem, known, listening, serving
from tests.relay.support import SECRET
from tests.support.client import client as websocket
from tests.support.events import event, life
from tests.support.processes import ROOT
from tests.support.sse import reading
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import eventually
from watcher.core.permissions import issue
from watcher.core.settings import Settings
from watcher.relay.http.metrics import families
from watcher.relay.node import Node
from watcher.relay.security.forwarded import Peer
from watcher.relay.stream.positions import Size

pytestmark = pytest.mark.anyio


async def scraped(client: httpx.AsyncClient, **headers: str) -> dict[str, float]:
    """Sample, with its labels as Prometheus writes them → value."""
    response = await client.get("/metrics", headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain")
    assert response.headers["cache-control"] == "no-store"
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def test_clients_and_events_are_counted(valkey: Valkey) -> None:
    async with listening(valkey.url()) as (client, relay):
        url = str(client.base_url).replace("http", "ws") + "/connection/websocket"
        async with websocket(url) as first, websocket(url) as second, reading(client, "tasks") as reader:
            await first.subscribe("tasks")
            await first.subscribe("name:n")
            await second.subscribe("tasks")
            await reader.until_position(f"{relay.hub.history.epoch}:0")
            append(valkey, *life("t"))
            await reader.take(4)
            await first.until(lambda: len(first.publications()) == 4, "the events")
            await second.until(lambda: len(second.publications()) == 4, "the events")
            found = await scraped(client)
    expected = {
        "watcher_websocket_connections": 2,
        "watcher_websocket_subscriptions": 3,
        "watcher_websocket_clients_behind": 0,
        "watcher_sse_streams": 1,
        "watcher_sse_streams_behind": 0,
        "watcher_events_received_total": 4,
        'watcher_events_delivered_total{transport="websocket"}': 8,
        'watcher_events_delivered_total{transport="sse"}': 4,
        "watcher_websocket_writes_total": 2,
        'watcher_http_responses_total{code="200"}': 1,
        "watcher_redis_up": 1,
        f'watcher_feed_info{{epoch="{relay.hub.history.epoch}"}}': 1,
        "watcher_feed_offset": 4,
        "watcher_history_events": 4,
        "watcher_history_bytes": relay.hub.history.size,
        "watcher_journal_offset": 4,
        "watcher_journal_events": 4,
        "watcher_tasks_unfinished": 0,
        "watcher_safety_net_active": 0,
        "watcher_archive_errors_total": 0,
        "watcher_archive_gaps": 0,
        "watcher_archive_skipped_total": 0,
        "watcher_archive_writes": 1,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["watcher_journal_bytes"] > 500
    assert found["process_resident_memory_bytes"] > 10_000_000
    assert found["process_cpu_seconds_total"] > 0


async def test_requests_are_counted_by_how_they_end(valkey: Valkey, app: Celery) -> None:
    async with serving(valkey.url(), app) as (client, relay):
        await client.post("/api/tasks", json={"task": "tasks.add", "args": [1, 2], "options": {"task_id": "t"}})
        await client.post("/api/tasks", json={"task": "tasks.add", "args": [1]})
        await client.post("/api/tasks", json={"task": "nope"})
        await client.get("/api/tasks/nobody")
        await client.get("/api/tasks", headers={"Host": "evil.example"})
        await client.get("/api/tasks", headers={"Origin": "https://evil.example"})
        evil = {"Host": ["evil.example"]}
        assert relay.clients.refusal(Peer(None, False, "evil.example", None), lambda name: evil.get(name, []))
        async with anyio.create_task_group() as group:
            group.start_soon(client.get, "/api/tasks/t?wait=20")
            await eventually(lambda: relay.counts.waiting, what="the request to wait")
            found = await scraped(client)
            append(valkey, event("t", "SUCCESS", 9e9))
        after = await scraped(client)
    expected = {
        'watcher_submissions_total{outcome="accepted"}': 1,
        'watcher_submissions_total{outcome="arguments-do-not-fit"}': 1,
        'watcher_submissions_total{outcome="unknown-task"}': 1,
        "watcher_submissions_under_way": 0,
        'watcher_requests_refused_total{reason="arguments-do-not-fit"}': 1,
        'watcher_requests_refused_total{reason="not-found"}': 1,
        'watcher_requests_refused_total{reason="foreign-host"}': 1,
        'watcher_requests_refused_total{reason="foreign-origin"}': 1,
        'watcher_requests_refused_total{reason="handshake"}': 1,
        'watcher_http_responses_total{code="202"}': 1,
        'watcher_http_responses_total{code="422"}': 2,
        'watcher_http_responses_total{code="403"}': 2,
        "watcher_http_requests_waiting": 1,
        "watcher_tasks_unfinished": 1,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert after["watcher_http_requests_waiting"] == 0


async def test_with_a_secret_the_metrics_need_sight_of_everything(valkey: Valkey) -> None:
    async with serving(valkey.url(), settings=Settings(secret=SECRET)) as (client, _):
        is_problem(await client.get("/metrics"), 401, "a token is required")
        few = {"Authorization": f"Bearer {issue(SECRET, watch=['task:*'])}"}
        is_problem(await client.get("/metrics", headers=few), 403, "'tasks'")
        found = await scraped(client, Authorization=f"Bearer {issue(SECRET, watch=['tasks'])}")
        assert found['watcher_requests_refused_total{reason="unauthorized"}'] == 1


async def test_without_redis_the_metrics_say_so(valkey: Valkey) -> None:
    with valkey_server() as other:
        async with serving(other.url()) as (client, relay):
            append(other, event("t"))
            await known(relay, "t", "PENDING")
            with other.frozen():
                await eventually(lambda: relay.trouble, what="the relay to notice")
                found = await scraped(client)
            assert (found["watcher_redis_up"], found["watcher_feed_offset"]) == (0, 1)
            assert "watcher_journal_events" not in found


async def test_openmetrics_where_it_is_accepted(valkey: Valkey) -> None:
    async with serving(valkey.url()) as (client, _):
        response = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def names(relay: Node, journal: Size | None) -> set[str]:
    suffix = {"counter": "_total", "info": "_info"}
    return {f"{family.name}{suffix.get(family.type, '')}" for family in families(relay, journal)}


async def test_what_is_told_is_what_is_documented(valkey: Valkey) -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    async with serving(valkey.url()) as (_, relay):
        told = names(relay, await relay.journal_size())
    table = {
        name
        for row in re.findall(r"^\| (`watcher_.*?) \| ", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert table == told
    (rules,) = re.findall(r"^```yaml\n(groups:.*?)^```$", text, re.MULTILINE | re.DOTALL)
    alerts = yaml.safe_load(rules)["groups"][0]["rules"]
    assert len(alerts) >= 5
    for alert in alerts:
        assert set(re.findall(r"watcher_\w+", alert["expr"])) <= told, alert["alert"]
