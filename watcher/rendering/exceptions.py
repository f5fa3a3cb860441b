"""What a task raised → what an event tells of it."""

from __future__ import annotations

import inspect
import traceback as tracebacks
from typing import Any

from celery.app.task import Task
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery.states import EXCEPTION_STATES

from watcher.core.event import ExceptionInfo, Reason
from watcher.rendering.values import Rendering

__all__ = ["carried", "cause_of", "in_backend", "in_chord", "is_lost_retry", "raised", "reason_of", "reported"]

#: What backends tell chords with, and what they store with (celery/backends/base.py).
_COUNTING = frozenset({"on_chord_part_return"})
_STORING = _COUNTING | {"store_result"}


def raised(rendering: Rendering, error: BaseException, einfo: Any, seen: BaseException | None = None) -> ExceptionInfo:
    """What a task raised.

    :param rendering: how the task's values are shown.
    :param error: as it was raised.
    :param einfo: where Celery has the traceback; None where none is to be told.
    :param seen: what Celery made of ``error`` so that it can be pickled, whose traceback it has.
    """
    # It stands for an exception that can't be pickled, and is known by its name, since it is internal to Celery.
    stands_in = type(error).__name__ == "UnpickleableExceptionWrapper"
    name = getattr(error, "exc_cls_name", None) if stands_in else None
    traceback = getattr(einfo, "traceback", None)
    if traceback and seen is not None and type(seen) is not type(error):
        traceback = "".join(tracebacks.format_exception(error))  # the other ends with the name of what stands in for it
    return rendering.exception(error, str(traceback) if traceback else None, name=name)


def carried(rendering: Rendering, error: BaseException) -> ExceptionInfo:
    """An exception with the traceback that it carries itself, where it was raised."""
    return rendering.exception(error, "".join(tracebacks.format_exception(error)) if error.__traceback__ else None)


def cause_of(rendering: Rendering, dropped: Any) -> ExceptionInfo | None:
    """Why a task was rejected: what was given as the reason for ``Reject``, as ``retry`` does that can't send."""
    reason = getattr(dropped, "reason", None)
    if isinstance(reason, BaseException):
        return carried(rendering, reason)
    return rendering.exception(Exception(reason), None, name="Reject") if reason else None


def is_lost_retry(dropped: Any) -> bool:
    """Whether a task was rejected by its own ``retry``, which could not send the next try: the backend has FAILURE."""
    traceback = getattr(dropped, "__traceback__", None)
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    retry = inspect.unwrap(getattr(Task, "retry", None) or is_lost_retry)  # it may be listened to
    return traceback is not None and traceback.tb_frame.f_code is getattr(retry, "__code__", None)


def reported(rendering: Rendering, state: str, meta: Any) -> ExceptionInfo | None:
    """The exception in a meta of the form that Celery's backends store, by which tasks report one themselves."""
    if state not in EXCEPTION_STATES or not isinstance(meta, dict) or not isinstance(meta.get("exc_type"), str):
        return None
    arguments = meta.get("exc_message")
    arguments = arguments if isinstance(arguments, list | tuple) else (arguments,)
    return rendering.exception(Exception(*arguments), None, name=meta["exc_type"])


def reason_of(error: BaseException | None) -> Reason | None:
    """What an event gives as the reason of a failure."""
    # Up to Celery 5.6 these two reach the main process as they are, from a process that is gone.
    if isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt):
        return "worker_lost"
    return "time_limit" if isinstance(error, TimeLimitExceeded | SoftTimeLimitExceeded) else None


def in_backend(error: BaseException) -> bool:
    """Whether an error came from storing in the result backend, whose kinds are as many as there are backends."""
    return _comes_from(_STORING, error)


def in_chord(error: BaseException) -> bool:
    """Whether an error came from counting a task in its chord, which Celery does when it has stored the result."""
    return _comes_from(_COUNTING, error)


def _comes_from(functions: frozenset[str], error: BaseException) -> bool:
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_name in functions:
            return True
        traceback = traceback.tb_next
    return False
