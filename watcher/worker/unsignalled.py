"""Hears of what fires no signal: ``update_state``, and a task that raises ``Ignore`` or ``Reject``.

The one method ``celery.app.task.Task.update_state`` is wrapped, once, for all tasks. That is the least intrusive way:
it runs only when a task reports, after Celery has done its work, and can't change what Celery returns or raises. A task
base class of our own would take the place of users' ones; wrapping ``store_result`` would stand in the way of every
state of every task, in each of the many backends; and who listens to the result backend in Redis hears nothing of tasks
whose results are elsewhere.

What Celery calls where a task is ignored or rejected (``celery.app.trace.TraceInfo``) is wrapped in the same way. The
signal ``task_postrun`` would tell of these, too, but of each other task as well, and to send a signal takes Celery more
time than its handler does: a seventieth of what it takes for a task that does nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

from celery.app.task import Context, Task
from celery.app.trace import TraceInfo

__all__ = ["Drop", "Report", "hear_drops", "hear_update_state"]

#: Called with the task, the id (None: the running one), the new state, and the meta.
Report: TypeAlias = Callable[["Task[Any, Any]", str | None, str | None, Any], None]

#: Called with the task, its request, ``IGNORED`` or ``REJECTED``, and what it raised.
Drop: TypeAlias = Callable[["Task[Any, Any]", Context, str, Any], None]


def hear_update_state(report: Report) -> None:
    """From now on, call ``report`` after each ``update_state`` that succeeded. To be called once in a process.

    :param report: must not raise.
    """
    original = Task.update_state

    @functools.wraps(original)
    def update_state(
        self: Task[Any, Any], task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        original(self, task_id=task_id, state=state, meta=meta, **kwargs)
        report(self, task_id, state, meta)

    Task.update_state = update_state  # type: ignore[method-assign] # what this module is for


def hear_drops(report: Drop) -> None:
    """From now on, call ``report`` after Celery has dropped a task that raised. To be called once in a process.

    :param report: must not raise.
    """
    for name in ("handle_ignore", "handle_reject"):
        setattr(TraceInfo, name, _reporting(getattr(TraceInfo, name), report))


def _reporting(original: Callable[..., None], report: Drop) -> Callable[..., None]:
    @functools.wraps(original)
    def handle(self: TraceInfo, task: Task[Any, Any], req: Context, **kwargs: Any) -> None:
        original(self, task, req, **kwargs)
        report(task, req, self.state, self.retval)

    return handle
