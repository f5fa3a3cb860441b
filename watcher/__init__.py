"""Submit Celery tasks and watch them live, without polling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watcher.core.lazy import lazily

if TYPE_CHECKING:
    from watcher.client import TaskFailed, TaskRevoked, connect, connect_sync
    from watcher.core.tokens import token
    from watcher.direct import results
    from watcher.worker import install, tags

__version__ = "0.1.0"

__all__ = [
    "TaskFailed",
    "TaskRevoked",
    "__version__",
    "connect",
    "connect_sync",
    "install",
    "results",
    "tags",
    "token",
]

# Public name -> the module that has it. `import watcher` stands at the top of every worker and web process of our
# users, so it stays cheap: a name is imported when it is first asked for (PEP 562).
_HOMES = {
    "TaskFailed": "watcher.client",
    "TaskRevoked": "watcher.client",
    "connect": "watcher.client",
    "connect_sync": "watcher.client",
    "install": "watcher.worker",
    "results": "watcher.direct",
    "tags": "watcher.worker",
    "token": "watcher.core.tokens",
}
__getattr__, __dir__ = lazily(__name__, _HOMES)
