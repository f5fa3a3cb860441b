"""What a task raised → the ``exception`` and ``reason`` of an event. What a FAILURE event carries is decided here."""

from __future__ import annotations

import traceback as tracebacks
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery.states import EXCEPTION_STATES

from watcher.core.event import ExceptionInfo, Reason
from watcher.rendering._celery import unpicklable_name
from watcher.rendering.values import Rendering

__all__ = ["carried", "cause_of", "raised", "reason_of", "reported"]


def raised(
    rendering: Rendering, error: BaseException, einfo: Any, signalled: BaseException | None = None
) -> ExceptionInfo:
    """What a task raised.

    :param rendering: how the task's values are shown.
    :param error: as it was raised.
    :param einfo: where Celery has the traceback; None where an event must not have one.
    :param signalled: what Celery made of ``error`` so that it can be pickled, whose traceback it has.
    """
    traceback = getattr(einfo, "traceback", None)
    if traceback and signalled is not None and type(signalled) is not type(error):
        traceback = "".join(tracebacks.format_exception(error))  # the other ends with the name of what stands in for it
    return rendering.exception(error, str(traceback) if traceback else None, name=unpicklable_name(error))


def carried(rendering: Rendering, error: BaseException) -> ExceptionInfo:
    """An exception with the traceback that it carries itself, where it was raised."""
    return rendering.exception(error, "".join(tracebacks.format_exception(error)) if error.__traceback__ else None)


def cause_of(rendering: Rendering, dropped: Any) -> ExceptionInfo | None:
    """Why a task was rejected: what was given as the reason for ``Reject``, as ``retry`` does that can't send."""
    reason = getattr(dropped, "reason", None)
    if isinstance(reason, BaseException):
        return carried(rendering, reason)
    return rendering.exception(Exception(reason), None, name="Reject") if reason else None


def reported(rendering: Rendering, state: str, meta: Any) -> ExceptionInfo | None:
    """The exception in a meta of the form that Celery's backends store, by which tasks report one themselves."""
    if state not in EXCEPTION_STATES or not isinstance(meta, dict) or not isinstance(meta.get("exc_type"), str):
        return None
    arguments = meta.get("exc_message")
    arguments = arguments if isinstance(arguments, list | tuple) else (arguments,)
    return rendering.exception(Exception(*arguments), None, name=meta["exc_type"])


def reason_of(error: BaseException | None) -> Reason | None:
    """The reason that an event gives for a failure."""
    # Up to Celery 5.6 these two reach the main process as they are, from a process that is gone.
    if isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt):
        return "worker_lost"
    return "time_limit" if isinstance(error, TimeLimitExceeded | SoftTimeLimitExceeded) else None
