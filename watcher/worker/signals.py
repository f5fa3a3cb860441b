"""Celery signal → Event, for every state that Celery's signals can tell.

Where a signal fires depends on the pool. In prefork, ``task_received``, ``task_revoked``, ``task_unknown`` and
``task_rejected`` fire in the worker's main process; ``task_prerun``, ``task_success`` and ``task_retry`` in the child;
``task_failure`` in the child, but in the main process for a lost worker and for the hard time limit. In the other pools
all fire in one process. Sources: celery/worker/request.py and celery/app/trace.py. What fires none is heard of by
:mod:`watcher.worker.unsignalled`.

Every handler is guarded: nothing that it does, or that users' values do in it, can harm a task.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec

from celery import signals
from celery.exceptions import Reject, SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery.result import ResultBase
from celery.states import EXCEPTION_STATES
from msgspec.structs import replace

from watcher.event import Event, ExceptionInfo, Reason, is_final
from watcher.worker import tagging
from watcher.worker.fields import about, identity, next_eta, schedule
from watcher.worker.policy import Policy
from watcher.worker.reprs import clean
from watcher.worker.unsignalled import hear_drops, hear_update_state, untold
from watcher.worker.weakly import Weakly

if TYPE_CHECKING:
    from celery import Celery
    from celery.app.task import Context, Task
    from celery.utils.dispatch import Signal
    from celery.worker.request import Request

    from watcher.worker.values import Rendering

__all__ = ["Reporter"]

logger = logging.getLogger("watcher")

P = ParamSpec("P")

#: What Task.replace raises: the task goes on under the same id (celery/app/task.py, on_replace).
_REPLACED: Final = ("Replaced by new task",)


def _guarded(handler: Callable[P, None]) -> Callable[P, None]:
    """Let no error of a handler out; the first one of each is logged, with its traceback."""
    failed = False

    @functools.wraps(handler)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal failed
        try:
            handler(*args, **kwargs)
        except SoftTimeLimitExceeded:
            raise  # it is the task's: it strikes wherever the interpreter happens to be
        except Exception:  # watching must never harm what is watched
            if not failed:
                failed = True
                logger.exception("watcher: events are missing, %s failed", handler.__qualname__)

    return guarded


class _Sending(NamedTuple):
    """A message that is being published in this context."""

    id: str
    timestamp: float
    queue: str | None


_sending: ContextVar[_Sending | None] = ContextVar("watcher_sending", default=None)


class Reporter:
    """Makes events of Celery's signals and hands them on.

    :param app: the app whose running task is asked for the tags that its subtasks inherit.
    :param publish: takes an event; called in the task's own thread, so it must be quick.
    :param policy: how the values of each task go into events.
    """

    def __init__(self, app: Celery, publish: Callable[[Event], None], policy: Policy) -> None:
        self._app = app
        self._publish = publish
        self._policy = policy
        # What the main process has received: the hard time limit's signal brings nothing but the id.
        self._received: Weakly[Request] = Weakly()

    def connect(self) -> None:
        """Listen to Celery, in this process and in those that it forks; to be called once in a process."""
        handlers: tuple[tuple[str, Callable[..., None], str], ...] = (
            ("before_task_publish", self.on_before_publish, "tags"),
            ("after_task_publish", self.on_after_publish, "tasks that are sent"),
            ("task_received", self.on_received, "tasks that workers receive"),
            ("task_prerun", self.on_prerun, "the starts of tasks"),
            ("task_success", self.on_success, "tasks that succeed"),
            ("task_retry", self.on_retry, "retries"),
            ("task_failure", self.on_failure, "tasks that fail"),
            ("task_revoked", self.on_revoked, "tasks that are revoked"),
            ("task_rejected", self.on_rejected, "messages that workers reject"),
            ("task_unknown", self.on_unknown, "tasks that workers don't know"),
        )
        for name, handler, what in handlers:
            signal: Signal | None = getattr(signals, name, None)
            if signal is None:
                untold(what, f"signal {name}")
            else:
                signal.connect(handler, weak=False, dispatch_uid=f"watcher:{handler.__name__}")
        hear_update_state(self.on_update_state)
        hear_drops(self.on_drop)

    @_guarded
    def on_before_publish(
        self, *, headers: dict[str, Any], body: Any, routing_key: Any = None, declare: Any = None, **_: Any
    ) -> None:
        """A message is about to be sent: its tags go into its headers."""
        own = tagging.of_header(headers)
        running = self._app.current_worker_task
        inherited = tagging.of_headers(running.request) if running else ()
        names = tagging.combined(own, tagging.current(), inherited)
        if names:
            headers[tagging.HEADER] = list(names)
        message = identity(headers, body)
        queue = getattr(declare[0], "name", None) if declare else routing_key
        _sending.set(_Sending(str(message.get("id")), time.time(), queue if isinstance(queue, str) else None))

    @_guarded
    def on_after_publish(self, *, headers: dict[str, Any], body: Any, routing_key: Any = None, **_: Any) -> None:
        """PENDING: the broker has the message. A retry's next try is told by RETRY, which PENDING would hide."""
        message = identity(headers, body)
        if message.get("retries") or not message.get("id"):
            return
        args, kwargs = (body[0], body[1]) if message is headers else (body.get("args"), body.get("kwargs"))
        sending = _sending.get()
        if sending is None or sending.id != message["id"]:  # another message was sent in between
            sending = _Sending(message["id"], time.time(), routing_key if isinstance(routing_key, str) else None)
        whose = about(message["id"], message, message["task"], "PENDING", sending.timestamp, queue=sending.queue)
        self._publish(self._carrying(whose, message, args, kwargs))

    @_guarded
    def on_received(self, *, request: Request, **_: Any) -> None:
        """RECEIVED: a worker has taken the message off the queue."""
        headers = request.request_dict
        self._received.add(request.id, request)
        whose = about(request.id, headers, headers["task"], "RECEIVED", time.time())
        self._publish(self._carrying(whose, headers, request.args, request.kwargs))

    @_guarded
    def on_prerun(self, *, task: Task[Any, Any], task_id: str, **_: Any) -> None:
        """STARTED: the task is about to run."""
        request: Any = task.request
        if request.is_eager:
            return
        # Remembered for as long as the task runs: Celery sends nothing of it anywhere.
        known = vars(request)
        known["watcher_since"] = time.monotonic()
        known["watcher_started"] = event = about(task_id, known, task.name, "STARTED", time.time())
        self._publish(event)

    @_guarded
    def on_success(self, *, sender: Task[Any, Any], result: Any, runtime: float | None = None, **_: Any) -> None:
        """SUCCESS: the result is stored."""
        request = vars(sender.request)
        if request.get("is_eager"):
            return
        if isinstance(result, ResultBase):
            result = result.as_tuple()  # type: ignore[attr-defined] # Backend.prepare_value stores it like this
        shown, now = self._policy.of(sender.name).result(result), time.time()
        whose = request.get("watcher_started") or about(request.get("id"), request, sender.name, "SUCCESS", now)
        self._publish(
            replace(
                whose,
                state="SUCCESS",
                timestamp=now,
                runtime=runtime,
                result=shown.value,
                result_repr=shown.is_repr,
                result_size=shown.size,
            )
        )

    @_guarded
    def on_retry(
        self, *, sender: Task[Any, Any], request: Context, reason: Any = None, einfo: Any = None, **_: Any
    ) -> None:
        """RETRY: the next try is queued; ``eta`` says from when on."""
        if request.is_eager:
            return
        # A task that Celery itself put back, because the connection to the broker was lost, gives no reason.
        cause = getattr(reason, "exc", None)
        error = self._exception(sender, cause or reason, einfo if cause else None) if cause or reason else None
        eta = next_eta(getattr(reason, "when", None))
        self._tell(request.id, request, sender.name, "RETRY", exception=error, eta=eta)

    @_guarded
    def on_failure(
        self, *, sender: Task[Any, Any], task_id: str, exception: BaseException, einfo: Any = None, **_: Any
    ) -> None:
        """FAILURE: the task raised, was lost with its process, or took too long."""
        if isinstance(exception, Reject):
            return  # REJECTED was told where it was raised; Celery >= 5.6 stores it as a failure besides
        request: tagging.Headers = sender.request
        runtime = None
        received = self._received.get(task_id)
        if request.get("id") == task_id:
            if request.get("is_eager"):
                return
            started = request.get("watcher_since")
            runtime = time.monotonic() - started if started is not None else None
        elif received is not None:
            request = received.request_dict
        if runtime is None and received is not None and received.time_start:
            runtime = time.time() - received.time_start
        lost = isinstance(exception, WorkerLostError | TimeLimitExceeded)
        self._tell(
            task_id, request, sender.name, "FAILURE",
            # The traceback of a lost worker is that of Celery's own main process, which says nothing.
            exception=self._exception(sender, exception, None if lost else einfo),
            reason=_reason(exception), runtime=runtime,
        )  # fmt: skip

    @_guarded
    def on_drop(self, task: Task[Any, Any], request: Context, state: str, raised: Any) -> None:
        """IGNORED and REJECTED: the task asked for it, and nothing of it is stored."""
        if request.is_eager:
            return
        told = request.get("watcher_told")
        if state == "IGNORED" and told is not None:
            self._publish(told)
        elif state == "IGNORED" and getattr(raised, "args", None) != _REPLACED:
            self._tell(request.id, request, task.name, "IGNORED")
        elif state == "REJECTED" and not (getattr(raised, "requeue", False) and task.acks_late):
            # A message that goes back to its queue is received again: not the end, and still the same try.
            self._tell(request.id, request, task.name, "REJECTED")

    @_guarded
    def on_revoked(
        self, *, sender: Task[Any, Any], request: Context, terminated: bool = False, expired: bool = False, **_: Any
    ) -> None:
        """REVOKED: a worker dropped the task before its start, or ended it."""
        reason: Reason = "expired" if expired else "terminated" if terminated else "revoked"
        self._tell(request.id, request, sender.name, "REVOKED", reason=reason, **schedule(request))

    @_guarded
    def on_rejected(self, *, sender: Any, message: Any, **_: Any) -> None:
        """REJECTED: a worker can't make a task of the message, and Celery stores nothing of it."""
        headers = _received_headers(sender, message)
        if headers.get("id") and headers.get("task"):
            self._tell(headers["id"], headers, headers["task"], "REJECTED")

    @_guarded
    def on_unknown(self, *, sender: Any, message: Any, name: str, id: str, **_: Any) -> None:  # noqa: A002 - Celery's name
        """FAILURE: the worker knows no task of this name; Celery stores NotRegistered, which ``get()`` raises."""
        error = ExceptionInfo(type="NotRegistered", message=clean(repr(name)))
        self._tell(id, _received_headers(sender, message), name, "FAILURE", exception=error)

    @_guarded
    def on_update_state(self, task: Task[Any, Any], task_id: str | None, state: str | None, meta: Any) -> None:
        """PROGRESS, or whatever name the task gives.

        A final state that a running task gives itself waits for the end of the run: with ``raise Ignore()`` it is the
        end, else what the task returns or raises takes its place, as it does in the result backend.
        """
        request: Any = task.request
        own = task_id is None or task_id == request.id
        if not state or request.is_eager or (own and not request.id):
            return
        now = time.time()
        if own:
            event = about(request.id, request, task.name, state, now)
        else:
            event = Event(id=str(task_id), state=state, timestamp=now, source="signal")
        event = replace(event, **self._told(task, state, meta))
        if own and is_final(state):
            request.watcher_told = event
        else:
            self._publish(event)

    def _told(self, task: Task[Any, Any], state: str, meta: Any) -> dict[str, Any]:
        """The fields that a state set by ``update_state`` brings."""
        if state in EXCEPTION_STATES and isinstance(meta, BaseException):
            return {"exception": self._exception(task, meta, None)}
        rendering = self._policy.of(task.name)
        if state == "SUCCESS":
            shown = rendering.result(meta)
            return {"result": shown.value, "result_repr": shown.is_repr, "result_size": shown.size}
        if meta is None:
            return {}
        shown = rendering.meta(meta)
        return {"meta": shown.value, "meta_size": shown.size, "exception": _stored_exception(rendering, state, meta)}

    def _tell(self, task_id: str | None, request: tagging.Headers, name: str, state: str, **fields: Any) -> None:
        self._publish(replace(about(task_id, request, name, state, time.time()), **fields))

    def _carrying(self, event: Event, headers: tagging.Headers, args: Any, kwargs: Any) -> Event:
        """The event with what its task's message carries: the arguments, and when the task may run."""
        rendering = self._policy.of(headers.get("task"))
        given = rendering.arguments(args, kwargs, headers.get("argsrepr"), headers.get("kwargsrepr"))
        return replace(
            event,
            argsrepr=given.argsrepr,
            kwargsrepr=given.kwargsrepr,
            args=given.args,
            kwargs=given.kwargs,
            **schedule(headers),
        )

    def _exception(self, task: Task[Any, Any], error: BaseException, einfo: Any) -> ExceptionInfo:
        # It stands for an exception that can't be pickled, and is known by its name, since it is internal to Celery.
        stands_in = type(error).__name__ == "UnpickleableExceptionWrapper"
        name = getattr(error, "exc_cls_name", None) if stands_in else None
        traceback = getattr(einfo, "traceback", None)
        return self._policy.of(task.name).exception(error, str(traceback) if traceback else None, name=name)


def _stored_exception(rendering: Rendering, state: str, meta: Any) -> ExceptionInfo | None:
    """The exception in a meta of the form that Celery's backends store, by which tasks report one themselves."""
    if state not in EXCEPTION_STATES or not isinstance(meta, dict) or not isinstance(meta.get("exc_type"), str):
        return None
    arguments = meta.get("exc_message")
    arguments = arguments if isinstance(arguments, list | tuple) else (arguments,)
    return rendering.exception(Exception(*arguments), None, name=meta["exc_type"])


def _received_headers(consumer: Any, message: Any) -> dict[str, Any]:
    """The headers of a message that a worker took but made no request of, with what a request would add."""
    return {**(message.headers or {}), "delivery_info": message.delivery_info, "hostname": consumer.hostname}


def _reason(error: BaseException) -> Reason | None:
    if isinstance(error, WorkerLostError):
        return "worker_lost"
    return "time_limit" if isinstance(error, TimeLimitExceeded | SoftTimeLimitExceeded) else None
