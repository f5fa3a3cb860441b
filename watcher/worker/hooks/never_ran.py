"""The rest of a workflow after one of its tasks has failed: signatures that will never run → events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from watcher.core.event import Event
from watcher.rendering import lives, tagging

__all__ = ["ends_of", "rest_of"]


class _Leaf(NamedTuple):
    """A signature of one task, and the group that it would have been sent in."""

    signature: Mapping[str, Any]
    options: Mapping[str, Any]
    group_id: Any


def ends_of(
    signatures: Iterable[Any], before: tagging.Headers | None, state: str, timestamp: float, **fields: Any
) -> Iterator[Event]:
    """An event for each task that would have been sent: those of groups, of chords and of what follows, too.

    A task without an id is left out: nobody can watch it.

    :param before: the request of the task after which they would have been sent; what they would have inherited.
    :param fields: what else each event tells.
    """
    parent = before.get("id") if before is not None else None
    root = (before.get("root_id") if before is not None else None) or parent
    # Under its id another task may have run, and more than once: that which this one was to take the place of.
    sent = lives.next_life(before) if before is not None else None
    inherited = tagging.of_header(before) if before is not None else []
    for leaf in _leaves(signatures):
        options = leaf.options
        task_id = options.get("task_id")
        if not task_id:
            continue
        yield Event(
            id=str(task_id),
            name=leaf.signature.get("task"),
            state=state,
            timestamp=timestamp,
            source="signal",
            queue=_name(options.get("queue")),
            retries=0,
            sent=sent,
            root_id=options.get("root_id") or root or str(task_id),
            parent_id=options.get("parent_id") or parent,
            group_id=leaf.group_id,
            tags=tagging.of_signature(options, inherited),
            **fields,
        )


def rest_of(links: Any, body: Any = None, *, counted: bool = False) -> Iterator[Any]:
    """What will not run after a task: the rest of its chain or chord, and the bodies of the chords around that.

    Lazy: it reads the messages only as it is iterated over.

    :param links: of the chain, the last first, as a message has them; or none.
    :param body: of the chord whose header the task itself is in, where there are no links.
    :param counted: Celery counts the last link as a part of the chord around it, and fails that itself when it has all
        parts. It never has where the link is a group: it counts that as one, and waits for each member.
    """
    links = list(links or ())
    yield from links or [body]
    last = links[0] if links else body
    if not counted or (isinstance(last, Mapping) and last.get("subtask_type") == "group"):
        yield from _outwards(last)


def _outwards(signature: Any) -> Iterator[Any]:
    """The bodies of the chords around what will not run: of that which has it in its header, then the one around it."""
    while (signature := _chord_of(signature)) is not None:
        yield signature


def _chord_of(signature: Any) -> Any:
    """The body of the chord that counts on the end of what is given; None where there is no such chord.

    It stands in the options of what ends last: a chain's last task, a chord's body.
    """
    while isinstance(signature, Mapping):
        if (body := (signature.get("options") or {}).get("chord")) is not None:
            return body
        kwargs, kind = signature.get("kwargs") or {}, signature.get("subtask_type")
        if kind == "chord":
            signature = kwargs.get("body")
        elif kind in ("chain", "group"):
            *_, signature = kwargs.get("tasks") or (None,)
        else:
            return None
    return None


def _leaves(signatures: Iterable[Any]) -> Iterator[_Leaf]:
    """The signatures of single tasks in those given, which may be chains, groups and chords of others.

    Each with its group. That is the outermost group, or chord's header, which would not have been sent: Celery stores
    FAILURE under the id of that, too, so it has to be known as one of no task. Celery itself would have sent some under
    the id of the group around it: it freezes a chord's body as one of the header's group.
    """
    left: list[tuple[Any, Any]] = [(link, None) for link in signatures]
    while left:
        signature, group_id = left.pop()
        if not isinstance(signature, Mapping):
            continue
        options, kwargs = signature.get("options") or {}, signature.get("kwargs") or {}
        kind = signature.get("subtask_type")
        left += [(link, None) for link in options.get("chain") or ()]
        if kind == "group":
            members = kwargs.get("tasks") or ()
            left += [(link, group_id or options.get("task_id")) for link in members]
        elif kind == "chain":
            *links, last = kwargs.get("tasks") or (None,)
            left += [*((link, None) for link in links), (last, group_id)]
        elif kind == "chord":
            header = kwargs.get("header") or ()
            if isinstance(header, Mapping):
                header = (header.get("kwargs") or {}).get("tasks") or ()
            left += [(link, options.get("task_id")) for link in header]  # a chord's own id is that of its header
            left.append((kwargs.get("body"), group_id))
        else:
            yield _Leaf(signature, options, group_id or options.get("group_id"))


def _name(queue: Any) -> str | None:
    """The name of a queue: in a message it stands as such, or as kombu's queue."""
    name = getattr(queue, "name", queue)
    return name if isinstance(name, str) else None
