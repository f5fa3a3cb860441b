"""Events for ends that fire no signal: the end could not be stored, the task never ran, or it ended its own thread.

:mod:`watcher.worker.hooks.unsignalled` hears of them; here they become events.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from celery.app.task import Context
from celery.backends import base as backends
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError
from celery.states import SUCCESS
from msgspec.structs import replace

from watcher.core.event import Event, Reason
from watcher.rendering import _celery, tagging
from watcher.rendering.exceptions import raised, reason_of
from watcher.rendering.fields import about, ran_for
from watcher.rendering.guarding import guarded
from watcher.rendering.policy import Policy
from watcher.worker.hooks.never_ran import ends_of, rest_of
from watcher.worker.hooks.patches import hear
from watcher.worker.hooks.unsignalled import hear_chords, hear_exits, hear_failures, hear_retries, hear_revokes

if TYPE_CHECKING:
    from celery import Celery
    from celery.app.task import Task
    from celery.worker.request import Request

__all__ = ["EndReporter"]

logger = logging.getLogger("watcher")

#: The backends that keep the first success, where this version of Celery has them.
_KEEPING: Final = getattr(backends, "BaseKeyValueStoreBackend", ())

#: What Celery calls the reasons of a revoke (celery/worker/request.py).
_REVOKED: Final[dict[str, Reason]] = {"expired": "expired", "terminated": "terminated"}


class Failed(Protocol):
    """Makes the event of a failure that a signal reports."""

    def __call__(self, *, sender: Task[Any, Any], task_id: str, exception: BaseException) -> None: ...


class EndReporter:
    """Makes events of ends that no signal tells.

    :param app: whose running task is asked for what others would have inherited from it.
    :param publish: takes an event.
    :param policy: how the values of each task go into events.
    :param failed: takes a failure, as Celery's signal brings it.
    """

    def __init__(self, app: Celery, publish: Callable[[Event], None], policy: Policy, failed: Failed) -> None:
        self._app = app
        self._publish = publish
        self._policy = policy
        self._failed = failed

    def worker_is_ready(self) -> None:
        """Hook what exists only in a worker: elsewhere, importing it is too early for programs that patch it."""
        hear_exits(self.on_exit)

    def connect(self) -> None:
        """Listen, in this process and in those that it forks; to be called once in a process."""
        hear("task_internal_error", self.on_internal_error, "tasks that Celery itself fails at")
        hear_failures(self.on_unsaved, self.on_never_ran)
        hear_revokes(self.on_unsaved)
        hear_chords(self.on_never_ran)
        hear_retries(self.on_going_on)

    @guarded
    def on_unsaved(self, task_id: str, request: Any, error: BaseException, why: Exception) -> None:
        """FAILURE or REVOKED: the task has ended, and Celery could not store how."""
        if getattr(request, "is_eager", False):
            return
        headers = request if hasattr(request, "get") else {}  # of an unknown task Celery makes no real request
        name: Any = getattr(request, "task", None) or getattr(request, "name", None)
        event = about(task_id, headers, name, "FAILURE", time.time())
        if isinstance(error, TaskRevokedError):
            reason = _REVOKED.get(str(error), "revoked")
            self._publish(replace(event, state="REVOKED", reason=reason))
            self.on_revoked(request, "revoked" if reason == "terminated" else reason)
            return
        self._publish(
            replace(
                event,
                exception=raised(self._policy.of(name), error, None),
                reason=reason_of(error) or ("backend_lost" if _only_unstored(why) else None),
                runtime=ran_for(headers),
            )
        )

    @guarded
    def on_internal_error(
        self, *, sender: Task[Any, Any], task_id: str, kwargs: Any, request: Any, exception: BaseException, **_: Any
    ) -> None:
        """FAILURE: the message's keyword arguments are none, which Celery finds too late to store or signal anything.

        Of other internal errors Celery tells as of any failure, after this signal.
        """
        if not hasattr(kwargs, "items") and not request.get("is_eager"):
            event = about(task_id, request, sender.name, "FAILURE", time.time())
            self._publish(replace(event, exception=raised(self._policy.of(sender.name), exception, None)))

    @guarded
    def on_never_ran(self, signatures: Any, before: Any, error: Any) -> None:
        """FAILURE of what was to run after a task that failed: it never will. Celery stores that, without a signal."""
        before = before or self._running()
        if before is not None and getattr(before, "is_eager", False):
            return
        # It is of the failed task that the error may tell a secret.
        info = raised(self._policy.of(getattr(before, "task", None)), error, None) if error is not None else None
        for event in ends_of(signatures, before, "FAILURE", time.time(), exception=info):
            self._publish(event)

    def on_dropped(self, message: Any, headers: dict[str, Any], error: Any) -> None:
        """FAILURE of what was to run after a task that a worker could not run: Celery stores nothing for it."""
        body = message.payload
        embed = body[2] if isinstance(body, list | tuple) and len(body) > 2 else body  # protocol 2
        if isinstance(embed, Mapping):
            self.on_never_ran(rest_of(embed.get("chain"), embed.get("chord")), Context(headers), error)

    @guarded
    def on_revoked(self, request: Context, reason: Reason) -> None:
        """REVOKED: the rest of a chain whose task was revoked, for which Celery stores nothing.

        The body of the chord whose header the task itself is in has failed, which Celery tells as of any other.
        """
        for event in ends_of(rest_of(request.chain), request, "REVOKED", time.time(), reason=reason):
            self._publish(event)

    @guarded
    def on_ignored(self, request: Context, end: Event) -> None:
        """The rest of a chain or chord whose task has reported its own end, and raised ``Ignore``, has the same."""
        for event in ends_of(
            rest_of(request.chain, request.chord), request, end.state, time.time(), exception=end.exception
        ):
            self._publish(event)

    @guarded
    def on_exit(self, request: Request, error: BaseException) -> None:
        """FAILURE: the task has ended the thread or greenlet that it ran in."""
        self._failed(sender=request.task, task_id=request.id, exception=error)
        if not request.task.acks_late:  # else its message is delivered again some time
            context = _celery.context_of(request)
            left = rest_of(getattr(context, "chain", None), getattr(context, "chord", None))
            self.on_never_ran(left, context, error)

    @guarded
    def on_going_on(self, task: Task[Any, Any]) -> None:
        """A try has sent the next one and goes on: mark the next one, see :meth:`first_success`."""
        request: Any = task.request
        if not request.called_directly and not request.is_eager:
            request.headers = {**(request.headers or {}), "watcher_again": True}

    def first_success(self, task: Task[Any, Any], request: tagging.Headers, error: BaseException | None = None) -> Any:
        """The meta that the backend keeps of a success that was there before, if there can be one; else None.

        What is stored as a key's value (Redis and others) stays the first success, whatever is stored later (celery/
        backends/base.py, ``BaseKeyValueStoreBackend._store_result``): that of an earlier try which has sent another and
        went on, of an earlier delivery, or one that the task reported itself; or its own, where Celery failed when it
        then counted the task in its chord. The backend is asked only then.

        :param error: what Celery says that the task ended with; None where it succeeded.
        """
        reported = request.get("watcher_told")
        again = request.get("watcher_again") or (request.get("delivery_info") or {}).get("redelivered")
        counted = error is not None and request.get("chord") is not None and _celery.counted_in_chord(error)
        if not again and not counted and (reported is None or reported.state != SUCCESS):
            return None
        if not isinstance(task.backend, _KEEPING):
            return None
        try:
            meta = task.backend.get_task_meta(request.get("id"), cache=False)
        except SoftTimeLimitExceeded:
            raise
        except Exception:  # each backend has its own; what the task itself gave is told then
            logger.debug("watcher: the result backend doesn't answer", exc_info=True)
            return None
        return meta if meta.get("status") == SUCCESS else None

    def _running(self) -> Any:
        task = self._app.current_worker_task
        return task.request if task else None


def _only_unstored(why: BaseException) -> bool:
    """Whether an end could not be stored; what fails in a chord has been stored before."""
    return _celery.stored_in_backend(why) and not _celery.counted_in_chord(why)
