"""The tags of a task: Celery's stamps, ``with watcher.tags(…)``, the ``watcher_tags`` header, and what it inherits.

A task inherits what the header of the task that sends it has. Stamps are a task's own: Celery gives each task of a
workflow those that it is to have, so they aren't handed on, or the header of a long chain would grow with each step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

from celery import current_app, signals

from watcher.rendering.guarding import guarded

if TYPE_CHECKING:
    from celery.utils.dispatch import Signal

__all__ = [
    "HEADER",
    "Headers",
    "combined",
    "current",
    "of_header",
    "of_headers",
    "of_signature",
    "of_task",
    "put_by_plugin",
    "tags",
]

#: The message header that carries a task's tags. Celery takes it along on a retry, as all headers that it doesn't know.
HEADER: Final = "watcher_tags"
#: A task has at most this many tags; the first ones count.
_MOST: Final = 64
#: A longer tag has no channel: a name has at most 255 characters there, and ``tag:`` goes before it.
_LONGEST: Final = 251


class Headers(Protocol):
    """A task's message headers: a mapping, or what Celery makes of it (``celery.app.task.Context``)."""

    def get(self, key: str, /) -> Any:
        """The value of one header, None where it is absent."""


_current: ContextVar[tuple[str, ...]] = ContextVar("watcher_tags", default=())
_UID: Final = "watcher:tags"
#: Whether something in this process puts tags into messages: the plugin, or else what is below.
_is_put: bool = False


@contextmanager
def tags(*names: str) -> Iterator[None]:
    """Tag every task that is sent within this block, and all that those tasks send in turn; blocks may be nested.

    It needs no :func:`watcher.install` in this process, only in the workers: their events have the tags.

    It belongs to the thread or asyncio task that enters it.

    :param names: 1 to 251 characters each, for example ``"user:42"``; each is then a channel ``tag:user:42``.
    :raises TypeError: a name is no string.
    :raises ValueError: a name is empty or too long.
    """
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a tag is a string, not {name!r}")
        if not 0 < len(name) <= _LONGEST:
            raise ValueError(f"a tag has 1 to {_LONGEST} characters: {name!r}")
    if not _is_put:
        _put_alone()
    token = _current.set((*_current.get(), *names))
    try:
        yield
    finally:
        _current.reset(token)


def current() -> tuple[str, ...]:
    """The tags of the blocks that the caller is in."""
    return _current.get()


def put_by_plugin() -> None:
    """From now on the plugin puts tags into the messages of this process; to be called when it is installed."""
    global _is_put  # noqa: PLW0603 - Celery's signals are global to the process, and so is who listens
    _is_put = True
    if (signal := _before_publish()) is not None:
        signal.disconnect(_on_before_publish, dispatch_uid=_UID)


def _put_alone() -> None:
    """Where the plugin isn't installed, tags travel all the same: those who publish are the workers then."""
    global _is_put  # noqa: PLW0603 - as above
    _is_put = True
    if (signal := _before_publish()) is not None:
        signal.connect(_on_before_publish, weak=False, dispatch_uid=_UID)


def _before_publish() -> Signal | None:
    """The signal, where this version of Celery has it."""
    return getattr(signals, "before_task_publish", None)


@guarded
def _on_before_publish(*, headers: dict[str, Any], **_: Any) -> None:
    running: Any = current_app.current_worker_task
    names = combined(of_header(headers), current(), of_header(running.request) if running else ())
    if names:
        headers[HEADER] = list(names)


def of_header(headers: Headers) -> list[str]:
    """What the ``watcher_tags`` header has: a list of names, or one name."""
    own = headers.get(HEADER)
    return [own] if isinstance(own, str) else list(own) if isinstance(own, list | tuple) else []


def of_headers(headers: Headers) -> list[str]:
    """The tags that a task's message headers tell of: the stamps as ``key=value``, then the header of our own."""
    stamps, stamped = headers.get("stamps"), headers.get("stamped_headers")
    readable = isinstance(stamps, Mapping) and isinstance(stamped, Iterable)
    return [*(_of_stamps(stamps, stamped) if readable else ()), *of_header(headers)]


def of_signature(options: Mapping[str, Any], inherited: Iterable[str]) -> tuple[str, ...] | None:
    """The tags that a task would have had, by the options of its signature; None where it has none.

    :param inherited: the tags of the task that would have sent it.
    """
    stamped, headers = options.get("stamped_headers"), options.get("headers")
    stamps = options.get("stamps")
    own = _of_stamps(stamps if isinstance(stamps, Mapping) else options, stamped) if isinstance(stamped, list) else ()
    header = of_header(headers) if isinstance(headers, Mapping) else []
    return combined(own, header, inherited) or None


def _of_stamps(stamps: Mapping[str, Any], stamped: Iterable[Any]) -> Iterator[str]:
    for key in stamped:
        value = stamps.get(key)
        values = value if isinstance(value, list | tuple | set | frozenset) else [value]
        yield from (f"{key}={one}" for one in values if one is not None)


def of_task(headers: Headers) -> tuple[str, ...] | None:
    """A task's tags as its events carry them; None where it has none."""
    if not headers.get(HEADER) and not headers.get("stamps"):
        return None
    return combined(of_headers(headers)) or None


def combined(*sources: Iterable[object]) -> tuple[str, ...]:
    """The tags of several sources, each once, in their order; what can't be a tag is left out."""
    names: dict[str, None] = {}
    for source in sources:
        for name in source:
            if isinstance(name, str) and 0 < len(name) <= _LONGEST and len(names) < _MOST:
                names[name] = None
    return tuple(names)
