"""What Celery publishes while one task is handed to it: its own ``apply_async`` may send nothing, or something else.

Celery's signal tells, in the very thread that sends. It is heard besides whatever else listens in this process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from celery.result import EagerResult, ResultSet
from celery.signals import after_task_publish

__all__ = ["SentMessage", "listen", "overheard", "standing_for"]


class SentMessage(NamedTuple):
    """A task's message that was published, of protocol 2 or 1.

    :param headers: those that say which task it is; of protocol 1 its body.
    """

    id: str
    headers: Mapping[str, Any]
    args: Any
    kwargs: Any
    queue: str | None


_heard: ContextVar[list[SentMessage] | None] = ContextVar("watcher_published", default=None)


def listen() -> None:
    """Hear, from now on, what this process publishes; again, it changes nothing."""
    after_task_publish.connect(_on_published, weak=False, dispatch_uid="watcher:published")


@contextmanager
def overheard() -> Iterator[list[SentMessage]]:
    """What is published in this block, by this thread; the list grows as it is."""
    published: list[SentMessage] = []
    token = _heard.set(published)
    try:
        yield published
    finally:
        _heard.reset(token)


def standing_for(task_id: str, name: str, returned: Any, published: Sequence[SentMessage]) -> str | None:
    """The id of the task that stands for one that was to be sent as ``task_id``; None where there is none.

    :param name: the task's.
    :param returned: by ``apply_async``. Who returns a result of that id, and sent no such task under another one,
        answers for it: it may be sent later.
    :param published: by it.
    """
    if any(message.id == task_id for message in published):
        return task_id
    of_that_name = [message.id for message in published if message.headers.get("task") == name]
    try:
        named = returned if isinstance(returned, str) else getattr(returned, "id", None)
    except Exception:  # noqa: BLE001 - it is whatever the app's code returns
        named = None
    # An EagerResult is of a task that ran in this process, or of none: nobody hears anything of it. A group is no task.
    is_task = isinstance(named, str) and named and not isinstance(returned, EagerResult | ResultSet)
    if is_task and (named != task_id or not of_that_name):
        return str(named)
    return next(iter(of_that_name or [message.id for message in published]), None)


def _on_published(*, headers: Any = None, body: Any = None, routing_key: Any = None, **_: Any) -> None:
    published = _heard.get()
    if published is None:
        return
    message: Any = headers if isinstance(headers, Mapping) and "task" in headers else body
    if isinstance(message, Mapping):
        args, kwargs = (message.get("args"), message.get("kwargs")) if message is body else body[:2]
        queue = routing_key if isinstance(routing_key, str) else None
        published.append(SentMessage(str(message.get("id")), message, args, kwargs, queue))
