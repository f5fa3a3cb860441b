"""Answers about many tasks, the same over HTTP and WebSocket: from the archive, or from the history where that is away."""

from __future__ import annotations

import time
from typing import Any, Final, Protocol, cast

import anyio
from msgspec import Raw

from watcher.catalogue.catalogue import Counts, Listed, Numbers, Page, Reach, Sort
from watcher.core.errors import Unavailable
from watcher.core.event import Task
from watcher.core.figures import CountBy, NameStats, Series
from watcher.core.filters import Filter
from watcher.core.permissions import Grant
from watcher.relay.api.queries import CountsQuery, ListQuery, NamesQuery, SeriesQuery
from watcher.relay.api.schemas import Names, Overview, Rates, TaskCounts, TaskList
from watcher.relay.http.query import page
from watcher.relay.limits.metering import turn
from watcher.relay.stream.history import History
from watcher.relay.stream.hub import Hub

__all__ = ["Answers"]
