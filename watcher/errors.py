"""The exceptions that documented calls raise, all of them: those of the client and of ``watcher.results`` included.

Each can be imported from the package of the calls that raise it, too: ``watcher.client``, ``watcher.direct``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from watcher.core.errors import AppError, RedisUnreachable, SettingError, WatcherError
from watcher.core.lazy import lazily

if TYPE_CHECKING:
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
    from watcher.direct.errors import RedisRefused, ResultsClosed, ResultUnreadable

__all__ = [
    "AppError",
    "EventsLost",
    "RedisRefused",
    "RedisUnreachable",
    "RelayClosed",
    "RelayError",
    "RelayRefused",
    "RelayUnavailable",
    "RelayUnreachable",
    "ResultUnavailable",
    "ResultUnreadable",
    "ResultsClosed",
    "SettingError",
    "TaskFailed",
    "TaskLost",
    "TaskRejected",
    "TaskRevoked",
    "TokenRefused",
    "WatcherError",
]

# Not everybody who catches one of these needs what the client needs, or has it loaded.
_OF_DIRECT = {"RedisRefused", "ResultUnreadable", "ResultsClosed"}
_OF_CLIENT = {*__all__} - _OF_DIRECT - {*globals()}
_HOMES = dict.fromkeys(_OF_CLIENT, "watcher.client.errors") | dict.fromkeys(_OF_DIRECT, "watcher.direct.errors")
__getattr__, __dir__ = lazily(__name__, _HOMES)
