"""Celery signal → Event, for every state that Celery's signals can tell.

Where a signal fires depends on the pool. In prefork, ``task_received``, ``task_revoked``, ``task_unknown`` and
``task_rejected`` fire in the worker's main process; ``task_prerun``, ``task_success`` and ``task_retry`` in the child;
``task_failure`` in the child, but in the main process for a lost worker and for the hard time limit. In the other pools
all fire in one process. Sources: celery/worker/request.py and celery/app/trace.py. What fires none is heard of by
:mod:`watcher.worker.hooks.unsignalled`; messages of which no task is made are told by
:mod:`watcher.worker.hooks.dropped`.

Every handler is guarded: neither an error of its own nor one in a user's value can harm a task.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from celery.exceptions import Reject, TimeLimitExceeded, WorkerLostError
from celery.result import ResultBase
from celery.states import EXCEPTION_STATES
from msgspec.structs import replace

from watcher.core.event import Event, ExceptionInfo, Reason, is_final
from watcher.rendering import _celery, lives, tagging
from watcher.rendering.exceptions import carried, cause_of, raised, reason_of, reported
from watcher.rendering.fields import about, identity, next_schedule, ran_for, schedule
from watcher.rendering.guarding import guarded as _guarded
from watcher.rendering.policy import Policy
from watcher.rendering.routing import queue_to
from watcher.worker.hooks import batches
from watcher.worker.hooks.batches import BatchedCall
from watcher.worker.hooks.dropped import DroppedMessages
from watcher.worker.hooks.ends import EndReporter
from watcher.worker.hooks.never_ran import rest_of
from watcher.worker.hooks.patches import hear
from watcher.worker.hooks.unsignalled import failing, hear_drops, hear_update_state, running
from watcher.worker.hooks.versions import REJECTED_ARE_STORED, TAKES_LINKS_OUT
from watcher.worker.hooks.weak_registry import WeakRegistry

if TYPE_CHECKING:
    from celery import Celery
    from celery.app.task import Context, Task
    from celery.worker.request import Request

__all__ = ["SignalHandlers"]

#: States that the worker has reported already, or that are untrue while the task runs.
_NOT_RUNNING: Final = frozenset({"PENDING", "RECEIVED", "STARTED", "RETRY"})


class _Sending(NamedTuple):
    """A message that is being published in this context."""

    id: str
    timestamp: float
    queue: str | None
    sent: float | None


_sending: ContextVar[_Sending | None] = ContextVar("watcher_sending", default=None)


class SignalHandlers:
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
        self._received: WeakRegistry[Request] = WeakRegistry()
        self._stamps = lives.SentStamps()
        self.runs = lives.RunNames()
        self._ends = EndReporter(app, publish, policy, self.on_failure)
        self._dropped = DroppedMessages(publish, policy, self._ends)

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
            ("worker_ready", self.on_ready, "calls that are run together and lost"),
        )
        for name, handler, what in handlers:
            hear(name, handler, what)
        hear_update_state(self.on_update_state)
        hear_drops(self.on_drop)
        self._dropped.connect()
        self._ends.connect()

    @_guarded
    def on_before_publish(
        self, *, headers: dict[str, Any], body: Any, exchange: Any = None, routing_key: Any = None,
        declare: Any = None, **_: Any,
    ) -> None:  # fmt: skip
        """A message is about to be sent: its tags go into its headers, and when it is sent."""
        own = tagging.of_header(headers)
        running = self._app.current_worker_task
        message = identity(headers, body)
        if running and message.get("id") == running.request.id:
            vars(running.request)["watcher_went_on"] = True
        sent = None
        if message is headers:  # of protocol 1 a worker keeps no headers
            sent = self._stamps.stamp(headers, message.get("retries"), running.request if running else None)
        inherited = tagging.of_header(running.request) if running else ()
        names = tagging.combined(own, tagging.current(), inherited)
        if names:
            headers[tagging.HEADER] = list(names)
        queue = queue_to(exchange, routing_key, declare[0] if declare else None)
        _sending.set(_Sending(str(message.get("id")), time.time(), queue, sent))

    @_guarded
    def on_after_publish(self, *, headers: dict[str, Any], body: Any, routing_key: Any = None, **_: Any) -> None:
        """PENDING: the broker has the message. A retry's next try is told by RETRY, which PENDING would hide."""
        message = identity(headers, body)
        if message.get("retries") or not message.get("id"):
            return
        args, kwargs = (body[0], body[1]) if message is headers else (body.get("args"), body.get("kwargs"))
        sending = _sending.get()
        if sending is None or sending.id != message["id"]:  # another message was sent in between
            queue = routing_key if isinstance(routing_key, str) else None
            sending = _Sending(message["id"], time.time(), queue, lives.sent_of(headers))
        whose = about(message["id"], message, message["task"], "PENDING", sending.timestamp, queue=sending.queue)
        whose = replace(whose, sent=sending.sent, run=None)
        self._publish(self._carrying(whose, message, args, kwargs))

    @_guarded
    def on_received(self, *, request: Request, **_: Any) -> None:
        """RECEIVED: a worker has taken the message off the queue."""
        headers = request.request_dict
        self.runs.receive(headers)
        self._received.add(request.id, request)
        whose = about(request.id, headers, headers["task"], "RECEIVED", time.time())
        self._publish(self._carrying(whose, headers, request.args, request.kwargs))

    @_guarded
    def on_prerun(self, *, task: Task[Any, Any], task_id: str, args: Any = None, **_: Any) -> None:
        """STARTED: the task is about to run."""
        request: Any = task.request
        if request.is_eager:
            return
        if request.id != task_id:  # a run for many messages, under an id of its own
            self.on_gathered(task, args)
            return
        # Remembered for as long as the task runs: Celery sends nothing of it anywhere.
        attributes = vars(request)
        attributes["watcher_since"] = time.monotonic()
        attributes["watcher_started"] = event = about(task_id, attributes, task.name, "STARTED", time.time())
        if TAKES_LINKS_OUT and attributes.get("chain"):
            attributes["watcher_chain"] = tuple(attributes["chain"])
        self._publish(event)

    @_guarded
    def on_success(self, *, sender: Task[Any, Any], result: Any, runtime: float | None = None, **_: Any) -> None:
        """SUCCESS: the result is stored."""
        request = vars(sender.request)
        if request.get("is_eager") or request.get("id") is None:  # of a run for many messages each call is told
            return
        first_success = self._ends.first_success(sender, request)
        if runtime is None:  # Celery says it since 5.7
            runtime = ran_for(request)
        self._succeed(sender, request, first_success["result"] if first_success else result, runtime)

    def _succeed(self, task: Task[Any, Any], request: dict[str, Any], result: Any, runtime: float | None) -> None:
        if isinstance(result, ResultBase):
            result = result.as_tuple()  # type: ignore[attr-defined] # Backend.prepare_value stores it like this
        shown, now = self._policy.of(task.name).result(result), time.time()
        whose = request.get("watcher_started") or about(request.get("id"), request, task.name, "SUCCESS", now)
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
        """RETRY: the next try is queued; ``eta`` and ``expires`` say from when on, and until when."""
        if request.is_eager:
            return
        # A task that Celery itself put back, because the connection to the broker was lost, gives no reason.
        cause = getattr(reason, "exc", None)
        error = self._exception(sender, cause or reason, einfo if cause else None) if cause or reason else None
        self._tell(request.id, request, sender.name, "RETRY", exception=error, **next_schedule(reason, request))

    @_guarded
    def on_failure(
        self, *, sender: Task[Any, Any], task_id: str, exception: BaseException, einfo: Any = None, **_: Any
    ) -> None:
        """FAILURE: the task raised, was lost with its process, or took too long."""
        if isinstance(exception, Reject):
            return  # REJECTED was told where it was raised; Celery >= 5.7 stores it as a failure besides
        request: Any = sender.request
        signalled, runtime = exception, None
        received, failure = self._received.get(task_id), failing(task_id)
        if failure is not None:  # as it is while Celery runs the task or gives it up; it may have let go of its request
            request, exception = failure.request, failure.error or exception
        if request.get("id") == task_id:
            if request.get("is_eager"):
                return
            runtime = ran_for(request)
            first_success = self._ends.first_success(sender, request, exception)
            if first_success:
                self._succeed(sender, vars(request), first_success["result"], runtime)
                return
        elif received is not None:
            request = received.request_dict
        if runtime is None and received is not None and received.time_start:
            runtime = time.time() - received.time_start
        lost = isinstance(exception, WorkerLostError | TimeLimitExceeded)
        # The traceback of a lost worker is that of Celery's own main process, which says nothing.
        error = raised(self._policy.of(sender.name), exception, None if lost else einfo, signalled)
        self._tell(
            task_id, request, sender.name, "FAILURE", exception=error, reason=reason_of(exception), runtime=runtime
        )

    @_guarded
    def on_drop(self, task: Task[Any, Any], request: Context, state: str, why: Any) -> None:
        """IGNORED and REJECTED: the task asked for it, and nothing of it is stored."""
        if request.is_eager:
            return
        reported = request.get("watcher_told")
        if state == "IGNORED" and reported is not None:
            self._publish(reported)
            if reported.state in EXCEPTION_STATES:
                self._ends.on_ignored(request, reported)
        elif state == "IGNORED" and getattr(why, "args", None) == _celery.REPLACED:
            self._on_replaced(task, request)
        elif state == "IGNORED":
            self._tell(request.id, request, task.name, "IGNORED")
        elif state == "REJECTED" and not (getattr(why, "requeue", False) and task.acks_late):
            # A message that goes back to its queue is received again: not the end, and still the same try.
            error = cause_of(self._policy.of(task.name), why)
            end = "FAILURE" if _celery.in_retry(why) else "REJECTED"
            self._tell(request.id, request, task.name, end, exception=error)
            # Celery fails them all by itself where it stores the task's own end, and counts it in its chord.
            stored = REJECTED_ARE_STORED and not getattr(why, "requeue", False)
            left = request.chain or () if stored else rest_of(request.chain, request.chord)
            self._ends.on_never_ran(left, request, why)

    def _on_replaced(self, task: Task[Any, Any], request: Context) -> None:
        """PENDING: what has replaced the task will be sent under its id when others have run, wherever that is.

        It doesn't run here any more, so it isn't lost with this worker. What was sent under its id already says so.
        """
        if not request.get("watcher_went_on"):
            event = about(request.id, request, task.name, "PENDING", time.time())
            sent = lives.next_life(request)
            self._publish(replace(event, sent=sent, run=None, retries=0, redelivered=None, hostname=None, queue=None))

    @_guarded
    def on_revoked(
        self, *, sender: Task[Any, Any], request: Context, terminated: bool = False, expired: bool = False, **_: Any
    ) -> None:
        """REVOKED: a worker dropped the task before its start, or ended it."""
        reason: Reason = "expired" if expired else "terminated" if terminated else "revoked"
        self._tell(request.id, request, sender.name, "REVOKED", reason=reason, **schedule(request))
        self._ends.on_revoked(request, "revoked" if terminated else reason)

    @_guarded
    def on_update_state(self, task: Task[Any, Any], task_id: str | None, state: str | None, meta: Any) -> None:
        """PROGRESS, or whatever name the task gives.

        A final state that a running task gives itself waits for the end of the run: with ``raise Ignore()`` it is the
        end, else what the task returns or raises takes its place, as it does in the result backend. A state that says
        that the task doesn't run yet, or not any more, is told as PROGRESS: what it brings is what the task reports.
        """
        request: Any = task.request
        if task_id not in (None, request.id):
            request = running(task, str(task_id))  # a thread that the task has begun reports for it
        if not state or (request is not None and (request.is_eager or not request.id)):
            return
        now, fields = time.time(), self._fields_of(task, state, meta)
        if request is None:
            self._publish(replace(Event(id=str(task_id), state=state, timestamp=now, source="signal"), **fields))
            return
        name = "PROGRESS" if state in _NOT_RUNNING else state
        event = replace(about(request.id, request, request.get("task") or task.name, name, now), **fields)
        if is_final(state):
            request.watcher_told = event
        elif fields or name == state:
            self._publish(event)

    @_guarded
    def on_ready(self, *, sender: Any, **_: Any) -> None:
        """The worker is about to take tasks. Jobs of gathered tasks are observed: nobody else reports their loss."""
        self._ends.worker_is_ready()
        if any(batches.gathers(task) for task in sender.app.tasks.values()):
            batches.hear_lost(sender.pool, self.on_gathered_lost)

    @_guarded
    def on_gathered(self, task: Task[Any, Any], args: Any) -> None:
        """STARTED, of each call that is about to be run together with others."""
        calls, began = batches.calls_in(args), time.monotonic()
        for call in calls:
            self._publish(batches.event(call, "STARTED"))
        batches.begin(task, calls, functools.partial(self.on_gathered_call, began))

    @_guarded
    def on_gathered_call(self, began: float, task: Task[Any, Any], call: BatchedCall, state: str, value: Any) -> None:
        """The new state of one call, set by the task's own code or by the end of the run."""
        fields = self._fields_of(task, state, value)
        if isinstance(value, BaseException):
            fields = {"exception": carried(self._policy.of(task.name), value)}
        fields["runtime"] = time.monotonic() - began if is_final(state) else None
        self._publish(replace(batches.event(call, state), **fields))

    @_guarded
    def on_gathered_lost(self, calls: list[BatchedCall], einfo: Any) -> None:
        """FAILURE, of those that were lost with their process; where the broker still has the message, not yet."""
        error = batches.ended_with(einfo)
        for call in calls:
            event, received = batches.event(call, "FAILURE"), self._received.get(call.id)
            if received is None or received.acknowledged:
                exception = self._policy.of(event.name).exception(error, None)
                self._publish(replace(event, exception=exception, reason=reason_of(error)))
            else:
                self._publish(replace(event, state="STARTED", reason="worker_lost"))

    def _fields_of(self, task: Task[Any, Any], state: str, meta: Any) -> dict[str, Any]:
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
        return {"meta": shown.value, "meta_size": shown.size, "exception": reported(rendering, state, meta)}

    def _tell(self, task_id: str | None, request: tagging.Headers, name: str, state: str, **fields: Any) -> None:
        self._publish(replace(about(task_id, request, name, state, time.time()), **fields))

    def _carrying(self, event: Event, headers: tagging.Headers, args: Any, kwargs: Any) -> Event:
        """The event with what its task's message carries: the arguments, and when the task may run."""
        rendering = self._policy.of(headers.get("task"))
        arguments = rendering.arguments(args, kwargs, headers.get("argsrepr"), headers.get("kwargsrepr"))
        return replace(
            event,
            argsrepr=arguments.argsrepr,
            kwargsrepr=arguments.kwargsrepr,
            args=arguments.args,
            kwargs=arguments.kwargs,
            **schedule(headers),
        )

    def _exception(self, task: Task[Any, Any], error: BaseException, einfo: Any) -> ExceptionInfo:
        return raised(self._policy.of(task.name), error, einfo)
