"""Answers about many tasks, the same over HTTP and WebSocket: from the archive, else from the history."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Raw

from watcher.core.errors import Unavailable
from watcher.core.figures import Count, CountBy, Gap, NameStats, Series
from watcher.core.filters import Filter
from watcher.core.permissions import Grant
from watcher.relay.api.queries import CountsQuery, ListQuery, NamesQuery, SeriesQuery
from watcher.relay.api.schemas import Names, TaskCounts, TaskList
from watcher.relay.http.query import page
from watcher.relay.limits.metering import turn
from watcher.relay.stream.hub import Hub

__all__ = ["Answers"]

#: Which tasks the archive has a list made of by another order than the newest event's, and which the history can't.
_USUAL = "when"
