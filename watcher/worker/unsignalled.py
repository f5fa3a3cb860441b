"""Hears of what fires no signal: ``update_state``, and a task that raises ``Ignore`` or ``Reject``.

The one method ``celery.app.task.Task.update_state`` is wrapped, once, for all tasks. That is the least intrusive way:
it runs only when a task reports, after Celery has done its work, and can't change what Celery returns or raises. A task
base class of our own would take the place of users' ones; wrapping ``store_result`` would stand in the way of every
state of every task, in each of the many backends; and who listens to the result backend in Redis hears nothing of tasks
whose results are elsewhere.

What Celery calls where a task is ignored or rejected (``celery.app.trace.TraceInfo``) is wrapped in the same way. The
signal ``task_postrun`` would tell of these, too, but of each other task as well, and to send a signal takes Celery more
time than its handler does: a seventieth of what it takes for a task that does nothing.

None of these is part of what Celery promises. Where one is not there, the log says what is not told, and all else is.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from celery.app.task import Context, Task

__all__ = ["Drop", "Report", "hear_drops", "hear_update_state", "untold"]

logger = logging.getLogger("watcher")

#: Called with the task, the id (None: the running one), the new state, and the meta.
Report: TypeAlias = Callable[["Task[Any, Any]", str | None, str | None, Any], None]

#: Called with the task, its request, ``IGNORED`` or ``REJECTED``, and what it raised.
Drop: TypeAlias = Callable[["Task[Any, Any]", "Context", str, Any], None]


def untold(what: str, missing: str) -> None:
    """Log once that this version of Celery has something else where ``missing`` was, and what isn't told therefore."""
    version = getattr(import_module("celery"), "__version__", "?")
    logger.warning("watcher: %s are not told: Celery %s has no %s", what, version, missing)


def hear_update_state(report: Report) -> None:
    """From now on, call ``report`` after each ``update_state`` that succeeded. To be called once in a process.

    :param report: must not raise.
    """

    def told(
        self: Task[Any, Any], task_id: str | None = None, state: str | None = None, meta: Any = None, **_: Any
    ) -> None:
        report(self, task_id, state, meta)

    _hear("celery.app.task", "Task", "update_state", told, "states that tasks set themselves")


def hear_drops(report: Drop) -> None:
    """From now on, call ``report`` after Celery has dropped a task that raised. To be called once in a process.

    :param report: must not raise.
    """

    def told(self: Any, task: Task[Any, Any], req: Context, *_: Any, **__: Any) -> None:
        report(task, req, self.state, self.retval)

    _hear("celery.app.trace", "TraceInfo", "handle_ignore", told, "tasks that raise Ignore")
    _hear("celery.app.trace", "TraceInfo", "handle_reject", told, "tasks that raise Reject")


def _hear(module: str, owner: str, name: str, told: Callable[..., None], what: str) -> None:
    """Call ``told`` with the arguments of each call of a method, after it; ``what`` says what isn't told without."""
    where = getattr(_module(module), owner, None)
    original = getattr(where, name, None)
    if callable(original):
        setattr(where, name, _followed(original, told, what))
    else:
        untold(what, f"{module}.{owner}.{name}")


def _followed(original: Callable[..., Any], told: Callable[..., None], what: str) -> Callable[..., Any]:
    failed = False

    @functools.wraps(original)
    def followed(*args: Any, **kwargs: Any) -> Any:
        nonlocal failed
        returned = original(*args, **kwargs)
        try:
            told(*args, **kwargs)
        except (TypeError, AttributeError) as error:  # called otherwise than Celery 5.5 to 5.7 do
            if not failed:
                failed = True
                logger.warning("watcher: %s are not told: %s", what, error)
        return returned

    return followed


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except (ImportError, AttributeError):  # it may lack what it imports itself
        return None
