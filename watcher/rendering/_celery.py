"""Everything that uses non-public names of Celery, and of kombu and billiard, which come with it.

Tried with Celery 5.5.3, 5.6.3 and 5.7.0, kombu 5.5.4 and 5.7.0, billiard 4.3.2. None of it is promised, and any release
may take it away, so nothing here fails where it is gone: each function says what it falls back to, and the paths that
:mod:`watcher.worker.hooks.patches` wraps are left alone there, with a line in the log. :data:`MEMBERS` names what is
needed; tests/rendering/test_celery.py fails by the name of what a release lacks.

It imports none of them: it looks at what it is given, and at what is loaded when it is asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from types import TracebackType
from typing import Any, Final

__all__ = [
    "APPLY_TARGET_RERAISE",
    "CHORD_ERROR",
    "DECODE_ERROR",
    "IGNORED",
    "MARK_FAILURE",
    "MARK_REVOKED",
    "MEMBERS",
    "REJECTED",
    "REPLACED",
    "RETRY",
    "TRACED_FAILURE",
    "UPDATE_STATE",
    "callback_owners",
    "child_of_billiard",
    "compression_mark",
    "context_of",
    "counted_in_chord",
    "in_retry",
    "json_tags",
    "publish_controls_by",
    "requests_everywhere",
    "stored_in_backend",
    "unpicklable_name",
    "written_body",
]

#: Functions that are wrapped, as patches.py takes them; unsignalled.py says what fires no signal in them.
UPDATE_STATE: Final = "celery.app.task:Task.update_state"
RETRY: Final = "celery.app.task:Task.retry"
IGNORED: Final = "celery.app.trace:TraceInfo.handle_ignore"
REJECTED: Final = "celery.app.trace:TraceInfo.handle_reject"
TRACED_FAILURE: Final = "celery.app.trace:TraceInfo.handle_failure"
MARK_FAILURE: Final = "celery.backends.base:Backend.mark_as_failure"
MARK_REVOKED: Final = "celery.backends.base:Backend.mark_as_revoked"
CHORD_ERROR: Final = "celery.backends.base:Backend.chord_error_from_stack"
APPLY_TARGET_RERAISE: Final = "celery.concurrency.base:reraise"
DECODE_ERROR: Final = "celery.worker.consumer.consumer:Consumer.on_decode_error"

#: What ``Task.replace`` raises ``Ignore`` with: the task goes on under its id (celery/app/task.py, ``on_replace``).
REPLACED: Final = ("Replaced by new task",)
#: The functions that backends count a task in its chord with, and that they store with (celery/backends/base.py).
_COUNTING: Final = frozenset({"on_chord_part_return"})
_STORING: Final = _COUNTING | {"store_result"}

#: All that is needed of these packages and not public, as ``MODULE:NAME.NAME``.
MEMBERS: Final = (
    UPDATE_STATE,
    RETRY,
    IGNORED,
    REJECTED,
    TRACED_FAILURE,
    MARK_FAILURE,
    MARK_REVOKED,
    CHORD_ERROR,
    APPLY_TARGET_RERAISE,
    DECODE_ERROR,
    "celery._state:_task_stack._local.__storage__",
    "celery.backends.base:BaseKeyValueStoreBackend",
    "celery.backends.base:Backend.on_chord_part_return",
    "celery.backends.base:Backend.store_result",
    "celery.backends.base:COMPRESSED_PAYLOAD_MAGIC",
    "celery.utils.serialization:UnpickleableExceptionWrapper",
    "celery.worker.request:Request._context",
    "kombu.pidbox:Mailbox.producer_pool",
    "kombu.utils.json:_decoders",
    "billiard.process:BaseProcess",
)


# What runs.


def requests_everywhere(task: Any) -> list[Any]:
    """The requests that run in any thread or greenlet of this process; Celery itself shows the caller's.

    None where this Celery keeps them otherwise. See ``celery.utils.threads``, ``Local``.

    :param task: whose requests come first.
    """
    tasks = [task, *_everywhere(getattr(import_module("celery._state"), "_task_stack", None))]
    return [request for candidate in tasks for request in _everywhere(candidate.request_stack)]


def _everywhere(stack: Any) -> list[Any]:
    storage = getattr(getattr(stack, "_local", None), "__storage__", None)
    stacks = list(storage.values()) if isinstance(storage, dict) else []
    return [request for per_thread in stacks for request in list(per_thread.get("stack", ()))]


def context_of(request: Any) -> Any:
    """The context of a request that a worker gives up, as its task would have it; None where the request has none."""
    return getattr(request, "_context", None)


def callback_owners(traceback: TracebackType | None) -> Iterator[Any]:
    """Whose methods the functions on the way to an error hold as ``callback`` (celery/concurrency/base.py)."""
    while traceback is not None:
        yield getattr(traceback.tb_frame.f_locals.get("callback"), "__self__", None)
        traceback = traceback.tb_next


def written_body(task: Any) -> Callable[..., Any]:
    """A task's body; of one that retries by itself ``run`` is a wrapper (celery/app/autoretry.py).

    The wrapper where Celery doesn't keep the body: it takes anything.
    """
    written: Callable[..., Any] = getattr(task, "_orig_run", task.run)
    return written


def child_of_billiard(process: Any) -> bool:
    """Whether a ``billiard.process`` is that of a child; a main process has no parent there. False if unknown.

    multiprocessing says so in public (``parent_process``), billiard doesn't.
    """
    return getattr(process.current_process(), "_parent_pid", None) is not None


# What was raised.


def stored_in_backend(error: BaseException) -> bool:
    """Whether an error came from storing in the result backend, whose kinds are as many as there are backends.

    False where backends store by functions of other names.
    """
    return _went_through(_STORING, error)


def counted_in_chord(error: BaseException) -> bool:
    """Whether an error came from counting a task in its chord; False as for :func:`stored_in_backend`."""
    return _went_through(_COUNTING, error)


def _went_through(functions: frozenset[str], error: BaseException) -> bool:
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_name in functions:
            return True
        traceback = traceback.tb_next
    return False


def in_retry(error: Any) -> bool:
    """Whether an error was raised by ``Task.retry`` itself; False where there is no such method."""
    traceback = getattr(error, "__traceback__", None)
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    retry = getattr(import_module("celery.app.task").Task, "retry", None)
    code = getattr(inspect.unwrap(retry), "__code__", None) if retry is not None else None  # it may be listened to
    return traceback is not None and traceback.tb_frame.f_code is code


def unpicklable_name(error: BaseException) -> str | None:
    """The name of the type that ``error`` stands for because that can't be pickled; None where it stands for none.

    It is known by its name, since it is internal to Celery (celery/utils/serialization.py).
    """
    stands_in = type(error).__name__ == "UnpickleableExceptionWrapper"
    return getattr(error, "exc_cls_name", None) if stands_in else None


# What is sent and stored.


def compression_mark() -> bytes:
    """How a compressed result begins (celery/backends/base.py); empty where Celery compresses none, as up to 5.6."""
    mark: bytes = getattr(import_module("celery.backends.base"), "COMPRESSED_PAYLOAD_MAGIC", b"")
    return mark


def json_tags() -> list[str]:
    """What may stand as ``__type__`` in kombu's JSON, in order; empty where it doesn't tell."""
    return sorted(getattr(import_module("kombu.utils.json"), "_decoders", ()))


def publish_controls_by(control: Any, producers: Any) -> None:
    """Have remote control commands sent by producers of ours, which try once.

    Where there is no mailbox of that kind (kombu/pidbox.py), the app's own send them, which wait and try again.
    """
    with suppress(AttributeError):
        control.mailbox.producer_pool = producers
