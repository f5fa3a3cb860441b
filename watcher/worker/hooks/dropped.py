"""Events for messages that a worker takes off its queue but can't run: it can't decode them, or doesn't accept them.

Celery logs them, and for most it stores nothing. Whose they were is in the headers; those of protocol 1 say it in their
body, and where that can't be decoded, by the message's ``correlation_id``, which is the task's id.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from celery.exceptions import NotRegistered, Reject
from kombu.exceptions import ContentDisallowed, KombuError
from msgspec.structs import replace

from watcher.core.event import Event, ExceptionInfo, Reason
from watcher.rendering import _celery
from watcher.rendering.exceptions import raised
from watcher.rendering.fields import about
from watcher.rendering.guarding import guarded
from watcher.rendering.policy import Policy
from watcher.rendering.reprs import clean
from watcher.worker.hooks.ends import EndReporter
from watcher.worker.hooks.patches import follow, hear

__all__ = ["DroppedMessages"]

#: Longest text that is taken for an id, in characters.
_LONGEST: Final = 255
_KINDS: Final = {"root_id": str, "parent_id": str, "group": str, "retries": int}


class DroppedMessages:
    """Makes events of messages that a worker drops.

    :param publish: takes an event.
    :param policy: how the values of each task go into events.
    :param ends: tells of what was to run after such a task.
    """

    def __init__(self, publish: Callable[[Event], None], policy: Policy, ends: EndReporter) -> None:
        self._publish = publish
        self._policy = policy
        self._ends = ends

    def connect(self) -> None:
        """Listen to Celery in this process; to be called once in a process."""
        hear("task_rejected", self.on_rejected, "messages that workers reject")
        hear("task_unknown", self.on_unknown, "tasks that workers don't know")
        hear("celeryd_after_setup", self.on_setup, "undecodable messages")

    def on_setup(self, **_: Any) -> None:
        """A worker is about to start: what fires no signal is only there, and no sooner looked for.

        Importing it elsewhere would be too early for programs that patch it later.
        """
        follow(_celery.DECODE_ERROR, self.on_undecodable, "undecodable messages")

    @guarded
    def on_undecodable(self, consumer: Any, message: Any, error: BaseException) -> None:
        """REJECTED: the message's content can't be decoded, or decompressed."""
        self._reject(consumer, message, "undecodable", _decoding(message, error))

    @guarded
    def on_rejected(self, *, sender: Any, message: Any, exc: BaseException | None = None, **_: Any) -> None:
        """REJECTED: a worker can't make a task of the message, or doesn't accept its content."""
        if isinstance(exc, ContentDisallowed):
            self._reject(sender, message, "undecodable", _decoding(message, exc))
            return
        headers = _received_headers(sender, message)
        name = _text(headers.get("task"))
        error = raised(self._policy.of(name), exc, None) if exc is not None else None
        if self._reject(sender, message, "invalid", error) and name is not None:
            self._ends.on_dropped(message, headers, exc or Reject("not a task"))

    @guarded
    def on_unknown(self, *, sender: Any, message: Any, name: str, id: str, **_: Any) -> None:  # noqa: A002 - Celery's name
        """FAILURE: the worker knows no task of this name; Celery stores NotRegistered, which ``get()`` raises."""
        error = ExceptionInfo(type="NotRegistered", message=clean(repr(name)))
        headers = _received_headers(sender, message)
        self._publish(replace(about(id, headers, name, "FAILURE", time.time()), exception=error))
        self._ends.on_dropped(message, headers, NotRegistered(name))

    def _reject(self, consumer: Any, message: Any, reason: Reason, error: ExceptionInfo | None) -> bool:
        """Tell of a message that was thrown away; whether it says whose it was."""
        headers = {**_received_headers(consumer, message), **_said_by(message)}
        task_id = headers.get("id")
        if not isinstance(task_id, str) or not 0 < len(task_id) <= _LONGEST:
            return False
        name: Any = _text(headers.get("task"))
        event = about(task_id, headers, name, "REJECTED", time.time())
        self._publish(replace(event, reason=reason, exception=error))
        return True


def _received_headers(consumer: Any, message: Any) -> dict[str, Any]:
    """The headers of a message that a worker took but made no request of, with what a request would add.

    They are unchecked: whatever Celery would not have written is left out.
    """
    headers = message.headers if isinstance(message.headers, Mapping) else {}
    readable = {name: value for name, value in headers.items() if isinstance(value, _KINDS.get(name, object))}
    return {**readable, "delivery_info": message.delivery_info, "hostname": consumer.hostname}


def _said_by(message: Any) -> dict[str, Any]:
    """Whose a message of protocol 1 is; nothing where its headers say that."""
    if isinstance(message.headers, Mapping) and "id" in message.headers:
        return {}
    try:
        body = message.payload
    except KombuError:
        return {"id": (message.properties or {}).get("correlation_id")}
    return {name: body[name] for name in ("id", "task", "retries") if name in body} if isinstance(body, Mapping) else {}


def _decoding(message: Any, error: BaseException) -> ExceptionInfo:
    """What can be said of it without what is in the message: decoders put that into their errors."""
    cause = error
    while isinstance(cause, KombuError) and cause.args and isinstance(cause.args[0], BaseException):
        cause = cause.args[0]
    what = f"{message.content_type}, {message.content_encoding}"
    why = "is not accepted" if isinstance(error, ContentDisallowed) else f"{type(cause).__name__}"
    return ExceptionInfo(type=type(error).__name__, message=clean(f"{what}: {why}")[:_LONGEST])


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
