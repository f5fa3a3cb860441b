"""``GET /metrics`` for Prometheus: the relay's counters, and its current state.

Nothing is kept here. The integers of :class:`watcher.relay.common.stats.Stats` are incremented where things happen;
everything else is read when a scrape asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

import watcher
from watcher.core.errors import NotPermitted
from watcher.core.permissions import Grant
from watcher.relay.common.stats import Load, Stats
from watcher.relay.http.request_parts import admitted
from watcher.relay.security.identity import Person
from watcher.relay.stream.history import ALL
from watcher.relay.stream.hub import Hub
from watcher.relay.stream.positions import Size

__all__ = ["Metrics", "families"]


class MetricsSource(Protocol):
    """What the metrics need from the relay."""

    hub: Hub[Any]
    counts: Stats

    def admit(self, token: str | None, person: Person | None = None) -> Grant:
        """The permissions of a token, or else of a user; raises :exc:`watcher.core.errors.Unauthorized`."""

    def load(self) -> Load:
        """The relay's current load."""

    async def journal_size(self) -> Size | None:
        """The size of the journal; None if Redis doesn't answer."""


class Metrics:
    """The route ``/metrics``."""

    def __init__(self, relay: MetricsSource) -> None:
        self._relay = relay

    async def get(self, request: Request) -> Response:
        """``GET /metrics``: in the text format, or as OpenMetrics if that is accepted."""
        if not admitted(request, self._relay.admit).may_watch(ALL):
            raise NotPermitted(f"the token does not allow watching {ALL!r}")
        registry = CollectorRegistry()
        registry.register(_Snapshot(self._relay, await self._relay.journal_size()))
        ProcessCollector(registry=registry)
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": kind, "Cache-Control": "no-store"})


class _Snapshot(Collector):
    def __init__(self, relay: MetricsSource, journal: Size | None) -> None:
        self._relay = relay
        self._journal = journal

    def collect(self) -> Iterator[Metric]:
        yield from families(self._relay, self._journal)


def families(relay: MetricsSource, journal: Size | None) -> Iterator[Metric]:
    """All metrics; docs/operating.md says what they are for."""
    counts, load, history = relay.counts, relay.load(), relay.hub.history
    yield InfoMetricFamily("watcher_build", "The relay's version.", {"version": watcher.__version__})
    # Clients.
    yield _gauge("websocket_connections", "Open WebSocket connections.", load.connections)
    yield _gauge("websocket_subscriptions", "Subscriptions of all WebSocket clients.", load.subscriptions)
    yield _gauge("websocket_clients_behind", "WebSocket clients that read more slowly than events arrive.", load.behind)
    yield _gauge("sse_streams", "Open streams of server-sent events.", counts.streams)
    yield _gauge("sse_streams_behind", "Streams whose reader is slower than events arrive.", counts.streams_behind)
    yield _gauge("http_requests_waiting", "Requests that wait for a task to end.", counts.waiting)
    # Events.
    yield _counter("events_received", "Events read from the journal.", counts.events)
    yield _counter("events_invalid", "Invalid entries in the journal.", counts.invalid)
    delivered = [("websocket", counts.delivered), ("sse", counts.streamed)]
    yield _counters("events_delivered", "Events sent to clients.", "transport", delivered)
    yield _counter("websocket_writes", "Writes of events to WebSocket clients.", counts.writes)
    # Requests.
    submissions = sorted(counts.submissions.items())
    yield _counters("submissions", "Submissions by outcome.", "outcome", submissions)
    yield _gauge("submissions_under_way", "Submissions in progress.", load.submitting)
    refused = sorted(counts.refused.items())
    yield _counters("requests_refused", "Refused requests, calls and handshakes.", "reason", refused)
    limits = sorted(counts.limits.items())
    yield _counters("limits_reached", "How often each limit was reached.", "limit", limits)
    responses = [(str(status), count) for status, count in sorted(counts.responses.items())]
    yield _counters("http_responses", "HTTP answers by status.", "code", responses)
    stale = [(field, int(is_stale)) for field, is_stale in sorted(load.stale.items())]
    yield _gauges("file_stale", "1 while a watched file has changed but can't be used.", "setting", stale)
    # The journal, and the relay's window of it.
    yield _gauge("redis_up", "1 while the relay follows the journal.", int(load.redis))
    yield InfoMetricFamily("watcher_feed", "Epoch of the journal that the relay follows.", {"epoch": history.epoch})
    yield _gauge("feed_offset", "Offset of the newest event in the relay.", history.last)
    yield _gauge("history_events", "Events in the relay's window.", len(history) + history.retained)
    yield _gauge("history_bytes", "Bytes of the events in the relay's window.", history.size)
    if journal is not None:
        yield _gauge("journal_offset", "Offset of the newest event in Redis.", journal.last)
        yield _gauge("journal_events", "Events in the journal.", journal.events)
        yield _gauge("tasks_unfinished", "Unfinished tasks.", journal.unfinished)
        if journal.bytes is not None:
            yield _gauge("journal_bytes", "Memory of the journal in Redis, in bytes.", journal.bytes)
    archive = load.archive
    yield _gauge(
        "archive_up", "1 while the archive has all that the journal has, and can tell.", int(not archive.trouble)
    )
    yield _gauge("archive_behind_events", "Events that the journal is ahead of the archive.", archive.behind)
    yield _counter("archive_events", "Events that this relay has written into the archive.", archive.applied)
    yield _counter("archive_errors", "Attempts to write the archive that failed.", archive.errors)
    yield _gauge("archive_gaps", "Times of which events are missing in the archive.", archive.gaps)
    yield _counter(
        "archive_skipped", "Tasks left out of the archive, since its database refuses them.", archive.skipped
    )
    yield _gauge("archive_writes", "1 while this relay is the one that writes the archive.", int(archive.writes))
    yield _counter("safety_net_events", "Events completed from the result backend.", load.completed)
    yield _gauge("safety_net_active", "1 while this relay is the one that completes events.", int(load.nets))


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"watcher_{name}", meaning, value)


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(f"watcher_{name}", meaning, value)


def _gauges(name: str, meaning: str, label: str, values: Sequence[tuple[str, int]]) -> Metric:
    family = GaugeMetricFamily(f"watcher_{name}", meaning, labels=[label])
    for value, number in values:
        family.add_metric([value], number)
    return family


def _counters(name: str, meaning: str, label: str, values: Sequence[tuple[str, int]]) -> Metric:
    family = CounterMetricFamily(f"watcher_{name}", meaning, labels=[label])
    for value, count in values:
        family.add_metric([value], count)
    return family
