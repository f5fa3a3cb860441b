"""Reports calls that are run together: many messages in one run, as celery-batches does it.

For such a run Celery's signals bring an id that nobody sent and an empty request, and don't say how the calls ended.
What can be heard of those: the run's arguments hold them; the task's own code ends each by ``backend.mark_as_done``, or
none of them; and the job that the pool is given is lost without a word if nobody listens.

Other tasks are left alone. The backend is observed only during such a run, by attributes of the instance.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, TypeAlias

from celery.app.task import Task

from watcher.core.event import Event, is_final
from watcher.rendering.fields import about
from watcher.worker.hooks.patches import wrap_own, wrapped_own

__all__ = ["BatchedCall", "begin", "calls_in", "ended_with", "event", "gathers", "hear_lost"]

#: How deep in a run's arguments its calls are looked for: a pool's job holds arguments that hold the list.
_DEPTH: Final = 4
#: What ends a call, and with which state where none is named.
_ENDS: Final = {"store_result": None, "mark_as_done": "SUCCESS", "mark_as_failure": "FAILURE"}


class BatchedCall(NamedTuple):
    """One message's task: its id, and the message's headers."""

    id: str
    headers: Mapping[str, Any]


#: Called with the task, one of its calls, the state that it is in now, and what comes with that; must not raise.
Tell: TypeAlias = Callable[["Task[Any, Any]", BatchedCall, str, Any], None]


class _Run:
    """A run that has not ended, and those of its calls that have not."""

    def __init__(self, calls: list[BatchedCall]) -> None:
        self.open = {call.id: call for call in calls}

    def rest(self) -> list[BatchedCall]:
        """Take the calls that have not ended yet; afterwards none are left."""
        calls = list(self.open.values())
        self.open.clear()
        return calls


_begun: ContextVar[_Run | None] = ContextVar("watcher_gathered", default=None)


def gathers(task: Task[Any, Any]) -> bool:
    """Whether the task has its own way of taking messages (celery-batches)."""
    return task.Strategy != Task.Strategy


def calls_in(arguments: Any, depth: int = _DEPTH) -> list[BatchedCall]:
    """The calls that a run, or the job of a pool, is given: whatever has an id and a message's headers."""
    if isinstance(arguments, list | tuple):
        return [call for argument in arguments for call in calls_in(argument, depth - 1)] if depth else []
    identity, headers = getattr(arguments, "id", None), getattr(arguments, "request_dict", None)
    return [BatchedCall(identity, headers)] if isinstance(identity, str) and isinstance(headers, Mapping) else []


def event(call: BatchedCall, state: str) -> Event:
    """One of a call's, as far as its message's headers tell."""
    return about(call.id, call.headers, str(call.headers.get("task")), state, time.time())


def ended_with(einfo: Any) -> BaseException:
    """The error that a pool reports for a job; billiard wraps it to carry the traceback."""
    error: BaseException = getattr(einfo.exception, "exc", einfo.exception)
    return error


def begin(task: Task[Any, Any], calls: list[BatchedCall], tell: Tell) -> None:
    """A run of ``task`` is about to begin: from now on, call ``tell`` with what becomes of each call."""
    _begun.set(_Run(calls))
    wrap_own(task, "run", lambda run: _telling(task, run, tell))  # as Celery itself does for autoretry_for


def hear_lost(pool: Any, lost: Callable[[list[BatchedCall], Any], None]) -> None:
    """From now on, call ``lost`` with the calls of a job that ``pool`` loses, and with how; again, it changes nothing.

    Celery's own jobs are listened to, and were given the pool's method before.
    """

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def apply_async(target: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            if "error_callback" not in options and (calls := calls_in(args)):
                options["error_callback"] = functools.partial(lost, calls)
            return original(target, args, kwargs, **options)

        return apply_async

    wrap_own(pool, "apply_async", make)


def _telling(task: Task[Any, Any], original: Callable[..., Any], tell: Tell) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        current = _begun.get()
        if current is None:
            return original(*args, **kwargs)
        _begun.set(None)

        def heard(identity: Any, state: Any, value: Any) -> None:
            # Other states are told by `update_state`, as any task's are.
            if isinstance(state, str) and is_final(state) and (call := current.open.pop(identity, None)) is not None:
                tell(task, call, state, value)

        try:
            with _listening(task.backend, heard):
                returned = original(*args, **kwargs)
        except Exception as error:
            for call in current.rest():
                tell(task, call, "FAILURE", error)
            raise
        for call in current.rest():
            tell(task, call, "SUCCESS", None)
        return returned

    return run


def _listening(backend: Any, heard: Callable[[Any, Any, Any], None]) -> AbstractContextManager[None]:
    """Hear what the backend is told within the block, by whichever of its methods."""

    def make(state: str | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        return lambda original: _hearing(original, state, heard)

    return wrapped_own(backend, {name: make(state) for name, state in _ENDS.items()})


def _hearing(original: Callable[..., Any], state: str | None, heard: Callable[[Any, Any, Any], None]) -> Any:
    signature = inspect.signature(original)

    def method(*args: Any, **kwargs: Any) -> Any:
        returned = original(*args, **kwargs)
        arguments = signature.bind(*args, **kwargs).arguments
        heard(arguments.get("task_id"), arguments.get("state", state), arguments.get("result", arguments.get("exc")))
        return returned

    return method
