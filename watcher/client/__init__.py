"""The client of a relay, for scripts and services: ``watcher.connect``, and blocking ``watcher.connect_sync``."""

from __future__ import annotations

from watcher.client.errors import (
    EventsLost,
    RelayClosed,
    RelayError,
    RelayRefused,
    RelayUnavailable,
    RelayUnreachable,
    ResultUnavailable,
    TaskFailed,
    TaskLost,
    TaskRejected,
    TaskRevoked,
    TokenRefused,
)
from watcher.client.models import Snapshot, TaskEvent
from watcher.client.queries import Counts
from watcher.client.relay import Relay, Submitter, connect
from watcher.client.sync import SyncRelay, SyncTask, connect_sync
from watcher.client.task import Options, Task
from watcher.client.watch import Watch
from watcher.core.figures import Bucket, Longest, NameStats, Quantiles, Series

__all__ = [
    "Bucket",
    "Counts",
    "EventsLost",
    "Longest",
    "NameStats",
    "Options",
    "Quantiles",
    "Relay",
    "RelayClosed",
    "RelayError",
    "RelayRefused",
    "RelayUnavailable",
    "RelayUnreachable",
    "ResultUnavailable",
    "Series",
    "Snapshot",
    "Submitter",
    "SyncRelay",
    "SyncTask",
    "Task",
    "TaskEvent",
    "TaskFailed",
    "TaskLost",
    "TaskRejected",
    "TaskRevoked",
    "TokenRefused",
    "Watch",
    "connect",
    "connect_sync",
]
