"""Reports what fires no signal, or fires one too late: progress, drops, failures of other tasks, exits.

Celery's own functions are wrapped, each once for all tasks. That is the least intrusive way: what is added runs beside
Celery's own work, only where something out of the ordinary happens, and can't change what Celery returns or raises. A
task base class of our own would take the place of users' ones; wrapping ``store_result`` would stand in the way of
every state of every task, in each of the many backends; and who listens to the result backend in Redis hears nothing of
tasks whose results are elsewhere. The signal ``task_postrun`` would tell of some of it, but of each other task as well,
and to send a signal takes Celery more time than its handler does: a seventieth of what it takes for a task that does
nothing.

:mod:`watcher.worker.hooks.patches` does it, and says what is not told where Celery has something else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from celery.exceptions import TaskRevokedError

from watcher.rendering import _celery
from watcher.worker.hooks.never_ran import rest_of
from watcher.worker.hooks.patches import follow, wrap

if TYPE_CHECKING:
    from celery.app.task import Context, Task
    from celery.worker.request import Request

__all__ = [
    "Drop",
    "Exit",
    "Failing",
    "NeverRan",
    "Report",
    "Retried",
    "Unsaved",
    "failing",
    "hear_chords",
    "hear_drops",
    "hear_exits",
    "hear_failures",
    "hear_retries",
    "hear_revokes",
    "hear_update_state",
    "running",
]

#: Called with the task, the id (None: the running one), the new state, and the meta.
Report: TypeAlias = Callable[["Task[Any, Any]", str | None, str | None, Any], None]

#: Called with the task, its request, ``IGNORED`` or ``REJECTED``, and what it raised.
Drop: TypeAlias = Callable[["Task[Any, Any]", "Context", str, Any], None]

#: Called with a task's id, its request, the error that it ended with, and why Celery could not store that.
Unsaved: TypeAlias = Callable[[str, Any, BaseException, Exception], None]

#: Called with the signatures of what will never run, the request of the task that failed before them (None: unknown),
#: and the error that Celery stores for them.
NeverRan: TypeAlias = Callable[[Any, Any, Any], None]

#: Called with the request, as the worker received it, and the error that Celery makes of what ended the thread.
Exit: TypeAlias = Callable[["Request", BaseException], None]

#: Called with the task that has sent its next try and goes on.
Retried: TypeAlias = Callable[["Task[Any, Any]"], None]


class Failing(NamedTuple):
    """A task whose failure Celery is telling of in this context."""

    request: Any
    error: BaseException | None


_failing: ContextVar[Failing | None] = ContextVar("watcher_failing", default=None)


def failing(task_id: str | None = None) -> Failing | None:
    """The task whose failure Celery is reporting in this context, with the error as it was raised; None if none is.

    :param task_id: only if it is this one.
    """
    failure = _failing.get()
    return failure if failure is not None and task_id in (None, getattr(failure.request, "id", None)) else None


def running(task: Task[Any, Any], task_id: str) -> Context | None:
    """The request of a task that runs in another thread of this process; None if none does.

    :param task: the one that it is most likely to be of.
    """
    requests = [
        candidate for candidate in _celery.requests_everywhere(task) if getattr(candidate, "id", None) == task_id
    ]
    # A try may begin while Celery still puts away the one before it.
    return max(requests, key=lambda request: request.retries or 0, default=None)


def hear_update_state(report: Report) -> None:
    """From now on, call ``report`` after each ``update_state`` that succeeded. To be called once in a process.

    :param report: must not raise.
    """

    def followed(
        self: Task[Any, Any], task_id: str | None = None, state: str | None = None, meta: Any = None, **_: Any
    ) -> None:
        report(self, task_id, state, meta)

    follow(_celery.UPDATE_STATE, followed, "states that tasks set themselves")


def hear_retries(report: Retried) -> None:
    """From now on, call ``report`` before a task sends its next try by ``retry(throw=False)``, and so goes on.

    :param report: must not raise.
    """

    def retry(original: Any, self: Task[Any, Any], *args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("throw", args[3] if len(args) > 3 else True):
            report(self)
        return original(self, *args, **kwargs)

    wrap(_celery.RETRY, retry, "earlier results of tasks that go on after a retry")


def hear_drops(report: Drop) -> None:
    """From now on, call ``report`` after Celery has dropped a task that raised. To be called once in a process.

    :param report: must not raise.
    """

    def followed(self: Any, task: Task[Any, Any], req: Context, *_: Any, **__: Any) -> None:
        report(task, req, self.state, self.retval)

    follow(_celery.IGNORED, followed, "tasks that raise Ignore")
    follow(_celery.REJECTED, followed, "tasks that raise Reject")


def hear_failures(unsaved: Unsaved, never_ran: NeverRan) -> None:
    """From now on, know what fails while Celery tells of it (:func:`failing`). To be called once in a process.

    :param unsaved: called where Celery could not tell of a failure or a revoke, because it could not be stored for
        example: it fires no signal then.
    :param never_ran: called after Celery has given up the rest of a chain: it stores that, without a signal.

    Neither may raise.
    """

    def handle(original: Any, self: Any, task: Task[Any, Any], req: Context, *args: Any, **kwargs: Any) -> Any:
        with _failing_with(Failing(req, self.retval)):
            try:
                return original(self, task, req, *args, **kwargs)
            except Exception as error:
                # Of what a hook raises, as on_failure, Celery makes the task's end, and comes here once more with it.
                if _celery.stored_in_backend(error) or vars(req).setdefault("watcher_failing", error) is not error:
                    unsaved(str(req.id), req, self.retval, error)
                raise

    def mark(original: Any, self: Any, task_id: str, exc: Any, *args: Any, **kwargs: Any) -> Any:
        request = kwargs.get("request", args[1] if len(args) > 1 else None)
        outer = failing()
        with _failing_with(Failing(request, exc) if request is not None and outer is None else outer):
            try:
                return original(self, task_id, exc, *args, **kwargs)
            except Exception as error:
                if outer is None and request is not None:
                    unsaved(task_id, request, exc, error)
                raise
            finally:  # what was to run after it doesn't, whether or not this could be stored
                left = getattr(request, "chain", None)
                chain = getattr(request, "watcher_chain", None) or left
                if chain:  # its last link is counted where Celery still has it
                    never_ran(
                        rest_of(chain, counted=bool(left)), request, outer.error if outer and outer.error else exc
                    )

    wrap(_celery.TRACED_FAILURE, handle, "failures that can't be stored")
    wrap(_celery.MARK_FAILURE, mark, "tasks that never run in a chain that failed")


def hear_revokes(unsaved: Unsaved) -> None:
    """From now on, know which task is revoked while Celery tells of it. To be called once in a process.

    :param unsaved: called where Celery could not tell of it, as in :func:`hear_failures`.
    """

    def revoke(original: Any, self: Any, task_id: str, *args: Any, **kwargs: Any) -> Any:
        request = kwargs.get("request", args[1] if len(args) > 1 else None)
        with _failing_with(Failing(request, None) if request is not None else None):
            try:
                return original(self, task_id, *args, **kwargs)
            except Exception as error:
                if request is not None:
                    unsaved(task_id, request, TaskRevokedError(kwargs.get("reason", args[0] if args else "")), error)
                raise

    wrap(_celery.MARK_REVOKED, revoke, "revokes that can't be stored")


def hear_chords(never_ran: NeverRan) -> None:
    """From now on, call ``never_ran`` after Celery has given up what a chord would have gone on with.

    To be called once in a process. ``never_ran`` must not raise.
    """

    def chord(original: Any, self: Any, callback: Any, exc: Any = None, **kwargs: Any) -> Any:
        error, failure = sys.exc_info()[1] if exc is None else exc, failing()
        if getattr(callback, "subtask_type", None) == "group":
            error = getattr(error, "__cause__", None) or error  # as Celery stores it for a body of several tasks
        try:
            return original(self, callback, exc=exc, **kwargs)
        finally:
            # Celery stores the failure of this one only, and doesn't count it in the chord around it: that never ends.
            never_ran(rest_of((), callback), failure.request if failure else None, error)

    wrap(_celery.CHORD_ERROR, chord, "tasks that never run after a chord that failed")


def hear_exits(report: Exit) -> None:
    """From now on, call ``report`` where a task ends its thread or greenlet (``sys.exit``) and Celery loses its end.

    What runs tasks in the pools ``threads``, ``solo``, ``gevent`` and ``eventlet`` makes a ``WorkerLostError`` of it,
    and hands that to the one who expects results, which it isn't (celery/concurrency/base.py, ``apply_target``). The
    function that raises that error there is wrapped, which nothing else uses.

    :param report: must not raise.
    """

    def reraise(original: Any, kind: Any, error: BaseException, traceback: TracebackType | None = None) -> Any:
        owners = _celery.callback_owners(traceback)
        request = next((owner for owner in owners if hasattr(owner, "request_dict")), None)
        if request is not None:
            report(request, error)
        return original(kind, error, traceback)

    wrap(_celery.APPLY_TARGET_RERAISE, reraise, "tasks that end their thread")


class _failing_with:  # noqa: N801 - a context manager that is read as a verb
    """Name the failing task during a block. A class, because a generator would appear in each traceback."""

    def __init__(self, what: Failing | None) -> None:
        self._what = what

    def __enter__(self) -> None:
        self._token = _failing.set(self._what)

    def __exit__(self, *_: object) -> None:
        _failing.reset(self._token)
