"""What a workflow still held when one of its tasks failed: the signatures of what never ran → events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from watcher.event import Event
from watcher.worker import lives, tagging

__all__ = ["ends_of"]


class _Leaf(NamedTuple):
    """A signature of one task, and the group that it would have been sent in."""

    signature: Mapping[str, Any]
    options: Mapping[str, Any]
    group_id: Any


def ends_of(
    signatures: Iterable[Any], before: tagging.Headers | None, state: str, timestamp: float, **fields: Any
) -> Iterator[Event]:
    """An event for each task that would have been sent: those of groups, of chords and of what follows, too.

    A task that was given no id is left out: nobody can know it.

    :param before: the request of the task after which they would have been sent; what they would have inherited.
    :param fields: what else each event tells.
    """
    parent = before.get("id") if before is not None else None
    root = (before.get("root_id") if before is not None else None) or parent
    # Under its id another task may have run, and more than once: that which this one was to take the place of.
    sent = lives.next_life(before) if before is not None else None
    inherited = tagging.of_header(before) if before is not None else []
    for each in _leaves(signatures):
        options = each.options
        task_id = options.get("task_id")
        if not task_id:
            continue
        yield Event(
            id=str(task_id),
            name=each.signature.get("task"),
            state=state,
            timestamp=timestamp,
            source="signal",
            queue=_name(options.get("queue")),
            retries=0,
            sent=sent,
            root_id=options.get("root_id") or root or str(task_id),
            parent_id=options.get("parent_id") or parent,
            group_id=each.group_id,
            tags=tagging.of_signature(options, inherited),
            **fields,
        )


def _leaves(signatures: Iterable[Any]) -> Iterator[_Leaf]:
    """The signatures of single tasks in those given, which may be chains, groups and chords of others."""
    left: list[tuple[Any, Any]] = [(each, None) for each in signatures]
    while left:
        signature, group_id = left.pop()
        if not isinstance(signature, Mapping):
            continue
        options, kwargs = signature.get("options") or {}, signature.get("kwargs") or {}
        kind = signature.get("subtask_type")
        left += [(each, None) for each in options.get("chain") or ()]
        if kind == "group":
            # A group's own id is that of no task.
            members = kwargs.get("tasks") or ()
            left += [(each, options.get("task_id") or group_id) for each in members]
        elif kind == "chain":
            left += [(each, group_id) for each in kwargs.get("tasks") or ()]
        elif kind == "chord":
            header, body = kwargs.get("header") or (), kwargs.get("body")
            left += [(header, None)] if isinstance(header, Mapping) else [(each, group_id) for each in header]
            left.append((body, group_id))
        else:
            yield _Leaf(signature, options, options.get("group_id") or group_id)


def _name(queue: Any) -> str | None:
    """The name of a queue: in a message it stands as such, or as kombu's queue."""
    name = getattr(queue, "name", queue)
    return name if isinstance(name, str) else None
