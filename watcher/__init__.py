"""Submit Celery tasks and watch them live, without polling."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

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


def __getattr__(name: str) -> object:
    """Import a public name from its module at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, those that are not imported yet too."""
    return sorted({*globals(), *__all__})
